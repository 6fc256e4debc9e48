//! Carries bytes between a stream and something local, both ways.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

use crate::client::{RouterStream, frame::MAX_PAYLOAD};

/// How much went each way.
#[derive(Debug, Default)]
pub struct Carried {
    /// Bytes to the other side.
    pub sent: AtomicU64,
    /// Bytes from it.
    pub received: AtomicU64,
}

impl Carried {
    /// Bytes sent and received so far.
    pub fn totals(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.sent), load(&self.received))
    }
}

/// Carries until both sides have closed, or one fails.
pub async fn carry<L>(local: L, stream: &mut RouterStream, carried: &Arc<Carried>) -> io::Result<()>
where
    L: AsyncRead + AsyncWrite + Unpin,
{
    let mut local = Counted {
        local,
        carried: carried.clone(),
    };
    copy_bidirectional_with_sizes(&mut local, stream, MAX_PAYLOAD, MAX_PAYLOAD).await?;
    Ok(())
}

/// Counts what passes.
struct Counted<L> {
    local: L,
    carried: Arc<Carried>,
}

impl<L: AsyncRead + Unpin> AsyncRead for Counted<L> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.local).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        self.carried.sent.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<L: AsyncWrite + Unpin> AsyncWrite for Counted<L> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.local).poll_write(cx, buf))?;
        self.carried
            .received
            .fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.local).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.local).poll_shutdown(cx)
    }
}
