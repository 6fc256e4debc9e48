//! A connection's byte stream, shared between HTTP/2, which reads and writes it, and the connection's task, which
//! sends what has gathered and looks at the activity.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::outgoing::Outgoing;
pub use crate::transport::tls::gather::Gather;

/// HTTP/2 on a wire.
pub(super) type Http2<T> = h2::server::Connection<Wire<T>, Outgoing>;

/// Counts what has passed a wire.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activity {
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
    /// Whether the last attempt to write found the socket full.
    pub blocked: bool,
}

struct Inner<T> {
    io: T,
    /// `None`: nothing is read, and whoever changes that wakes the reader.
    allowance: Option<usize>,
    activity: Activity,
}

/// A handle on a byte stream. Only one task uses it and its clones, so the lock is never waited for.
pub struct Wire<T>(Arc<Mutex<Inner<T>>>);

impl<T> Clone for Wire<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Gather> Wire<T> {
    /// Takes the byte stream over.
    pub fn new(io: T) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            io,
            allowance: Some(usize::MAX),
            activity: Activity::default(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what has passed.
    pub fn activity(&self) -> Activity {
        self.lock().activity
    }

    /// About so many bytes may be read until the next call; then the reader is woken, and has to wait for it. With
    /// `None` nothing is read, and the reader is not woken. `sparing`: see [`Gather::set_sparing`].
    pub fn allow(&self, bytes: Option<usize>, sparing: bool) {
        let mut inner = self.lock();
        inner.allowance = bytes;
        inner.io.set_sparing(sparing);
        if bytes.is_none() {
            inner.io.rest();
        }
    }

    /// See [`Gather::round_trip`].
    pub fn round_trip(&self) -> Option<Duration> {
        self.lock().io.round_trip()
    }

    /// See [`Gather::abandon`].
    pub fn abandon(&self) {
        self.lock().io.abandon();
    }

    /// See [`Gather::set_thrifty`].
    pub fn set_thrifty(&self, thrifty: bool) {
        self.lock().io.set_thrifty(thrifty);
    }

    /// See [`Gather::set_deferred`].
    pub fn set_deferred(&self, deferred: bool) {
        self.lock().io.set_deferred(deferred);
    }

    /// See [`Gather::poll_push`].
    pub fn poll_push(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        let result = inner.io.poll_push(cx);
        inner.activity.blocked = result.is_pending();
        result
    }
}

impl<T: Gather> AsyncRead for Wire<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        let allowed = match inner.allowance {
            None => return Poll::Pending,
            Some(0) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(allowed) => allowed,
        };
        let before = buf.filled().len();
        let result = if allowed >= buf.remaining() {
            Pin::new(&mut inner.io).poll_read(cx, buf)
        } else {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(allowed));
            let result = Pin::new(&mut inner.io).poll_read(cx, &mut part);
            let count = part.filled().len();
            buf.advance(count);
            result
        };
        let count = buf.filled().len() - before;
        inner.allowance = Some(allowed - count);
        inner.activity.read += count as u64;
        result
    }
}

impl<T: Gather> AsyncWrite for Wire<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.lock();
        let result = Pin::new(&mut inner.io).poll_write_vectored(cx, slices);
        match &result {
            Poll::Ready(Ok(bytes)) => {
                inner.activity.written += *bytes as u64;
                inner.activity.blocked = false;
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => inner.activity.blocked = true,
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        let result = Pin::new(&mut inner.io).poll_flush(cx);
        inner.activity.blocked |= result.is_pending();
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().io).poll_shutdown(cx)
    }
}
