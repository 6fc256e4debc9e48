//! One peer's call, on h2 directly: sends a lane's messages, checks the other lane's.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream, client::ResponseFuture};
use tokio::time::timeout;

use super::{
    failure::{Failure, status},
    pattern::{Lane, Plan},
    verify::Verifier,
};

/// Small messages are cut from buffers of this length.
const SLAB: usize = 8 * 1024;

/// The frame that says that no more messages follow.
const GOAWAY: &[u8] = &[0, 0, 0, 0, 2, 0x10, 7];

/// The router's status may come so much later than the end of the stream.
pub(crate) const LAST_WORD: Duration = Duration::from_millis(500);

/// Received bytes are given back as credit at the latest when they are so many.
const CREDIT: usize = 256 * 1024;

/// Sends a lane's messages.
#[derive(Debug)]
pub struct Sender {
    stream: SendStream<Bytes>,
    lane: Lane,
    plan: Plan,
    slab: BytesMut,
    /// Messages sent so far.
    pub sent: u64,
}

impl Sender {
    /// Begins with the first message.
    pub fn new(stream: SendStream<Bytes>, lane: Lane) -> Self {
        Self {
            stream,
            plan: lane.plan(0),
            lane,
            slab: BytesMut::new(),
            sent: 0,
        }
    }

    /// Gives its lane.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Waits until the window has room; gives how much. At least the next message may be sent then: what does
    /// not fit waits inside h2.
    pub async fn room(&mut self, want: usize) -> Result<usize, Failure> {
        self.stream.reserve_capacity(want);
        poll_fn(|cx| {
            while self.stream.capacity() == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(granted) => granted?,
                    None => return Poll::Ready(Err(Failure::Closed)),
                };
            }
            Poll::Ready(Ok(self.stream.capacity()))
        })
        .await
    }

    /// Gives the length of the next message as it is sent.
    pub fn next_len(&self) -> usize {
        self.plan.encoded()
    }

    /// Makes the next message.
    pub fn make(&mut self) -> Bytes {
        let length = self.plan.encoded();
        if self.slab.capacity() < length {
            let capacity = if length > SLAB / 8 { length } else { SLAB };
            self.slab = BytesMut::with_capacity(capacity);
        }
        self.lane.encode(&self.plan, &mut self.slab);
        self.sent += 1;
        self.plan = self.lane.plan(self.sent as u32);
        self.slab.split().freeze()
    }

    /// Sends the next message without waiting.
    pub fn put(&mut self) -> Result<(), Failure> {
        let message = self.make();
        self.put_bytes(message)
    }

    /// Sends bytes of a message without waiting.
    pub fn put_bytes(&mut self, bytes: Bytes) -> Result<(), Failure> {
        Ok(self.stream.send_data(bytes, false)?)
    }

    /// Sends the next message once there is room.
    pub async fn send(&mut self) -> Result<(), Failure> {
        self.room(self.plan.encoded()).await?;
        self.put()
    }

    /// Says that no more follows, and half-closes.
    pub fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.stream.send_data(Bytes::from_static(GOAWAY), true)?)
    }
}

/// What one call of [`Receiver::receive`] brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Got {
    /// Whole messages.
    pub messages: u64,
    /// Bytes, prefixes included.
    pub bytes: u64,
}

#[derive(Debug)]
enum Body {
    /// Response headers may come late: with the first message, or when the pair has met.
    Headers(ResponseFuture),
    Open(RecvStream),
    /// How it ended, for the report.
    Ended(String),
}

/// Receives and checks a lane's messages.
#[derive(Debug)]
pub struct Receiver {
    body: Body,
    verifier: Verifier,
    owed: usize,
    /// Messages received so far.
    pub received: u64,
}

impl Receiver {
    /// Begins with the first message.
    pub fn new(response: ResponseFuture, verifier: Verifier) -> Self {
        Self {
            body: Body::Headers(response),
            verifier,
            owed: 0,
            received: 0,
        }
    }

    /// Tells whether the sender has said that no more follows.
    pub fn ended(&self) -> bool {
        self.verifier.ended
    }

    /// Waits for bytes and checks all that are there. `None` is the end of the stream.
    pub async fn receive(&mut self) -> Result<Option<Got>, Failure> {
        if let Body::Headers(response) = &mut self.body {
            let response = response.await?;
            self.body = if response.headers().contains_key("grpc-status") {
                Body::Ended(status(response.headers()))
            } else if response.status() == http::StatusCode::OK {
                Body::Open(response.into_body())
            } else {
                Body::Ended(format!("status none, HTTP {}", response.status()))
            };
        }
        let got = poll_fn(|cx| self.poll_receive(cx)).await?;
        let Body::Open(body) = &mut self.body else {
            return Ok(None);
        };
        self.received += got.messages;
        if got.bytes == 0 {
            let trailers = body.trailers().await?.unwrap_or_default();
            self.body = Body::Ended(status(&trailers));
            self.verifier.finish()?;
            return Ok(None);
        }
        Ok(Some(got))
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Got, Failure>> {
        let mut got = Got::default();
        let Body::Open(body) = &mut self.body else {
            return Poll::Ready(Ok(got));
        };
        let mut ended = false;
        while self.owed < CREDIT {
            let Poll::Ready(next) = body.poll_data(cx) else {
                break;
            };
            let Some(chunk) = next.transpose()? else {
                ended = true;
                break;
            };
            self.owed += chunk.len();
            got.bytes += chunk.len() as u64;
            got.messages += self.verifier.push(&chunk)?;
        }
        if self.owed > 0 {
            body.flow_control().release_capacity(self.owed)?;
            self.owed = 0;
        }
        if got.bytes == 0 && !ended {
            return Poll::Pending;
        }
        Poll::Ready(Ok(got))
    }

    /// Does as [`receive`](Self::receive), but the end of the stream is an error.
    pub async fn more(&mut self) -> Result<Got, Failure> {
        let got = self.receive().await?;
        got.ok_or_else(|| Failure::Ended(self.status()))
    }

    /// Waits for `n` whole messages. The end of the stream is an error.
    pub async fn expect(&mut self, n: u64) -> Result<Got, Failure> {
        let mut total = Got::default();
        while total.messages < n {
            let got = self.more().await?;
            total.messages += got.messages;
            total.bytes += got.bytes;
        }
        Ok(total)
    }

    /// Finds out after a failure to send what the router said about it, if it did.
    pub async fn why(&mut self, failure: Failure) -> Failure {
        match timeout(LAST_WORD, self.expect(u64::MAX)).await {
            Ok(Err(why)) if failure.is_silent() => why,
            _ => failure,
        }
    }

    /// Says how the call ended, if it did.
    pub fn status(&self) -> String {
        match &self.body {
            Body::Ended(status) => status.clone(),
            _ => "status none".to_owned(),
        }
    }
}
