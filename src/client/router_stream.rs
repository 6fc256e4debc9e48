//! Is a stream to a partner, through a router.

mod bytes_io;
mod messages;
mod poll;

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderValue, Request, Uri, header};
use tokio::time::Sleep;

pub use self::messages::Messages;

use super::{
    connect::{ConnectError, Connector},
    ended::StreamError,
    frame::{Decoder, Frame},
    line::{self, Line},
    token::Token,
};
use crate::{grpc::call, protocol::v1::FrameType};

/// A stream to the partner that calls the same router with a token of the same subject.
///
/// # Reading and writing
/// It is [`AsyncRead`](tokio::io::AsyncRead) and [`AsyncWrite`](tokio::io::AsyncWrite). What is written in one call is one message of at most
/// [`MAX_PAYLOAD`](super::frame::MAX_PAYLOAD) bytes and is sent without being asked to flush; it may be written before the partner is there. The
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
    calls: Calls,
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

/// Knows whether a router takes calls on a connection.
#[derive(Clone, Debug)]
pub(crate) struct Calls(SendRequest<Bytes>);

impl Calls {
    /// Tells whether the router takes no more: it has said that it goes, or the connection is gone.
    pub(crate) fn are_over(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(self.0.poll_ready(&mut cx), Poll::Ready(Err(_)))
    }
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
    pub async fn connect(
        connector: &Connector,
        token: impl Into<Token>,
    ) -> Result<Self, ConnectError> {
        let request = request(connector, &token.into())?;
        let (requests, line) = line::open(connector).await?;
        let failed = |error| connector.no_http2(error);
        let mut requests = requests.ready().await.map_err(failed)?;
        let (response, send) = requests.send_request(request, false).map_err(failed)?;
        tracing::debug!(
            endpoint = connector.endpoint(),
            "stream opened, waiting for the other side"
        );
        Ok(Self {
            calls: Calls(requests),
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

    /// Reads the next message, or `None` at the end of what the partner sends. Bytes left over from reading a part of a message
    /// come first.
    pub async fn read_message(&mut self) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// Sends a message of at most [`MAX_PAYLOAD`](super::frame::MAX_PAYLOAD) bytes once the partner's window has room.
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

    /// Reads the next frame as it is, or `None` once the stream has ended with status OK. For protocols that use other frames
    /// than DATA; [`read_message`](Self::read_message) and reading know nothing of what was taken here.
    pub async fn read_frame(&mut self) -> Result<Option<Frame>, StreamError> {
        poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// Gives messages instead of bytes: a [`Stream`](futures_util::Stream) and a [`Sink`](futures_util::Sink).
    pub fn into_messages(self) -> Messages {
        Messages { stream: self }
    }

    /// Gives what tells whether the router still takes calls on this stream's connection.
    pub(crate) fn calls(&self) -> Calls {
        self.calls.clone()
    }

    /// Ends the stream now, as dropping does, and waits until the router has been told, a second at most.
    pub async fn cancel(self) {
        let Self {
            calls,
            mut send,
            body,
            line,
            ..
        } = self;
        send.send_reset(h2::Reason::CANCEL);
        drop((calls, send, body));
        line.close().await;
    }
}

/// Makes the head of a call of `RouterService/Stream` with this token.
pub(crate) fn request(connector: &Connector, token: &Token) -> Result<Request<()>, ConnectError> {
    let scheme = if connector.is_tls() { "https" } else { "http" };
    let uri = format!("{scheme}://{}{}", connector.authority(), call::PATH);
    let uri: Uri = uri.parse().map_err(|_| ConnectError::Endpoint {
        endpoint: connector.endpoint().to_owned(),
    })?;
    let bearer = format!("Bearer {}", token.as_str());
    let mut bearer = HeaderValue::try_from(bearer).map_err(|_| ConnectError::Token)?;
    bearer.set_sensitive(true);
    let mut request = call::request(uri, bearer);
    let agent = concat!("jumpstarter-router/", env!("CARGO_PKG_VERSION"));
    let agent = HeaderValue::from_static(agent);
    request.headers_mut().insert(header::USER_AGENT, agent);
    Ok(request)
}
