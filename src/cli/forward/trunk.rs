//! Carries many connections over one stream between the two ends: HTTP/2 inside it, a request for each connection.
//!
//! A router pairs any two streams of a subject, and lets one of them wait. So a pair takes a round trip of its own, however
//! many connections wait for one, and a burst of connections shares a stream that has met the other end already. Each has a
//! window of its own, and the windows of all fit the trunk's, so one that is not read holds up no other.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{Request, Uri};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf},
    sync::oneshot,
};

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
pub(crate) struct Wire {
    below: Below,
    /// What has come before the trunk began, and is read first.
    early: Bytes,
    why: Why,
}

enum Below {
    Stream(Box<BufWriter<RouterStream>>),
    /// The stream has not met the other end yet. Until it is asked for, what is written is collected.
    Awaited(oneshot::Receiver<RouterStream>, Early),
}

impl Below {
    fn of(stream: RouterStream) -> Self {
        Self::Stream(Box::new(BufWriter::with_capacity(MAX_PAYLOAD, stream)))
    }
}

/// Collects what is written before there is a stream.
#[derive(Clone)]
pub(crate) struct Early(Arc<Mutex<Option<BytesMut>>>);

impl Early {
    /// Takes what was written. What is written from now on waits for the stream.
    pub(crate) fn take(&self) -> Bytes {
        let written = lock(&self.0).take();
        written.unwrap_or_default().freeze()
    }
}

impl Wire {
    /// Takes a stream on which the other end has begun the trunk so.
    pub(crate) fn begun(stream: RouterStream, early: Bytes, why: Why) -> Self {
        Self {
            below: Below::of(stream),
            early,
            why,
        }
    }

    /// Begins a trunk on a stream that comes later.
    pub(crate) fn awaited(stream: oneshot::Receiver<RouterStream>, why: Why) -> (Self, Early) {
        let early = Early(Arc::new(Mutex::new(Some(BytesMut::new()))));
        let wire = Self {
            below: Below::Awaited(stream, early.clone()),
            early: Bytes::new(),
            why,
        };
        (wire, early)
    }

    /// Gives the stream, once it is there.
    fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Pin<&mut BufWriter<RouterStream>>>> {
        if let Below::Awaited(stream, _) = &mut self.below {
            let stream = ready!(Pin::new(stream).poll(cx));
            let stream = stream.map_err(|_| io::ErrorKind::NotConnected)?;
            self.below = Below::of(stream);
        }
        match &mut self.below {
            Below::Stream(stream) => Poll::Ready(Ok(Pin::new(&mut **stream))),
            Below::Awaited(..) => Poll::Pending,
        }
    }

    /// Collects what is written, if there is no stream yet.
    fn collect(&self, buf: &[u8]) -> bool {
        let Below::Awaited(_, early) = &self.below else {
            return false;
        };
        let mut early = lock(&early.0);
        let Some(early) = &mut *early else {
            return false;
        };
        early.extend_from_slice(buf);
        true
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
        if !self.early.is_empty() {
            let step = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early.split_to(step));
            return Poll::Ready(Ok(()));
        }
        let read = ready!(self.poll_stream(cx))?.poll_read(cx, buf);
        self.noted(read)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.collect(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = ready!(self.poll_stream(cx))?.poll_write(cx, buf);
        self.noted(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.collect(&[]) {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(self.poll_stream(cx))?.poll_flush(cx);
        self.noted(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = ready!(self.poll_stream(cx))?;
        let closed = ready!(stream.as_mut().poll_shutdown(cx));
        if closed.is_err() {
            return self.noted(Poll::Ready(closed));
        }
        // To drop it before the other side has closed, too, would be to break it off.
        loop {
            let mut rest = [0; 1024];
            let mut rest = ReadBuf::new(&mut rest);
            let read = ready!(stream.as_mut().poll_read(cx, &mut rest));
            if read.is_err() || rest.filled().is_empty() {
                return self.noted(Poll::Ready(read));
            }
        }
    }
}

/// Locks it; nothing that holds such a lock panics half way.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
