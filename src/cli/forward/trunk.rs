//! Carries many connections over one stream between the two ends: HTTP/2 inside it, a request for each connection.
//!
//! A router pairs any two streams of a subject, and lets one of them wait. So a pair takes a round trip of its own, however
//! many connections wait for one, and a burst of connections shares a stream that has met the other end already. Each has a
//! window of its own, and the windows of all fit the trunk's, so one that is not read holds up no other.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use http::{Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};

use crate::{
    cli::exit::Failure,
    client::{RouterStream, StreamError, frame::MAX_PAYLOAD},
    grpc::call,
};

/// So many connections fit one trunk.
pub(crate) const CHANNELS: u32 = 128;

/// So many bytes of a connection may be on their way and unread.
const WINDOW: u32 = 8 * 1024 * 1024;

/// What HTTP/2 holds of a connection before it is written.
const SEND_BUFFER: usize = 256 * 1024;

/// How much of a connection is sent before others have their turn.
const FRAME: u32 = 32 * 1024;

/// Connections that were reset are remembered for what is still on its way; all of a trunk may be at once.
const RESETS: usize = 4 * CHANNELS as usize;

/// Says what a connection is carried as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes.
    Bytes,
    /// Datagrams, each with its length.
    Datagrams,
}

impl Kind {
    /// Makes the request that opens a connection.
    pub(crate) fn request(self) -> Request<()> {
        let uri = Uri::from_static(match self {
            Self::Bytes => "http://forward/bytes",
            Self::Datagrams => "http://forward/datagrams",
        });
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri;
        request
    }

    /// Reads it.
    pub(crate) fn of(request: &Uri) -> Option<Self> {
        match request.path() {
            "/bytes" => Some(Self::Bytes),
            "/datagrams" => Some(Self::Datagrams),
            _ => None,
        }
    }
}

/// Gives the settings of the end that accepts connections.
pub(crate) fn near() -> h2::client::Builder {
    let mut builder = call::http2(WINDOW, SEND_BUFFER);
    builder
        .initial_connection_window_size(WINDOW * CHANNELS)
        .max_frame_size(FRAME)
        .initial_max_send_streams(CHANNELS as usize)
        .max_concurrent_reset_streams(RESETS)
        .max_local_error_reset_streams(None);
    builder
}

/// Gives the settings of the end that connects to a service.
pub(crate) fn far() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * CHANNELS)
        .max_send_buffer_size(SEND_BUFFER)
        .max_frame_size(FRAME)
        .max_concurrent_streams(CHANNELS)
        .data_frame_budget(usize::MAX)
        // Whoever holds the token may close connections as fast as open them.
        .max_concurrent_reset_streams(RESETS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(None);
    builder
}

/// Remembers why a trunk broke: HTTP/2 keeps the words of an error only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Why(Arc<OnceLock<String>>);

impl Why {
    /// Says what went wrong with a connection of the trunk.
    pub(crate) fn of(&self, error: &h2::Error) -> io::Error {
        if error.is_reset() && error.is_remote() {
            return broken_off();
        }
        let why = self.0.get().cloned();
        io::Error::other(why.unwrap_or_else(|| format!("the stream to the other end: {error}")))
    }
}

/// Says that the other end has reset a connection.
pub(crate) fn broken_off() -> io::Error {
    let text = "the other side broke off this connection";
    io::Error::new(io::ErrorKind::ConnectionReset, text)
}

/// Is the stream below a trunk. What goes out together is one message, up to its greatest length.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: BufWriter<RouterStream>,
    why: Why,
}

impl Wire {
    /// Takes the stream, once the two ends have met.
    pub(crate) fn new(stream: RouterStream, why: Why) -> Self {
        let stream = BufWriter::with_capacity(MAX_PAYLOAD, stream);
        Self { stream, why }
    }

    fn noted<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result {
            let why = match StreamError::of(error) {
                Some(error) => Failure::from(error.clone()).to_string(),
                None => error.to_string(),
            };
            let _ = self.why.0.set(why);
        }
        result
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.noted(read)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.noted(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.noted(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.noted(closed)
    }
}
