//! Counts what the streams of one connection have in common.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use crate::{
    splice::gauge::Gauge,
    transport::{limits::count::Count, memory::read_budget::Received},
};

/// Counts what passes through a connection's streams. One task counts and looks, so all access is relaxed.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounters {
    /// Credit granted anew, bytes.
    released: AtomicU64,
    /// Bytes received.
    received: AtomicU64,
    /// DATA frames received.
    frames: AtomicU64,
    /// What the lanes hold that these streams fill.
    held: Arc<Gauge>,
    /// Streams admitted and not yet gone.
    pub(crate) streams: Count,
    /// The connection is not read for want of memory.
    paused: AtomicBool,
    /// The window of each of the connection's streams, bytes.
    window: AtomicU32,
    /// How often the window was made smaller, and the peer knows.
    shrunk: AtomicU32,
    /// Calls that ask for no token and are open.
    pub(crate) calls: Count,
}

impl ConnectionCounters {
    /// Returns the credit granted anew so far, bytes.
    pub(crate) fn released(&self) -> u64 {
        self.released.load(Ordering::Relaxed)
    }

    /// Returns what was received so far.
    pub(crate) fn received(&self) -> Received {
        Received {
            bytes: self.received.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
        }
    }

    /// Counts what the lanes hold that these streams fill.
    pub(crate) fn held(&self) -> &Arc<Gauge> {
        &self.held
    }

    /// Tells whether the connection is not read for want of memory.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Says whether the connection is read.
    pub(crate) fn set_paused(&self, paused: bool) {
        // Mostly nothing changes, and a load is cheaper.
        if self.is_paused() != paused {
            self.paused.store(paused, Ordering::Relaxed);
        }
    }

    /// Returns what a peer may send on each stream before it is read, bytes.
    pub(crate) fn window(&self) -> u32 {
        self.window.load(Ordering::Relaxed)
    }

    /// Notes that the connection has changed its streams' window.
    pub(crate) fn set_window(&self, bytes: u32) {
        self.window.store(bytes, Ordering::Relaxed);
    }

    /// Notes that the peer knows of a smaller window. Streams see it once they are polled.
    pub(crate) fn set_shrunk(&self) {
        self.shrunk.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a DATA frame that was received, of so many bytes.
    pub(crate) fn add_received(&self, bytes: usize) {
        add(&self.received, bytes as u64);
        add(&self.frames, 1);
    }

    /// Counts credit that was granted anew, bytes.
    pub(crate) fn add_released(&self, bytes: usize) {
        add(&self.released, bytes as u64);
    }

    /// Tells how often the window was made smaller and the peer knew.
    pub(crate) fn shrunk(&self) -> u32 {
        self.shrunk.load(Ordering::Relaxed)
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}
