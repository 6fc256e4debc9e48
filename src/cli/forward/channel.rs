//! Is one connection on a trunk.

use std::{
    future::{Future as _, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client::ResponseFuture};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::{Sleep, sleep},
};

use super::{
    hello::LONGEST,
    trunk::{Why, broken_off},
};
use crate::{client::frame::MAX_PAYLOAD, common::text::printable};

/// How long the other end may take to take a connection in. Then it may look for its service as long as it likes: it has a
/// deadline of its own for that, and may have to wait for a place.
const TAKEN_IN: Duration = Duration::from_secs(20);

/// Carries one connection: bytes both ways, each with its own end.
///
/// The end with the service first says in two bytes, big-endian, how long the reason is for which it could not connect,
/// and the reason: none if it could. Dropping the channel before both sides have ended resets it. `H` is what it keeps for
/// as long as it lives.
pub(crate) struct Channel<H = ()> {
    send: SendStream<Bytes>,
    /// The answer, which is to come by then.
    head: Option<(ResponseFuture, Pin<Box<Sleep>>)>,
    body: Option<RecvStream>,
    /// What is there of the other end's first word, until it is whole.
    word: Option<BytesMut>,
    /// Received, and not yet given back as credit.
    owed: usize,
    rest: Bytes,
    why: Why,
    _held: H,
}

impl<H: Unpin> Channel<H> {
    /// Takes the connection that this end has asked for.
    pub(crate) fn asked(
        response: ResponseFuture,
        send: SendStream<Bytes>,
        why: Why,
        held: H,
    ) -> Self {
        Self {
            send,
            head: Some((response, Box::pin(sleep(TAKEN_IN)))),
            body: None,
            word: Some(BytesMut::new()),
            owed: 0,
            rest: Bytes::new(),
            why,
            _held: held,
        }
    }

    /// Takes the connection that the other end has asked for.
    pub(crate) fn taken_in(body: RecvStream, send: SendStream<Bytes>, why: Why, held: H) -> Self {
        Self {
            send,
            head: None,
            body: Some(body),
            word: None,
            owed: 0,
            rest: Bytes::new(),
            why,
            _held: held,
        }
    }

    /// Waits until the other end has taken it in.
    pub(crate) async fn answered(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_head(cx)).await
    }

    /// Waits until the other end does not want it any more.
    pub(crate) async fn given_up(&mut self) {
        let _ = poll_fn(|cx| self.send.poll_reset(cx)).await;
    }

    /// Says that the service is there.
    pub(crate) async fn ready(&mut self) -> io::Result<()> {
        self.write_all(&[0, 0]).await
    }

    /// Says why it is not, as the last word.
    pub(crate) async fn failed(mut self, why: &str) -> io::Result<()> {
        let short: String = why.chars().take(LONGEST).collect();
        let length = (short.len() as u16).to_be_bytes();
        self.write_all(&[&length, short.as_bytes()].concat())
            .await?;
        self.shutdown().await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((response, late)) = &mut self.head else {
            return Poll::Ready(Ok(()));
        };
        let Poll::Ready(response) = Pin::new(response).poll(cx) else {
            ready!(late.as_mut().poll(cx));
            let text = "the other end does not answer";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
        };
        let response = response.map_err(|error| self.why.of(&error))?;
        self.head = None;
        self.body = Some(response.into_body());
        Poll::Ready(Ok(()))
    }

    /// Waits for the other end's first word.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_head(cx))?;
        while let Some(word) = &mut self.word {
            let length = word
                .first_chunk()
                .map(|&two| usize::from(u16::from_be_bytes(two)));
            match length {
                Some(0) => {
                    word.advance(2);
                    self.rest = std::mem::take(word).freeze();
                    self.word = None;
                }
                Some(length) if word.len() >= 2 + length => {
                    let why = String::from_utf8_lossy(&word[2..2 + length]);
                    let why = format!("the other end's service: {}", printable(&why));
                    return Poll::Ready(Err(io::Error::other(why)));
                }
                _ => match ready!(self.poll_chunk(cx))? {
                    Some(chunk) => self.word.get_or_insert_default().extend_from_slice(&chunk),
                    None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                },
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says why nothing can be sent any more.
    fn broken(&mut self, cx: &mut Context<'_>) -> io::Error {
        match self.send.poll_reset(cx) {
            Poll::Ready(Err(error)) => self.why.of(&error),
            _ => broken_off(),
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Ok(None));
        };
        // Credit only now that all was taken: so the other end feels how fast this one reads.
        if self.owed > 0 {
            let _ = body.flow_control().release_capacity(self.owed);
            self.owed = 0;
        }
        Poll::Ready(match ready!(body.poll_data(cx)) {
            Some(Ok(chunk)) => {
                self.owed = chunk.len();
                Ok(Some(chunk))
            }
            Some(Err(error)) => Err(self.why.of(&error)),
            None => Ok(None),
        })
    }
}

impl<H: Unpin> AsyncRead for Channel<H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_ready(cx))?;
        while this.rest.is_empty() {
            match ready!(this.poll_chunk(cx))? {
                Some(chunk) => this.rest = chunk,
                None => return Poll::Ready(Ok(())),
            }
        }
        let step = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest[..step]);
        this.rest.advance(step);
        Poll::Ready(Ok(()))
    }
}

impl<H: Unpin> AsyncWrite for Channel<H> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let want = buf.len().min(MAX_PAYLOAD);
        self.send.reserve_capacity(want);
        while self.send.capacity() == 0 && want > 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(self.why.of(&error))),
                None => return Poll::Ready(Err(self.broken(cx))),
            }
        }
        let step = want.min(self.send.capacity());
        let chunk = Bytes::copy_from_slice(&buf[..step]);
        match self.send.send_data(chunk, false) {
            Ok(()) => Poll::Ready(Ok(step)),
            Err(_) => Poll::Ready(Err(self.broken(cx))),
        }
    }

    /// Always ready: what was accepted is sent without being asked to.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.send.send_data(Bytes::new(), true);
        Poll::Ready(sent.map_err(|_| self.broken(cx)))
    }
}
