//! One direction's channel: single producer, single consumer, lock-free, bounded in bytes.
//!
//! The producer is the task that reads one peer, the consumer the task that writes to the other. The bound is
//! not in the lane but in the window the sending peer was granted: [`LaneSender::poll_credit`] says how many
//! bytes the consumer has taken since, and only those are granted again. So a lane takes every byte it is
//! given and never holds more than the window.
//!
//! Chunks cross in a ring of a few slots. While the ring is full they wait in the producer, where small ones
//! are copied together: a thousand frames of 20 bytes wait as two blocks, not as a thousand slices that each
//! hold a read buffer. Nothing ever waits *in order* to be joined.
//!
//! ## The protocol between the two tasks
//! All counters only grow. `published` and `taken` count bytes. The consumer sleeps when it has taken all that
//! is published: it registers its waker, then looks again; the producer publishes, then wakes. The producer
//! wants to know of taken bytes only from `wake_at` on (a third of a window, as that is when HTTP/2 sends the credit
//! back): it registers, sets `wake_at`, then looks at `taken`; the consumer sets `taken`, then looks at
//! `wake_at`. Both are store-then-load on two variables, hence `SeqCst`. loom checks it (`loom_tests`).

mod receiver;

use std::{
    collections::VecDeque,
    sync::PoisonError,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};

use super::{
    JOINED_FRAME, SMALL_CHUNK,
    ending::{Cause, Ending},
    gauge::{Gauge, Part},
    sync::{Arc, AtomicBool, AtomicU64, AtomicWaker, Mutex, Once, Ordering, Producer, ring},
};

pub use self::receiver::{LaneReceiver, Next};

/// Slots of the ring. A stock peer's 64 KiB message takes five.
pub(crate) const SLOTS: usize = 32;

/// The last thing that crosses a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneEnd {
    /// The sending peer half-closed.
    HalfClosed,
    /// The sending peer's stream ended.
    Ended {
        /// As the receiving peer sees it.
        ending: Ending,
        /// The last bytes forwarded are part of an unfinished message.
        inside_message: bool,
    },
}

#[derive(Debug)]
struct Shared {
    published: AtomicU64,
    messages: AtomicU64,
    taken: AtomicU64,
    wake_at: AtomicU64,
    finished: AtomicBool,
    end: Once<LaneEnd>,
    /// What had not crossed when the producer ended: locked once by either side.
    rest: Mutex<VecDeque<Bytes>>,
    has_rest: AtomicBool,
    abandoned: Once<Ending>,
    consumer: AtomicWaker,
    producer: AtomicWaker,
    /// Of what it holds: waits for the rest of its message.
    unfinished: AtomicU64,
    /// Given back with the last end, which also drops the bytes.
    held: Part,
}

/// Makes a lane with [`SLOTS`] slots that nobody counts.
#[cfg(any(test, feature = "internals"))]
pub fn lane() -> (LaneSender, LaneReceiver) {
    with_slots(SLOTS, Part::default())
}

/// Makes a lane that adds what it holds to `gauge`.
pub(crate) fn counted_lane(gauge: &std::sync::Arc<Gauge>) -> (LaneSender, LaneReceiver) {
    with_slots(SLOTS, Part::new(gauge.clone()))
}

#[cfg(all(test, feature = "loom"))]
fn lane_with_slots(slots: usize) -> (LaneSender, LaneReceiver) {
    with_slots(slots, Part::default())
}

fn with_slots(slots: usize, held: Part) -> (LaneSender, LaneReceiver) {
    let (producer, consumer) = ring(slots);
    let shared = Arc::new(Shared {
        published: AtomicU64::new(0),
        messages: AtomicU64::new(0),
        taken: AtomicU64::new(0),
        wake_at: AtomicU64::new(u64::MAX),
        finished: AtomicBool::new(false),
        end: Once::new(),
        rest: Mutex::new(VecDeque::new()),
        has_rest: AtomicBool::new(false),
        abandoned: Once::new(),
        consumer: AtomicWaker::new(),
        producer: AtomicWaker::new(),
        unfinished: AtomicU64::new(0),
        held,
    });
    let sender = LaneSender {
        ring: producer,
        shared: shared.clone(),
        waiting: VecDeque::new(),
        tail: BytesMut::new(),
        tail_length: 0,
        accepted: 0,
        counted: 0,
        ready: 0,
        unfinished: 0,
        published: 0,
        credited: 0,
    };
    let receiver = LaneReceiver::new(consumer, shared);
    (sender, receiver)
}

/// The producing end.
#[derive(Debug)]
pub struct LaneSender {
    ring: Producer<Bytes>,
    shared: Arc<Shared>,
    waiting: VecDeque<Bytes>,
    tail: BytesMut,
    /// How long the last tail became: the next one gets that much room at once.
    tail_length: usize,
    accepted: u64,
    counted: u64,
    ready: u64,
    /// As it was last told.
    unfinished: u64,
    published: u64,
    credited: u64,
}

impl LaneSender {
    /// Takes a chunk. Of all bytes taken so far, those up to `ready` in this chunk may cross; the others wait
    /// for the rest of their message. Nothing crosses before [`LaneSender::flush`].
    pub fn push(&mut self, chunk: Bytes, ready: usize) {
        if ready > 0 {
            self.ready = self.accepted + ready as u64;
        }
        self.accepted += chunk.len() as u64;
        if chunk.len() < SMALL_CHUNK {
            if self.tail.len() + chunk.len() > JOINED_FRAME {
                self.close_tail();
            }
            if self.tail.is_empty() {
                self.tail.reserve(self.tail_length.max(chunk.len()));
            }
            self.tail.extend_from_slice(&chunk);
        } else {
            self.close_tail();
            self.waiting.push_back(chunk);
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = self.take_tail();
            self.waiting.push_back(tail);
        }
    }

    fn take_tail(&mut self) -> Bytes {
        self.tail_length = self.tail.len();
        std::mem::take(&mut self.tail).freeze()
    }

    /// Publishes what is ready, as far as the ring has room, and counts `messages` more.
    pub fn flush(&mut self, messages: u64) {
        // Before the consumer can take it off again.
        if self.accepted > self.counted {
            self.shared.held.add(self.accepted - self.counted);
            self.counted = self.accepted;
        }
        if self.unfinished != self.accepted - self.ready {
            self.unfinished = self.accepted - self.ready;
            self.shared
                .unfinished
                .store(self.unfinished, Ordering::Relaxed);
        }
        if messages > 0 {
            let before = self.shared.messages.load(Ordering::Relaxed);
            self.shared
                .messages
                .store(before + messages, Ordering::Relaxed);
        }
        let before = self.published;
        while self.published < self.ready && !self.ring.is_full() {
            let most = self.ready - self.published;
            let chunk = self.next_ready(usize::try_from(most).unwrap_or(usize::MAX));
            self.published += chunk.len() as u64;
            if self.ring.push(chunk).is_err() {
                unreachable!("only this producer fills the ring, and it had a free slot");
            }
        }
        if self.published > before {
            self.shared
                .published
                .store(self.published, Ordering::SeqCst);
            self.shared.consumer.wake();
        }
    }

    fn next_ready(&mut self, most: usize) -> Bytes {
        match self.waiting.front_mut() {
            Some(front) if front.len() > most => front.split_to(most),
            Some(_) => self.waiting.pop_front().unwrap_or_default(),
            None if self.tail.len() > most => self.tail.split_to(most).freeze(),
            None => self.take_tail(),
        }
    }

    /// Counts what the lane holds in `own`, too. Before the first byte.
    pub fn count_in(&self, own: std::sync::Arc<Gauge>) {
        self.shared.held.count_in(own);
    }

    /// Bytes that are ready but have not crossed, for want of a slot. [`LaneSender::flush`] again once
    /// [`LaneSender::poll_credit`] has woken.
    pub fn backlog(&self) -> u64 {
        self.ready - self.published
    }

    /// Bytes that wait for the rest of their message.
    pub fn unfinished(&self) -> u64 {
        self.accepted - self.ready
    }

    /// Bytes taken and not yet credited: what this direction holds of the window.
    pub fn held(&self) -> u64 {
        self.accepted - self.credited
    }

    /// How many bytes the consumer has taken since the last call. Wakes once it has taken `threshold` more.
    pub fn poll_credit(&mut self, cx: &mut Context<'_>, threshold: u64) -> u64 {
        let credit = self.credit();
        let threshold = if self.backlog() > 0 { 1 } else { threshold };
        self.shared.producer.register(cx.waker());
        self.shared
            .wake_at
            .store(self.credited + threshold, Ordering::SeqCst);
        // Taken meanwhile: the consumer may have looked at the old `wake_at`.
        credit + self.credit()
    }

    fn credit(&mut self) -> u64 {
        let taken = self.shared.taken.load(Ordering::SeqCst);
        let credit = taken - self.credited;
        self.credited = taken;
        credit
    }

    /// Ends the lane behind the bytes that are ready; the others are dropped. Only the first end counts.
    ///
    /// What found no slot is handed over here, so the producer may go at once.
    pub fn end(&mut self, end: LaneEnd) {
        if self.shared.end.get().is_some() {
            return;
        }
        self.flush(0);
        if self.backlog() > 0 {
            let mut rest = VecDeque::new();
            while self.published < self.ready {
                let most = self.ready - self.published;
                let chunk = self.next_ready(usize::try_from(most).unwrap_or(usize::MAX));
                self.published += chunk.len() as u64;
                rest.push_back(chunk);
            }
            *self
                .shared
                .rest
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = rest;
            self.shared.has_rest.store(true, Ordering::SeqCst);
            self.shared
                .published
                .store(self.published, Ordering::SeqCst);
        }
        self.waiting = VecDeque::new();
        self.tail = BytesMut::new();
        self.shared.held.remove(self.counted - self.published);
        self.counted = self.published;
        self.shared.unfinished.store(0, Ordering::Relaxed);
        self.shared.end.set(end);
        self.shared.consumer.wake();
    }

    /// Whether the consumer has taken everything and seen the end. Wakes when that changes.
    pub fn poll_finished(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.producer.register(cx.waker());
        if self.shared.finished.load(Ordering::SeqCst) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Why the consumer gave up, if it did. [`LaneSender::poll_finished`] wakes for it, too.
    pub fn abandoned(&self) -> Option<Ending> {
        self.shared.abandoned.get()
    }
}

impl Drop for LaneSender {
    /// A producer that goes without a word failed: its partner must not wait for ever.
    fn drop(&mut self) {
        self.end(LaneEnd::Ended {
            ending: Ending::from(Cause::Panicked).for_other(),
            // A lane knows no messages: whoever cuts one says so before.
            inside_message: false,
        });
    }
}

#[cfg(all(test, feature = "loom"))]
mod loom_tests;
#[cfg(all(test, not(feature = "loom")))]
mod tests;
