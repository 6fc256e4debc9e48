//! Counts what passes a socket, so that the connection's deadlines can tell activity from silence.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What has passed. Shared with the connection; all access is relaxed, as it is only looked at now and then.
#[derive(Debug, Default)]
pub struct Activity {
    read: AtomicU64,
    written: AtomicU64,
    blocked: AtomicBool,
}

impl Activity {
    /// Bytes read so far.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether the last write found the socket full.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    fn add(counter: &AtomicU64, bytes: usize) {
        // One task does all the counting, so a load and a store do.
        counter.store(
            counter.load(Ordering::Relaxed) + bytes as u64,
            Ordering::Relaxed,
        );
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Pending => self.blocked.store(true, Ordering::Relaxed),
            Poll::Ready(Ok(bytes)) => {
                Self::add(&self.written, *bytes);
                self.blocked.store(false, Ordering::Relaxed);
            }
            Poll::Ready(Err(_)) => {}
        }
    }
}

/// A stream that counts.
#[derive(Debug)]
pub struct Metered<T> {
    inner: T,
    activity: Arc<Activity>,
}

impl<T> Metered<T> {
    /// Counts into `activity`.
    pub fn new(inner: T, activity: Arc<Activity>) -> Self {
        Self { inner, activity }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        Activity::add(&self.activity.read, buf.filled().len() - before);
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.activity.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.activity.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.activity
            .blocked
            .store(result.is_pending(), Ordering::Relaxed);
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_passes_is_counted_and_a_full_socket_noticed() {
        let activity = Arc::new(Activity::default());
        let (near, mut far) = duplex(64);
        let mut metered = Metered::new(near, activity.clone());
        far.write_all(&[7; 10]).await.unwrap();
        let mut buffer = [0; 32];
        assert_eq!(metered.read(&mut buffer).await.unwrap(), 10);
        assert_eq!((activity.read(), activity.written()), (10, 0));

        metered.write_all(&[7; 64]).await.unwrap();
        assert_eq!(activity.written(), 64);
        assert!(!activity.is_blocked(), "full, but nothing waits");
        let waits = tokio::time::timeout(
            std::time::Duration::from_millis(20),
            metered.write_all(b"one more"),
        );
        assert!(waits.await.is_err());
        assert!(activity.is_blocked());
        assert_eq!(activity.written(), 64, "what waits has not passed");

        far.read_exact(&mut [0; 64]).await.unwrap();
        metered.write_all(b"one more").await.unwrap();
        assert!(!activity.is_blocked());
        assert_eq!(activity.written(), 72);
    }
}
