//! The consuming end of a lane.

use std::{
    collections::VecDeque,
    sync::PoisonError,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};

use super::{LaneEnd, Shared};
use crate::splice::{
    JOINED_FRAME, SMALL_CHUNK,
    ending::{Cause, Ending},
    sync::{Arc, Consumer, Ordering},
};

/// Takes what the producer has published.
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
    pub(super) fn new(ring: Consumer<Bytes>, shared: Arc<Shared>) -> Self {
        Self {
            ring,
            shared,
            head: None,
            rest: VecDeque::new(),
            taken: 0,
            committed: 0,
        }
    }

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
    pub(super) fn pop(&mut self) -> Option<Bytes> {
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
