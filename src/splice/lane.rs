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
    sync::{
        Arc, AtomicBool, AtomicU64, AtomicWaker, Consumer, Mutex, Once, Ordering, Producer, ring,
    },
};

/// Slots of the ring. A stock peer's 64 KiB message takes five.
pub const SLOTS: usize = 32;

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
pub fn lane() -> (LaneSender, LaneReceiver) {
    with_slots(SLOTS, Part::default())
}

/// Makes a lane that adds what it holds to `gauge`.
pub fn counted_lane(gauge: &std::sync::Arc<Gauge>) -> (LaneSender, LaneReceiver) {
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
    let receiver = LaneReceiver {
        ring: consumer,
        shared,
        head: None,
        rest: VecDeque::new(),
        taken: 0,
        committed: 0,
    };
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

/// The consuming end.
#[derive(Debug)]
pub struct LaneReceiver {
    ring: Consumer<Bytes>,
    shared: Arc<Shared>,
    /// Popped, but longer than what could be taken.
    head: Option<Bytes>,
    rest: VecDeque<Bytes>,
    taken: u64,
    committed: u64,
}

/// What is next in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// So many bytes can be taken.
    Data(usize),
    /// All was taken, and this is the end.
    End(LaneEnd),
}

impl LaneReceiver {
    /// What is next. Pending means: all was taken so far, and the waker is called when there is more.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if let Some(data) = self.available() {
            return Poll::Ready(data);
        }
        self.shared.consumer.register(cx.waker());
        let end = self.shared.end.get();
        // Looked at after the end: what was published before the end comes first.
        if let Some(data) = self.available() {
            return Poll::Ready(data);
        }
        let Some(end) = end else {
            return Poll::Pending;
        };
        self.commit();
        if !self.shared.finished.swap(true, Ordering::SeqCst) {
            self.shared.producer.wake();
        }
        Poll::Ready(Next::End(end))
    }

    /// Bytes published and not taken.
    pub fn waiting(&self) -> usize {
        let published = self.shared.published.load(Ordering::SeqCst);
        usize::try_from(published - self.taken).unwrap_or(usize::MAX)
    }

    /// Bytes that the lane holds because the consumer does not take them: those that found no slot, too, but not those
    /// that wait for the rest of their message.
    pub fn held(&self) -> u64 {
        let unfinished = self.shared.unfinished.load(Ordering::Relaxed);
        self.shared.held.bytes().saturating_sub(unfinished)
    }

    fn available(&self) -> Option<Next> {
        let bytes = self.waiting();
        (bytes > 0).then_some(Next::Data(bytes))
    }

    /// The end, if the producer has set it, though there may be bytes before it. Registers the waker,
    /// so that one who cannot take bytes now still learns of the end.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Option<LaneEnd> {
        self.shared.consumer.register(cx.waker());
        self.shared.end.get()
    }

    /// Takes the next frame, at most `most` bytes (at least 1): a long chunk as it is, short ones joined.
    /// `None` if nothing is there. The producer learns of it at [`LaneReceiver::commit`].
    pub fn take(&mut self, most: usize) -> Option<Bytes> {
        // The ring may hold more than was published: a flush fills it first. To take that would let `taken`
        // pass `published`.
        let most = most.min(self.waiting());
        if most == 0 {
            return None;
        }
        let mut first = self.pop()?;
        if first.len() > most {
            self.head = Some(first.split_off(most));
        } else if first.len() < SMALL_CHUNK {
            first = self.join(first, most.min(JOINED_FRAME));
        }
        self.taken += first.len() as u64;
        Some(first)
    }

    fn join(&mut self, first: Bytes, most: usize) -> Bytes {
        if first.len() >= most {
            return first;
        }
        let Some(mut second) = self.pop() else {
            return first;
        };
        if second.len() >= SMALL_CHUNK {
            self.head = Some(second);
            return first;
        }
        let mut joined = BytesMut::with_capacity(most);
        joined.extend_from_slice(&first);
        loop {
            let room = most - joined.len();
            if second.len() > room {
                self.head = Some(second.split_off(room));
                joined.extend_from_slice(&second);
                break;
            }
            joined.extend_from_slice(&second);
            if joined.len() == most {
                break;
            }
            match self.pop() {
                Some(next) if next.len() < SMALL_CHUNK => second = next,
                next => {
                    self.head = next;
                    break;
                }
            }
        }
        joined.freeze()
    }

    /// Called only while published bytes are left: what is not in the ring then is in the rest.
    fn pop(&mut self) -> Option<Bytes> {
        if let Some(head) = self.head.take() {
            return Some(head);
        }
        if let Ok(chunk) = self.ring.pop() {
            return Some(chunk);
        }
        // Published before the end is set, so the end must not be asked for.
        if self.rest.is_empty() && self.shared.has_rest.load(Ordering::SeqCst) {
            let mut rest = self
                .shared
                .rest
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.rest = std::mem::take(&mut *rest);
            // The producer may have filled the ring between the pop above and its end.
            if let Ok(chunk) = self.ring.pop() {
                return Some(chunk);
            }
        }
        self.rest.pop_front()
    }

    /// Tells the producer what was taken since the last call.
    pub fn commit(&mut self) {
        if self.taken == self.committed {
            return;
        }
        self.shared.held.remove(self.taken - self.committed);
        self.committed = self.taken;
        self.shared.taken.store(self.taken, Ordering::SeqCst);
        let wake_at = self.shared.wake_at.load(Ordering::SeqCst);
        // Only one wake for each time the producer asks. If it asked anew meanwhile, it has seen `taken`.
        if self.taken >= wake_at
            && self
                .shared
                .wake_at
                .compare_exchange(wake_at, u64::MAX, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
        {
            self.shared.producer.wake();
        }
    }

    /// Bytes taken so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Messages published so far.
    pub fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::Relaxed)
    }

    /// Tells the producer that nothing more will be taken, and why (as the producer's peer sees it).
    pub fn abandon(&mut self, ending: Ending) {
        self.shared.abandoned.set(ending);
        self.shared.producer.wake();
    }
}

impl Drop for LaneReceiver {
    fn drop(&mut self) {
        if !self.shared.finished.load(Ordering::SeqCst) {
            self.abandon(Ending::from(Cause::Panicked).for_other());
        }
    }
}

#[cfg(all(test, feature = "loom"))]
mod loom_tests;
#[cfg(all(test, not(feature = "loom")))]
mod tests;
