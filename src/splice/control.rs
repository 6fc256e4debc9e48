//! What is shared with a stream's task: it is ended from outside by this, and says here what it carries.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use super::{ending::Cause, side::Totals};

/// Where a stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has no partner yet.
    Waiting,
    /// It has met its partner.
    Paired,
    /// Its peer is being told that it ends, or will be at once.
    Ending,
}

/// Shared between a stream's task and whoever may look at the stream or end it.
#[derive(Debug)]
pub struct Control {
    made: Instant,
    cause: OnceLock<Cause>,
    paired: AtomicBool,
    concluding: AtomicBool,
    carried: Carried,
    /// Bytes that this stream's peer makes the router hold.
    held: AtomicU64,
    /// When the peer last took something while bytes wait: milliseconds from `made`, plus one; 0 if none wait.
    stalled: AtomicU64,
    waker: AtomicWaker,
}

/// [`Totals`] as the stream's task last reported them. Each is exact; together they may be of two moments.
#[derive(Debug, Default)]
struct Carried {
    bytes_in: AtomicU64,
    messages_in: AtomicU64,
    bytes_out: AtomicU64,
    messages_out: AtomicU64,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            made: Instant::now(),
            cause: OnceLock::new(),
            paired: AtomicBool::new(false),
            concluding: AtomicBool::new(false),
            carried: Carried::default(),
            held: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            waker: AtomicWaker::new(),
        }
    }
}

impl Control {
    /// Asks the stream to end. Only the first cause counts.
    pub fn end(&self, cause: Cause) {
        let _ = self.cause.set(cause);
        self.waker.wake();
    }

    /// Whether it was asked to end.
    pub fn is_ending(&self) -> bool {
        self.cause.get().is_some()
    }

    /// Whether the stream has met its partner.
    pub fn is_paired(&self) -> bool {
        self.paired.load(Ordering::Acquire)
    }

    /// The stream has met its partner.
    pub fn set_paired(&self) {
        self.paired.store(true, Ordering::Release);
    }

    /// The stream's task has begun to tell its peer that it ends.
    pub fn set_concluding(&self) {
        self.concluding.store(true, Ordering::Relaxed);
    }

    /// Where the stream is in its life.
    pub fn state(&self) -> State {
        if self.is_ending() || self.concluding.load(Ordering::Relaxed) {
            State::Ending
        } else if self.is_paired() {
            State::Paired
        } else {
            State::Waiting
        }
    }

    /// The stream's task says what it has carried so far. Only this task writes, so plain stores will do.
    pub fn count(&self, totals: &Totals) {
        let carried = &self.carried;
        carried.bytes_in.store(totals.bytes_in, Ordering::Relaxed);
        carried
            .messages_in
            .store(totals.messages_in, Ordering::Relaxed);
        carried.bytes_out.store(totals.bytes_out, Ordering::Relaxed);
        carried
            .messages_out
            .store(totals.messages_out, Ordering::Relaxed);
    }

    /// What the stream has carried, as its task last said.
    pub fn carried(&self) -> Totals {
        let carried = &self.carried;
        Totals {
            bytes_in: carried.bytes_in.load(Ordering::Relaxed),
            messages_in: carried.messages_in.load(Ordering::Relaxed),
            bytes_out: carried.bytes_out.load(Ordering::Relaxed),
            messages_out: carried.messages_out.load(Ordering::Relaxed),
        }
    }

    /// The stream's task says what its peer makes the router hold, and whether the peer took something since it last
    /// said so.
    pub fn report(&self, held: usize, moved: bool) {
        self.held.store(held as u64, Ordering::Relaxed);
        if held == 0 {
            // Mostly it is 0 already, and a load is cheaper.
            if self.stalled.load(Ordering::Relaxed) != 0 {
                self.stalled.store(0, Ordering::Relaxed);
            }
        } else if moved || self.stalled.load(Ordering::Relaxed) == 0 {
            let now = self.made.elapsed().as_millis() as u64 + 1;
            self.stalled.store(now, Ordering::Relaxed);
        }
    }

    /// Bytes held for the peer.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// How long bytes have waited without the peer taking any, if that is at least `least`.
    pub fn stalled_for(&self, least: Duration) -> Option<Duration> {
        let since = self.stalled.load(Ordering::Relaxed).checked_sub(1)?;
        let long = self
            .made
            .elapsed()
            .saturating_sub(Duration::from_millis(since));
        (long >= least).then_some(long)
    }

    /// For the stream's task only: the last caller is the one that is woken.
    pub fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Cause> {
        self.waker.register(cx.waker());
        match self.cause.get() {
            Some(cause) => Poll::Ready(*cause),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests;
