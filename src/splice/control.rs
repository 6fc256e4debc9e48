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

use super::{ending::Cause, side::Totals, standstill::Standstill};

/// Says where a stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has no partner yet.
    Waiting,
    /// It has met its partner.
    Paired,
    /// Its peer is being told that it ends, or will be at once.
    Ending,
}

/// Is shared between a stream's task and whoever may look at the stream or end it.
#[derive(Debug)]
pub struct Control {
    made: Instant,
    cause: OnceLock<Cause>,
    paired: AtomicBool,
    concluding: AtomicBool,
    carried: Carried,
    /// Bytes that wait in the lane for this stream's peer.
    waiting: AtomicU64,
    /// Bytes that HTTP/2 was handed for the peer, and has not written yet.
    unsent: AtomicU64,
    /// Bytes that the peer sent and that wait for it: for the rest of their message, or for a partner.
    unfinished: AtomicU64,
    reading: Standstill,
    sending: Standstill,
    waker: AtomicWaker,
}

/// Holds [`Totals`] as the stream's task last reported them. Each is exact; together they may be of two moments.
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
            waiting: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            unfinished: AtomicU64::new(0),
            reading: Standstill::default(),
            sending: Standstill::default(),
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

    /// Has the stream's task look at everything again.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Tells whether it was asked to end.
    pub fn is_ending(&self) -> bool {
        self.cause.get().is_some()
    }

    /// Tells whether the stream has met its partner.
    pub fn is_paired(&self) -> bool {
        self.paired.load(Ordering::Acquire)
    }

    /// Notes that the stream has met its partner.
    pub fn set_paired(&self) {
        // What it sent early waited for the partner, not for its peer.
        self.sending.end();
        self.paired.store(true, Ordering::Release);
    }

    /// Notes that the stream's task has begun to tell its peer that it ends.
    pub fn set_concluding(&self) {
        self.concluding.store(true, Ordering::Relaxed);
    }

    /// Says where the stream is in its life.
    pub fn state(&self) -> State {
        if self.is_ending() || self.concluding.load(Ordering::Relaxed) {
            State::Ending
        } else if self.is_paired() {
            State::Paired
        } else {
            State::Waiting
        }
    }

    /// Reports what the stream has carried so far. Only its own task does, so plain stores will do.
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

    /// Gives what the stream has carried, as its task last said.
    pub fn carried(&self) -> Totals {
        let carried = &self.carried;
        Totals {
            bytes_in: carried.bytes_in.load(Ordering::Relaxed),
            messages_in: carried.messages_in.load(Ordering::Relaxed),
            bytes_out: carried.bytes_out.load(Ordering::Relaxed),
            messages_out: carried.messages_out.load(Ordering::Relaxed),
        }
    }

    /// Reports what waits in the lane for the stream's peer, and how much that peer sent that waits for the rest of its
    /// message, or for a partner. Call [`Control::count`] before.
    pub fn report(&self, waiting: u64, unfinished: u64) {
        self.waiting.store(waiting, Ordering::Relaxed);
        self.unfinished.store(unfinished, Ordering::Relaxed);
        self.look();
    }

    /// Counts bytes that HTTP/2 was handed for the peer.
    pub fn handed(&self, bytes: u64) {
        self.unsent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that HTTP/2 was handed, and has written or dropped.
    pub fn written(&self, bytes: u64) {
        self.unsent.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts the bytes that the router keeps because the peer does not read them.
    pub fn held(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed) + self.unsent.load(Ordering::Relaxed)
    }

    /// Counts the bytes that the router keeps because of this peer: what it does not read, and what it has sent of a
    /// message that is not whole.
    pub fn kept(&self) -> u64 {
        self.held() + self.unfinished.load(Ordering::Relaxed)
    }

    fn look(&self) -> (Option<Duration>, Option<Duration>) {
        let (unsent, carried) = (self.unsent.load(Ordering::Relaxed), &self.carried);
        let held = self.waiting.load(Ordering::Relaxed) + unsent;
        let taken = carried
            .bytes_out
            .load(Ordering::Relaxed)
            .saturating_sub(unsent);
        let sent = carried.bytes_in.load(Ordering::Relaxed);
        let unfinished = self.unfinished.load(Ordering::Relaxed);
        let now = || self.made.elapsed();
        (
            self.reading.look(held, taken, now),
            self.sending.look(unfinished, sent, now),
        )
    }

    /// Notes that what the peer owes is not read: it does not stand still by itself.
    pub fn excuse_sender(&self) {
        self.sending.end();
    }

    /// Tells for how long the peer has read next to nothing while bytes wait for it, if that is at least `least`.
    pub fn stalled_for(&self, least: Duration) -> Option<Duration> {
        self.look().0.filter(|long| *long >= least)
    }

    /// Tells for how long the peer has sent next to nothing of a message that it had begun, if that is at least `least`.
    pub fn unfinished_for(&self, least: Duration) -> Option<Duration> {
        self.look().1.filter(|long| *long >= least)
    }

    /// Waits until the stream has to end. For its task only: the last caller is the one that is woken.
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
