//! One side against a scripted peer; the partner is the test, at the other ends of the two lanes.
#![allow(clippy::unwrap_used)]

mod broken;
mod pair;

use std::task::Waker;

use super::*;
use crate::splice::{
    ending::Cause,
    mock::{MockSide, WHOLE, WINDOW, Wakes, drain, message, side},
    scanner::Fault,
};

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn poll(side: &mut MockSide) -> Poll<Ending> {
    side.poll_paired(&mut cx())
}

fn give(tx: &mut LaneSender, bytes: Vec<u8>) {
    let ready = bytes.len();
    tx.push(bytes.into(), ready);
    tx.flush(1);
}

fn ended(cause: Cause) -> LaneEnd {
    LaneEnd::Ended {
        ending: Ending::from(cause).for_other(),
        inside_message: false,
    }
}

fn end_of(rx: &mut LaneReceiver) -> Option<LaneEnd> {
    rx.poll_end(&mut cx())
}

#[test]
fn a_message_is_forwarded_once_it_is_whole() {
    let (mut side, peer, _tx, mut rx) = side();
    let bytes = message(100);
    for byte in &bytes[..104] {
        peer.sends(vec![*byte]);
        assert!(poll(&mut side).is_pending());
        assert!(drain(&mut rx).is_empty());
    }
    peer.sends(vec![bytes[104]]);
    assert!(poll(&mut side).is_pending());
    assert_eq!(drain(&mut rx), bytes);
}

#[test]
fn a_message_too_long_to_hold_is_forwarded_as_it_comes() {
    let (mut side, peer, _tx, mut rx) = side();
    let longest = message(WHOLE as usize - 5);
    peer.sends(longest[..4_000].to_vec());
    assert!(poll(&mut side).is_pending());
    assert_eq!(rx.waiting(), 0);
    peer.sends(longest[4_000..].to_vec());
    assert!(poll(&mut side).is_pending());
    assert_eq!(drain(&mut rx), longest);

    let longer = message(WHOLE as usize - 4);
    let mut at = 0;
    for next in [5, 6, 3_000, longer.len()] {
        peer.sends(longer[at..next].to_vec());
        assert!(poll(&mut side).is_pending());
        assert_eq!(drain(&mut rx), longer[at..next]);
        at = next;
    }
    assert_eq!(side.totals().messages_in, 2);
}

#[test]
fn both_half_close_in_either_order() {
    for peer_first in [true, false] {
        let (mut side, peer, mut tx, mut rx) = side();
        peer.opens(1_000);
        for peers_turn in [peer_first, !peer_first] {
            assert!(poll(&mut side).is_pending());
            if peers_turn {
                peer.sends(message(10));
                peer.half_closes();
            } else {
                give(&mut tx, message(20));
                tx.end(LaneEnd::HalfClosed);
            }
        }
        assert!(poll(&mut side).is_pending(), "the partner has not taken it");
        assert_eq!(peer.received(), message(20));
        assert_eq!(drain(&mut rx), message(10));
        assert!(poll(&mut side).is_pending(), "nor has it seen the end");
        let end = Next::End(LaneEnd::HalfClosed);
        assert_eq!(rx.poll_next(&mut cx()), Poll::Ready(end));
        assert_eq!(poll(&mut side), Poll::Ready(Cause::Completed.into()));
    }
}

#[test]
fn a_peer_that_does_not_read_keeps_the_stream_open() {
    let (mut side, peer, mut tx, mut rx) = side();
    give(&mut tx, message(20));
    tx.end(LaneEnd::HalfClosed);
    peer.half_closes();
    for _ in 0..2 {
        assert!(poll(&mut side).is_pending());
        let _ = rx.poll_next(&mut cx());
    }
    peer.opens(24);
    assert!(poll(&mut side).is_pending(), "one byte is left");
    peer.opens(1);
    assert_eq!(poll(&mut side), Poll::Ready(Cause::Completed.into()));
    assert_eq!(peer.received(), message(20));
}

#[test]
fn the_partners_end_is_seen_though_its_bytes_wait() {
    let (mut side, peer, mut tx, _rx) = side();
    give(&mut tx, message(20));
    assert!(poll(&mut side).is_pending());
    tx.end(ended(Cause::Lost));
    let ending = Ending::from(Cause::Lost).for_other();
    assert_eq!(poll(&mut side), Poll::Ready(ending));
    assert_eq!(side.poll_deliver(&mut cx()), Poll::Pending);
    peer.opens(10);
    assert_eq!(side.poll_deliver(&mut cx()), Poll::Pending);
    peer.opens(100);
    assert_eq!(side.poll_deliver(&mut cx()), Poll::Ready(Ok(false)));
    assert_eq!(peer.received(), message(20));
}

#[test]
fn a_partner_that_gives_up_after_its_half_close_is_noticed_in_every_state() {
    for (half_closed, capacity) in [(false, 0), (false, 99), (true, 0), (true, 99)] {
        let (mut side, peer, mut tx, mut rx) = side();
        let (count, waker) = Wakes::new();
        peer.opens(capacity);
        give(&mut tx, message(20));
        tx.end(LaneEnd::HalfClosed);
        if half_closed {
            peer.half_closes();
        }
        let mut cx = Context::from_waker(&waker);
        assert!(side.poll_paired(&mut cx).is_pending());
        let ending = Ending::from(Cause::Cancelled).for_other();
        rx.abandon(ending);
        assert_eq!(count.take(), 1);
        assert_eq!(side.poll_paired(&mut cx), Poll::Ready(ending));
    }
}

#[test]
fn good_messages_before_a_fault_are_delivered() {
    let (mut side, peer, _tx, mut rx) = side();
    let flag = [message(7), message(0), vec![9, 0, 0, 0, 1]].concat();
    peer.sends(flag);
    let fault = Cause::Fault(Fault::UnknownFlag { flag: 9 });
    assert_eq!(poll(&mut side), Poll::Ready(fault.into()));
    side.announce(fault.into());
    assert_eq!(drain(&mut rx), [message(7), message(0)].concat());
    let end = Next::End(ended(fault));
    assert_eq!(rx.poll_next(&mut cx()), Poll::Ready(end));
    assert_eq!(side.totals().messages_in, 2);
}

#[test]
fn a_half_close_inside_a_message_is_a_fault() {
    let (mut side, peer, _tx, mut rx) = side();
    peer.sends([message(7), message(7)[..8].to_vec()].concat());
    peer.half_closes();
    let fault = Cause::Fault(Fault::Truncated { missing: 4 });
    assert_eq!(poll(&mut side), Poll::Ready(fault.into()));
    assert_eq!(drain(&mut rx), message(7));
}

#[test]
fn the_partner_learns_whether_it_is_inside_a_message() {
    let long = message(WHOLE as usize * 2);
    for (bytes, inside) in [
        (message(10), false),
        (message(10)[..12].to_vec(), false),
        (long[..3].to_vec(), false),
        (long[..5].to_vec(), true),
        (long[..5_000].to_vec(), true),
        (long.clone(), false),
        ([long, message(10)[..7].to_vec()].concat(), false),
    ] {
        // Told by the side itself, or by nobody since it failed.
        for announce in [true, false] {
            let (mut side, peer, _tx, mut rx) = side();
            peer.sends(bytes.clone());
            assert!(poll(&mut side).is_pending());
            if announce {
                side.announce(Cause::Panicked.into());
            }
            drop(side);
            let expected = LaneEnd::Ended {
                ending: Ending::from(Cause::Panicked).for_other(),
                inside_message: inside,
            };
            assert_eq!(end_of(&mut rx), Some(expected), "{} bytes", bytes.len());
        }
    }
}

#[test]
fn totals_are_exact() {
    let (mut side, peer, mut tx, mut rx) = side();
    peer.opens(30);
    peer.sends([message(10), message(0), message(3)[..4].to_vec()].concat());
    give(&mut tx, message(20));
    give(&mut tx, message(5_000));
    assert!(poll(&mut side).is_pending());
    let mut expected = Totals {
        bytes_in: 24,
        messages_in: 2,
        bytes_out: 30,
        messages_out: 0,
    };
    assert_eq!(side.totals(), expected);
    peer.opens(10_000);
    peer.sends(message(3)[4..].to_vec());
    assert!(poll(&mut side).is_pending());
    expected = Totals {
        bytes_in: 28,
        messages_in: 3,
        bytes_out: 5_030,
        messages_out: 2,
    };
    assert_eq!(side.totals(), expected);
    assert_eq!((drain(&mut rx).len(), rx.messages()), (28, 3));
}

#[test]
fn credit_is_granted_for_what_was_taken_in_steps_of_a_third_of_the_window() {
    let (mut side, peer, _tx, mut rx) = side();
    let (count, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let step = WINDOW as usize / 3 + 1;
    peer.sends(message(2 * step - 5));
    assert!(side.poll_paired(&mut cx).is_pending());
    count.take();
    rx.take(step - 1).unwrap();
    rx.commit();
    assert_eq!((count.take(), peer.released()), (0, vec![]));
    rx.take(1).unwrap();
    rx.commit();
    assert_eq!(count.take(), 1);
    assert!(side.poll_paired(&mut cx).is_pending());
    assert_eq!(peer.released(), [step]);
    rx.take(step).unwrap();
    rx.commit();
    assert_eq!(count.take(), 1);
    assert!(side.poll_paired(&mut cx).is_pending());
    assert!(side.poll_paired(&mut cx).is_pending());
    assert_eq!(peer.released(), [step, step]);
}

#[test]
fn what_found_no_slot_follows_as_the_partner_takes() {
    let (mut side, peer, _tx, mut rx) = side();
    let (count, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let chunks = crate::splice::lane::SLOTS * 3;
    let bytes: Vec<u8> = (0..chunks).flat_map(|_| message(1_100)).collect();
    for chunk in bytes.chunks(1_105) {
        peer.sends(chunk.to_vec());
    }
    assert!(side.poll_paired(&mut cx).is_pending());
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        count.take();
        received.extend(drain(&mut rx));
        assert!(count.take() > 0 || received.len() == bytes.len());
        assert!(side.poll_paired(&mut cx).is_pending());
    }
    assert_eq!(received, bytes);
    assert_eq!(peer.released().iter().sum::<usize>(), bytes.len());
}

#[test]
fn the_sink_is_asked_for_what_waits_up_to_a_bound() {
    let (mut side, peer, mut tx, _rx) = side();
    give(&mut tx, message(20));
    assert!(poll(&mut side).is_pending());
    give(&mut tx, message(3 * MOST));
    assert!(poll(&mut side).is_pending());
    assert_eq!(peer.asked(), [25, MOST]);
}

#[test]
fn the_goaway_frame_goes_out_in_pieces_if_need_be() {
    let (mut side, peer, _tx, _rx) = side();
    let mut sent = 0;
    for step in 1..GOAWAY_MESSAGE.len() {
        peer.opens(1);
        assert!(side.poll_goaway(&mut cx(), &mut sent).is_pending());
        assert_eq!(sent, step);
    }
    peer.opens(5);
    let done = side.poll_goaway(&mut cx(), &mut sent);
    assert_eq!(done, Poll::Ready(Ok(())));
    assert_eq!(peer.received(), GOAWAY_MESSAGE);
    assert_eq!(side.totals().bytes_out, 0, "it is not the partner's");
}
