//! Two sides and two scripted peers, from the splice to the last word, against a plain model.

use std::{future::Future, pin::pin, time::Duration};

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::splice::{
    control::Control,
    drive::{self, Deadlines},
    mock::{Peer, Told, pair},
};

const LINGER: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
enum Act {
    /// So many bytes more of the peer's messages.
    Send(usize),
    Open(usize),
    HalfClose,
    Reset,
    Lose,
}

/// What one peer is going to send, and what has become of it.
#[derive(Debug)]
struct Script {
    bytes: Vec<u8>,
    at: usize,
    half_closed: bool,
    broken: Option<Cause>,
}

impl Script {
    fn new(lengths: &[usize]) -> Self {
        Self {
            bytes: lengths.iter().flat_map(|&length| message(length)).collect(),
            at: 0,
            half_closed: false,
            broken: None,
        }
    }

    fn act(&mut self, act: Act, peer: &Peer) {
        match act {
            Act::Open(more) => peer.opens(more),
            _ if self.broken.is_some() => {}
            Act::Send(length) if !self.half_closed => {
                let end = (self.at + length).min(self.bytes.len());
                if end > self.at {
                    peer.sends(self.bytes[self.at..end].to_vec());
                    self.at = end;
                }
            }
            Act::HalfClose if !self.half_closed => {
                self.half_closed = true;
                peer.half_closes();
            }
            Act::Send(_) | Act::HalfClose => {}
            Act::Reset => self.break_off(peer, Broken::Cancelled, Cause::Cancelled),
            Act::Lose => self.break_off(peer, Broken::Lost, Cause::Lost),
        }
    }

    fn break_off(&mut self, peer: &Peer, broken: Broken, cause: Cause) {
        self.broken = Some(cause);
        if !self.half_closed {
            peer.source_breaks(broken);
        }
        peer.sink_breaks(broken);
    }

    /// Whether `length` is as far as bytes may be forwarded at some time.
    fn may_stop_at(&self, length: usize) -> bool {
        let start = self.whole(length).1;
        if start == length {
            return true;
        }
        let Some(prefix) = self.bytes[..length].get(start + 1..start + 5) else {
            return false;
        };
        let size = u32::from_be_bytes(prefix.try_into().unwrap());
        u64::from(size) + 5 > WHOLE
    }

    /// All that must arrive in the end.
    fn acceptable(&self) -> usize {
        let fits = |&length: &usize| self.may_stop_at(length);
        (0..=self.at).rev().find(fits).unwrap()
    }

    /// Messages whole within `length`, and where the last of them ends.
    fn whole(&self, length: usize) -> (u64, usize) {
        let (mut count, mut start) = (0, 0);
        while start + 5 <= length {
            let prefix: [u8; 4] = self.bytes[start + 1..start + 5].try_into().unwrap();
            let end = start + 5 + u32::from_be_bytes(prefix) as usize;
            if end > length {
                break;
            }
            (count, start) = (count + 1, end);
        }
        (count, start)
    }

    fn messages(&self, length: usize) -> u64 {
        self.whole(length).0
    }

    fn at_boundary(&self, length: usize) -> bool {
        self.whole(length).1 == length
    }

    fn may_cause(&self, cause: Cause) -> bool {
        match cause {
            Cause::Completed => true,
            Cause::Fault(Fault::Truncated { .. }) => self.half_closed && !self.at_boundary(self.at),
            cause => self.broken == Some(cause),
        }
    }
}

type Outcome = (Ending, bool);

async fn run(side: &mut MockSide, control: &Control) -> Outcome {
    let deadlines = Deadlines {
        pairing: LINGER,
        idle: None,
        stall: None,
        lifetime: None,
        caller: None,
        linger: LINGER,
    };
    let ending = drive::splice(side, control, &deadlines, Instant::now(), |_| {}).await;
    let told = drive::conclude(side, ending, true, LINGER).await;
    (ending, told)
}

fn check(script: &Script, partner: &Script, peer: &Peer, side: &MockSide, outcome: Outcome) {
    let (ending, told) = outcome;
    let received = peer.received();
    let bytes = side.totals().bytes_out as usize;
    let (forwarded, goaway) = received.split_at(bytes);
    assert_eq!(forwarded, &partner.bytes[..bytes]);
    assert!(bytes <= partner.at);
    if !ending.other {
        assert!(script.may_cause(ending.cause), "{ending:?} in {script:?}");
    }
    if !told {
        assert_eq!(peer.told(), Some(Told::Reset));
        assert!(GOAWAY_MESSAGE.starts_with(goaway));
        return;
    }
    assert_eq!(peer.told(), Some(Told::Finished(ending)));
    assert!(partner.may_stop_at(bytes));
    if ending.cause == Cause::Completed {
        assert!(script.half_closed && partner.half_closed);
        assert_eq!((bytes, goaway.len()), (partner.at, 0));
    } else if partner.at_boundary(bytes) {
        assert_eq!(goaway, GOAWAY_MESSAGE);
    } else {
        assert!(goaway.is_empty(), "inside a message");
    }
    if ending.other {
        assert_eq!(bytes, partner.acceptable());
        assert_eq!(side.totals().messages_out, partner.messages(bytes));
    }
}

/// Runs both sides, each only when it was woken. `turns` says what happens next.
async fn play(lengths: [Vec<usize>; 2], acts: Vec<(bool, Act, u8)>, last: (bool, bool, bool)) {
    let ((mut a, a_peer), (mut b, b_peer)) = pair();
    let peers = [a_peer, b_peer];
    let mut scripts = lengths.map(|lengths| Script::new(&lengths));
    let control = Control::default();
    let other_control = Control::default();
    let mut outcomes: [Option<Outcome>; 2] = [None, None];
    {
        let mut a_run = pin!(run(&mut a, &control));
        let mut b_run = pin!(run(&mut b, &other_control));
        let wakers = [Wakes::new(), Wakes::new()];
        for (_, waker) in &wakers {
            waker.wake_by_ref();
        }
        let mut turn = |which: usize| {
            if outcomes[which].is_some() || wakers[which].0.take() == 0 {
                return false;
            }
            let mut cx = Context::from_waker(&wakers[which].1);
            let polled = if which == 0 {
                a_run.as_mut().poll(&mut cx)
            } else {
                b_run.as_mut().poll(&mut cx)
            };
            if let Poll::Ready(outcome) = polled {
                outcomes[which] = Some(outcome);
            }
            true
        };
        for (who, act, turns) in acts {
            scripts[usize::from(who)].act(act, &peers[usize::from(who)]);
            for bit in 0..turns % 4 {
                turn(usize::from(turns >> (2 + bit) & 1));
            }
        }
        let (who, open, close) = last;
        if close {
            // All of what is left, and a clean end.
            for (script, peer) in scripts.iter_mut().zip(&peers) {
                script.act(Act::Send(usize::MAX / 2), peer);
                script.act(Act::HalfClose, peer);
            }
        } else {
            scripts[usize::from(who)].act(Act::Reset, &peers[usize::from(who)]);
        }
        if open || close {
            for peer in &peers {
                peer.opens(1 << 20);
            }
        }
        while turn(usize::from(who)) | turn(usize::from(!who)) {}
        // Who takes nothing is cut off.
        for _ in 0..4 {
            tokio::time::advance(LINGER).await;
            while turn(0) | turn(1) {}
        }
    }
    let [Some(first), Some(second)] = outcomes else {
        panic!("left hanging: {outcomes:?} of {scripts:?}");
    };
    check(&scripts[0], &scripts[1], &peers[0], &a, first);
    check(&scripts[1], &scripts[0], &peers[1], &b, second);
    assert!(!(first.0.other && second.0.other), "nobody began it");
    for (one, other) in [(first.0, second.0), (second.0, first.0)] {
        if one.other {
            assert_eq!(one, other.for_other());
        }
    }
    for (peer, taken_by) in [(&peers[0], &b), (&peers[1], &a)] {
        let credit: usize = peer.released().iter().sum();
        assert!(credit as u64 <= taken_by.totals().bytes_out);
    }
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    let length = prop_oneof![5 => 0usize..60, 2 => 0usize..5_000, 1 => 4_000usize..20_000];
    prop::collection::vec(length, 0..12)
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        30 => prop_oneof![1usize..30, 1usize..3_000, 1usize..20_000].prop_map(Act::Send),
        30 => prop_oneof![1usize..30, 1usize..20_000].prop_map(Act::Open),
        3 => Just(Act::HalfClose),
        1 => Just(Act::Reset),
        1 => Just(Act::Lose),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_two_peers_do(
        first in lengths(),
        second in lengths(),
        acts in prop::collection::vec((any::<bool>(), act(), any::<u8>()), 0..60),
        last in any::<(bool, bool, bool)>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play([first, second], acts, last));
    }
}
