//! Carries bytes between a stream and something local, both ways.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio_util::io::{InspectReader, InspectWriter};

use crate::client::frame::MAX_PAYLOAD;

/// How much went each way.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// Bytes to the other side.
    pub sent: AtomicU64,
    /// Bytes from it.
    pub received: AtomicU64,
}

impl Carried {
    /// Counts the bytes sent and received so far.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.sent), load(&self.received))
    }
}

/// Carries until both sides have closed, or one fails.
pub(crate) async fn carry<L, S>(local: L, stream: &mut S, carried: &Carried) -> io::Result<()>
where
    L: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let count = |counter: &AtomicU64, bytes: &[u8]| {
        counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    };
    let local = InspectReader::new(local, |bytes| count(&carried.sent, bytes));
    let mut local = InspectWriter::new(local, |bytes| count(&carried.received, bytes));
    copy_bidirectional_with_sizes(&mut local, stream, MAX_PAYLOAD, MAX_PAYLOAD).await?;
    Ok(())
}
