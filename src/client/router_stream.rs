//! A stream to a partner, through a router.

use std::{
    collections::VecDeque,
    future::{Future as _, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use futures_util::{Sink, Stream};
use h2::{RecvStream, SendStream, client::ResponseFuture};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tonic::{Code, Status};

use super::{
    connect::{ConnectError, Connector},
    ended::StreamError,
    frame::{Decoder, Frame, MAX_PAYLOAD, encode},
    line::{self, Line},
};
use crate::{protocol::v1::FrameType, transport::call::PATH};

/// What a [`RouterStream`] puts into its last frame. The router's GOAWAY frame, which announces an abnormal end, and
/// that of stock peers are empty; stock peers do not look inside. So two of these streams know an end from an
/// accident at once.
const CLEAN_END: &[u8] = b"end of data";

/// After an empty GOAWAY frame the router says within half a second if it was an accident. Silence for longer is
/// a stock peer's half-close.
const DOUBT: Duration = Duration::from_secs(1);

/// How rustls begins what it says of an alert. HTTP/2 keeps its words only.
const ALERT: &str = "received fatal alert";

/// A stream to the partner that calls the same router with a token of the same subject.
///
/// # Reading and writing
/// It is [`AsyncRead`] and [`AsyncWrite`]. What is written in one call is one message of at most
/// [`MAX_PAYLOAD`] bytes and is sent without being asked to flush; it may be written before the partner is there. The
/// partner's speed is felt: writing waits when the partner does not read, and what is not read here holds the partner up.
/// For messages instead of bytes there are [`read_message`](Self::read_message), [`write_message`](Self::write_message)
/// and [`into_messages`](Self::into_messages). Frames of the kind PING are left out, and so are kinds that are not
/// known.
///
/// # The end
/// [`shutdown`](tokio::io::AsyncWriteExt::shutdown) says that no more follows; reading goes on. The end of what the
/// partner sends is the end of the file. If the stream ends in another way, reading, writing and `shutdown` fail with a
/// [`StreamError`], which says how and who ([`StreamError::by`]). **Once both sides have closed, whichever comes later,
/// the last byte read or `shutdown`, waits for the router's last word.** So after both without an error, all has
/// arrived: what was read is all that was sent, and what was written was handed to the partner's connection.
///
/// A stock peer's half-close looks like an accident at first. It is told apart by waiting a second, unless
/// this side has closed before. Between two of these streams there is no such wait.
///
/// # Dropping, and cancelling futures
/// Dropping the stream cancels it: the partner is told so, and what is on its way may be lost.
/// [`cancel`](Self::cancel) does the same and waits until it is sent. All methods may be cancelled (dropped before they
/// are ready) without losing data: a message that was not returned comes with the next call, and one that was not
/// accepted was not sent. `write_all` and `read_exact` of tokio are not cancellation safe, with this stream as with any.
///
/// The connection and its stream belong to a task of the runtime that called [`connect`](Self::connect). It ends by
/// itself within a second after the stream was dropped.
#[derive(Debug)]
pub struct RouterStream {
    send: SendStream<Bytes>,
    closed: bool,
    body: Body,
    decoder: Decoder,
    /// Frames found while looking for the reason of a failure to write; they are still to be read.
    found: VecDeque<Frame>,
    /// Received from h2, and not yet given back as credit.
    owed: usize,
    /// What is left of a payload that was read in part.
    rest: Bytes,
    end: End,
    line: Line,
}

#[derive(Debug)]
enum Body {
    /// The response has not begun: it does when the partner is there, or with the first message.
    Head(ResponseFuture),
    Open(RecvStream),
    Over(Result<(), StreamError>),
}

/// What is known of the end of what the partner sends.
#[derive(Debug)]
enum End {
    /// It goes on.
    Open,
    /// A GOAWAY frame came that may be the partner's or the router's.
    Doubtful(Pin<Box<Sleep>>),
    /// The partner said so.
    Clean,
}

impl RouterStream {
    /// Connects to the router and calls it with `token`. The partner need not be there: that shows with what is read, or
    /// [`answered`](Self::answered). So does a token that is refused.
    ///
    /// # Errors
    ///
    /// No connection within [`CONNECT_TIMEOUT`](super::connect::CONNECT_TIMEOUT), or none that is trusted.
    pub async fn connect(connector: &Connector, token: &str) -> Result<Self, ConnectError> {
        let scheme = if connector.is_tls() { "https" } else { "http" };
        let uri = format!("{scheme}://{}{PATH}", connector.endpoint());
        let mut bearer =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| ConnectError::Token)?;
        bearer.set_sensitive(true);
        let agent = concat!("jumpstarter-router/", env!("CARGO_PKG_VERSION"));
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::AUTHORIZATION, bearer)
            .header(header::USER_AGENT, agent)
            .body(())
            .map_err(|_| ConnectError::Endpoint {
                endpoint: connector.endpoint().to_owned(),
            })?;
        let (requests, line) = line::open(connector).await?;
        let failed = |error| ConnectError::Http2 {
            endpoint: connector.endpoint().to_owned(),
            error,
        };
        let mut requests = requests.ready().await.map_err(failed)?;
        let (response, send) = requests.send_request(request, false).map_err(failed)?;
        Ok(Self {
            send,
            closed: false,
            body: Body::Head(response),
            decoder: Decoder::default(),
            found: VecDeque::new(),
            owed: 0,
            rest: Bytes::new(),
            end: End::Open,
            line,
        })
    }

    /// Waits for the router's answer to the call. This package's router answers when the partner is there, and when it
    /// gives up waiting for it, which reading tells. The upstream router answers with the partner's first message.
    pub async fn answered(&mut self) -> Result<(), StreamError> {
        poll_fn(|cx| self.poll_head(cx)).await
    }

    /// The next message, or `None` at the end of what the partner sends. Bytes left over from reading a part of a message
    /// come first.
    pub async fn read_message(&mut self) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// Sends a message of at most [`MAX_PAYLOAD`] bytes once the partner's window has room.
    pub async fn write_message(&mut self, payload: &[u8]) -> Result<(), StreamError> {
        self.write_frame(FrameType::Data, payload).await
    }

    /// Sends a frame of any kind. Stock peers do not look at PING frames; a GOAWAY frame ends what they read.
    pub async fn write_frame(
        &mut self,
        kind: FrameType,
        payload: &[u8],
    ) -> Result<(), StreamError> {
        poll_fn(|cx| self.poll_write_frame(cx, kind, payload)).await
    }

    /// The next frame as it is, or `None` once the stream has ended with status OK. For protocols that use other frames
    /// than DATA; [`read_message`](Self::read_message) and reading know nothing of what was taken here.
    pub async fn read_frame(&mut self) -> Result<Option<Frame>, StreamError> {
        poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// Messages instead of bytes: a [`Stream`] and a [`Sink`].
    pub fn into_messages(self) -> Messages {
        Messages { stream: self }
    }

    /// Ends the stream now, as dropping does, and waits until the router has been told, a second at most.
    pub async fn cancel(self) {
        let Self {
            mut send,
            body,
            line,
            ..
        } = self;
        send.send_reset(h2::Reason::CANCEL);
        drop((send, body));
        line.close().await;
    }

    /// Waits for the router's last word on a stream whose both sides are closed, whatever else comes.
    fn poll_last_word(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        while ready!(self.poll_frame(cx))?.is_some() {}
        Poll::Ready(Ok(()))
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if let Body::Head(response) = &mut self.body {
            let response = ready!(Pin::new(response).poll(cx));
            self.body = match response {
                Ok(response) => head(response),
                Err(error) => Body::Over(Err(self.broken(&error))),
            };
        }
        Poll::Ready(match &self.body {
            Body::Over(Err(error)) => Err(error.clone()),
            _ => Ok(()),
        })
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, StreamError>> {
        match self.found.pop_front() {
            Some(frame) => Poll::Ready(Ok(Some(frame))),
            None => self.poll_wire(cx),
        }
    }

    /// The next frame from the wire.
    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, StreamError>> {
        ready!(self.poll_head(cx))?;
        loop {
            let body = match &mut self.body {
                Body::Open(body) => body,
                Body::Over(Err(error)) => return Poll::Ready(Err(error.clone())),
                _ => return Poll::Ready(Ok(None)),
            };
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Poll::Ready(Ok(Some(frame))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(self.over(error.into()))),
            }
            // Credit only now that all was taken: so the partner feels how fast this side reads.
            if self.owed > 0 {
                let _ = body.flow_control().release_capacity(self.owed);
                self.owed = 0;
            }
            match ready!(body.poll_data(cx)) {
                Some(Ok(chunk)) => {
                    self.owed = chunk.len();
                    self.decoder.push(chunk);
                }
                Some(Err(error)) => {
                    let error = self.broken(&error);
                    return Poll::Ready(Err(self.over(error)));
                }
                None => {
                    let trailers = ready!(body.poll_trailers(cx));
                    let last = match trailers {
                        Ok(trailers) => verdict(&trailers.unwrap_or_default()),
                        Err(error) => Err(self.broken(&error)),
                    };
                    let last = last.and_then(|()| {
                        if self.decoder.is_inside() {
                            Err(StreamError::Truncated)
                        } else {
                            Ok(())
                        }
                    });
                    self.body = Body::Over(last.clone());
                    last?;
                }
            }
        }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.rest))));
        }
        loop {
            match &mut self.end {
                End::Open => {}
                End::Clean if self.closed => {
                    ready!(self.poll_last_word(cx))?;
                    return Poll::Ready(Ok(None));
                }
                End::Clean => return Poll::Ready(Ok(None)),
                End::Doubtful(doubt) => {
                    let passed = !self.closed && doubt.as_mut().poll(cx).is_ready();
                    if let Poll::Ready(last) = self.poll_last_word(cx) {
                        last?;
                        self.end = End::Clean;
                    } else if passed {
                        self.end = End::Clean;
                    } else {
                        return Poll::Pending;
                    }
                    continue;
                }
            }
            match ready!(self.poll_frame(cx))? {
                Some(frame) => match frame.kind {
                    FrameType::Data => return Poll::Ready(Ok(Some(frame.payload))),
                    FrameType::Goaway if frame.payload == CLEAN_END => self.end = End::Clean,
                    FrameType::Goaway => self.end = End::Doubtful(Box::pin(sleep(DOUBT))),
                    FrameType::Ping | FrameType::RstStream => {}
                },
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    fn poll_write_frame(
        &mut self,
        cx: &mut Context<'_>,
        kind: FrameType,
        payload: &[u8],
    ) -> Poll<Result<(), StreamError>> {
        if self.closed {
            return Poll::Ready(Err(StreamError::Closed));
        }
        if payload.len() > MAX_PAYLOAD {
            return Poll::Ready(Err(StreamError::TooLong(payload.len())));
        }
        // Any room will do: h2 keeps what does not fit yet, at most one message.
        self.send.reserve_capacity(payload.len() + 16);
        loop {
            if self.send.capacity() > 0 {
                let sent = self.send.send_data(encode(kind, payload), false);
                return match sent {
                    Ok(()) => Poll::Ready(Ok(())),
                    Err(error) => self.poll_why(cx, Some(&error)),
                };
            }
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return self.poll_why(cx, Some(&error)),
                None => return self.poll_why(cx, None),
            }
        }
    }

    /// Nothing can be sent any more. The status says why, if there is one. It is behind all that came before, which is no
    /// more than the window, since nothing follows.
    fn poll_why(
        &mut self,
        cx: &mut Context<'_>,
        error: Option<&h2::Error>,
    ) -> Poll<Result<(), StreamError>> {
        while let Some(frame) = ready!(self.poll_wire(cx))? {
            self.found.push_back(frame);
        }
        Poll::Ready(Err(match error {
            Some(error) => self.broken(error),
            None => StreamError::Reset(h2::Reason::NO_ERROR),
        }))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if !self.closed {
            self.closed = true;
            // If it cannot be sent, the last word says why.
            let _ = self
                .send
                .send_data(encode(FrameType::Goaway, CLEAN_END), true);
        }
        match self.end {
            End::Open => Poll::Ready(match &self.body {
                Body::Over(last) => last.clone(),
                _ => Ok(()),
            }),
            End::Doubtful(_) | End::Clean => self.poll_last_word(cx),
        }
    }

    fn over(&mut self, error: StreamError) -> StreamError {
        self.body = Body::Over(Err(error.clone()));
        error
    }

    fn broken(&self, error: &h2::Error) -> StreamError {
        match error.reason() {
            Some(reason) if error.is_reset() => StreamError::Reset(reason),
            _ => {
                let why = self.line.why();
                let why = why.map_or_else(|| error.to_string(), ToOwned::to_owned);
                if self.line.is_answered() || !matches!(self.body, Body::Head(_)) {
                    StreamError::Lost(why)
                } else if why.contains(ALERT) {
                    StreamError::Alert(why)
                } else {
                    StreamError::NoRouter(why)
                }
            }
        }
    }
}

/// What the head of the response says.
fn head(response: http::Response<RecvStream>) -> Body {
    let (head, body) = response.into_parts();
    if head.headers.contains_key("grpc-status") {
        return Body::Over(verdict(&head.headers));
    }
    if head.status != StatusCode::OK {
        let answer = StreamError::Answer(format!("HTTP status {}", head.status));
        return Body::Over(Err(answer));
    }
    Body::Open(body)
}

/// The status in trailers, or in a head that is all there is.
fn verdict(headers: &HeaderMap) -> Result<(), StreamError> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() == Code::Ok => Ok(()),
        Some(status) => Err(StreamError::Status(status)),
        None => Err(StreamError::Answer(
            "the stream ended without a status".to_owned(),
        )),
    }
}

impl AsyncRead for RouterStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // Empty messages are not the end.
        while this.rest.is_empty() {
            match ready!(this.poll_message(cx))? {
                Some(payload) => this.rest = payload,
                None => return Poll::Ready(Ok(())),
            }
        }
        let step = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest[..step]);
        this.rest.advance(step);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for RouterStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let step = buf.len().min(MAX_PAYLOAD);
        if step > 0 || self.closed {
            ready!(self.poll_write_frame(cx, FrameType::Data, &buf[..step]))?;
        }
        Poll::Ready(Ok(step))
    }

    /// Always ready: what was accepted is sent without being asked to.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(cx).map_err(Into::into)
    }
}

/// A [`RouterStream`] in messages: what one side sends as one item is one item at the other, empty ones too.
#[derive(Debug)]
pub struct Messages {
    stream: RouterStream,
}

impl Messages {
    /// Bytes again.
    pub fn into_inner(self) -> RouterStream {
        self.stream
    }
}

impl Stream for Messages {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_message(cx).map(Result::transpose)
    }
}

/// Each item is at most [`MAX_PAYLOAD`] bytes long. Closing half-closes.
impl Sink<Bytes> for Messages {
    type Error = StreamError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let stream = &mut self.stream;
        if stream.closed {
            return Poll::Ready(Err(StreamError::Closed));
        }
        stream.send.reserve_capacity(1);
        while stream.send.capacity() == 0 {
            match ready!(stream.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return stream.poll_why(cx, Some(&error)),
                None => return stream.poll_why(cx, None),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, item: Bytes) -> Result<(), StreamError> {
        if item.len() > MAX_PAYLOAD {
            return Err(StreamError::TooLong(item.len()));
        }
        let frame = encode(FrameType::Data, &item);
        let sent = self.stream.send.send_data(frame, false);
        sent.map_err(|error| self.stream.broken(&error))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.stream.poll_close(cx)
    }
}
