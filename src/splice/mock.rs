//! Scripted peers for the tests of the splice.
#![allow(clippy::unwrap_used)]

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;

use super::{
    Broken, Sink, Source,
    ending::Ending,
    lane::{LaneReceiver, LaneSender, lane},
    scanner::Scanner,
    side::Side,
};

/// Counts how often it was woken.
#[derive(Default)]
pub(crate) struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (wakes.clone(), Waker::from(wakes))
    }

    /// How often it was woken since the last call.
    pub(crate) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// How a peer was told that its stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Finished(Ending),
    Reset,
}

#[derive(Debug)]
enum Step {
    Chunk(Bytes),
    HalfClose,
    Broken(Broken),
}

#[derive(Debug, Default)]
struct State {
    steps: VecDeque<Step>,
    over: bool,
    read_waker: Option<Waker>,
    returned: usize,
    released: Vec<usize>,
    capacity: usize,
    asked: Vec<usize>,
    sink_broken: Option<Broken>,
    write_waker: Option<Waker>,
    frames: Vec<Bytes>,
    told: Option<Told>,
}

/// A peer, as the test holds it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer(Rc<RefCell<State>>);

impl Peer {
    fn step(&self, step: Step) {
        let mut state = self.0.borrow_mut();
        state.steps.push_back(step);
        if let Some(waker) = state.read_waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn sends(&self, chunk: impl Into<Bytes>) {
        self.step(Step::Chunk(chunk.into()));
    }

    pub(crate) fn half_closes(&self) {
        self.step(Step::HalfClose);
    }

    /// Only reading finds out.
    pub(crate) fn source_breaks(&self, broken: Broken) {
        self.step(Step::Broken(broken));
    }

    /// Only writing, or watching the way back, finds out.
    pub(crate) fn sink_breaks(&self, broken: Broken) {
        let mut state = self.0.borrow_mut();
        state.sink_broken.get_or_insert(broken);
        if let Some(waker) = state.write_waker.take() {
            waker.wake();
        }
    }

    /// What was sent before is still read.
    pub(crate) fn breaks(&self, broken: Broken) {
        self.source_breaks(broken);
        self.sink_breaks(broken);
    }

    /// Takes so many bytes more.
    pub(crate) fn opens(&self, capacity: usize) {
        let mut state = self.0.borrow_mut();
        state.capacity += capacity;
        if let Some(waker) = state.write_waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn frames(&self) -> Vec<Bytes> {
        self.0.borrow().frames.clone()
    }

    pub(crate) fn received(&self) -> Vec<u8> {
        self.0.borrow().frames.concat()
    }

    pub(crate) fn told(&self) -> Option<Told> {
        self.0.borrow().told
    }

    /// Each grant of credit.
    pub(crate) fn released(&self) -> Vec<usize> {
        self.0.borrow().released.clone()
    }

    /// What the sink was asked for, each time.
    pub(crate) fn asked(&self) -> Vec<usize> {
        self.0.borrow().asked.clone()
    }
}

impl Source for Peer {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let mut state = self.0.borrow_mut();
        assert!(!state.over, "read again after the last of it");
        let Some(step) = state.steps.pop_front() else {
            state.read_waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.over = !matches!(step, Step::Chunk(_));
        Poll::Ready(match step {
            Step::Chunk(chunk) => {
                state.returned += chunk.len();
                Some(Ok(chunk))
            }
            Step::HalfClose => None,
            Step::Broken(broken) => Some(Err(broken)),
        })
    }

    fn release(&mut self, _: &mut Context<'_>, bytes: usize) {
        let mut state = self.0.borrow_mut();
        state.released.push(bytes);
        let all: usize = state.released.iter().sum();
        assert!(all <= state.returned, "released more than was read");
    }
}

impl Sink for Peer {
    fn poll_capacity(&mut self, cx: &mut Context<'_>, want: usize) -> Poll<Result<usize, Broken>> {
        let mut state = self.0.borrow_mut();
        assert!(want > 0);
        state.asked.push(want);
        if let Some(broken) = state.sink_broken {
            return Poll::Ready(Err(broken));
        }
        if state.capacity > 0 {
            return Poll::Ready(Ok(state.capacity));
        }
        state.write_waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn send(&mut self, chunk: Bytes) -> Result<(), Broken> {
        let mut state = self.0.borrow_mut();
        assert!(state.told.is_none(), "sent behind the end");
        assert!(!chunk.is_empty() && chunk.len() <= state.capacity);
        if let Some(broken) = state.sink_broken {
            return Err(broken);
        }
        state.capacity -= chunk.len();
        state.frames.push(chunk);
        Ok(())
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let mut state = self.0.borrow_mut();
        if let Some(broken) = state.sink_broken {
            return Poll::Ready(broken);
        }
        state.write_waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn finish(&mut self, ending: Ending) {
        let before = self.0.borrow_mut().told.replace(Told::Finished(ending));
        assert_eq!(before, None, "ended twice");
    }

    fn reset(&mut self) {
        let before = self.0.borrow_mut().told.replace(Told::Reset);
        assert_eq!(before, None, "ended twice");
    }
}

/// The largest message the scanners of these tests accept.
pub(crate) const LIMIT: u64 = 1 << 20;

/// Messages up to this length, prefix included, are forwarded whole in these tests.
pub(crate) const WHOLE: u64 = 4_096;

/// The window of the peers in these tests.
pub(crate) const WINDOW: u32 = 8_192;

pub(crate) type MockSide = Side<Peer, Peer>;

pub(crate) fn side_on(lanes: (LaneSender, LaneReceiver)) -> (MockSide, Peer) {
    let peer = Peer::default();
    let scanner = Scanner::new(LIMIT, WHOLE, false);
    let side = Side::new(peer.clone(), peer.clone(), scanner, lanes, WINDOW);
    (side, peer)
}

/// A side whose partner is the test: what the side reads arrives at the receiver, and the sender feeds it.
pub(crate) fn side() -> (MockSide, Peer, LaneSender, LaneReceiver) {
    let (tx, partner_rx) = lane();
    let (partner_tx, rx) = lane();
    let (side, peer) = side_on((tx, rx));
    (side, peer, partner_tx, partner_rx)
}

pub(crate) fn pair() -> ((MockSide, Peer), (MockSide, Peer)) {
    let (a_tx, b_rx) = lane();
    let (b_tx, a_rx) = lane();
    (side_on((a_tx, a_rx)), side_on((b_tx, b_rx)))
}

/// A gRPC message with `length` bytes of payload.
pub(crate) fn message(length: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    bytes.extend((0..length).map(|at| (at % 251) as u8));
    bytes
}

/// Takes all that is there.
pub(crate) fn drain(rx: &mut LaneReceiver) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(frame) = rx.take(usize::MAX) {
        bytes.extend_from_slice(&frame);
    }
    rx.commit();
    bytes
}
