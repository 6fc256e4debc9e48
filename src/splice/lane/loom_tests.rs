//! The lane's protocol under loom: every order in which two threads can run. A lost wake leaves a thread
//! asleep for ever, which loom reports as a deadlock.
#![allow(clippy::unwrap_used)]

use std::{future::poll_fn, time::Duration};

use loom::{future::block_on, thread};

use super::*;

/// Too long to be joined with others, so each stays one chunk in the ring.
const LONG: usize = SMALL_CHUNK;

fn chunk(mark: u8, len: usize) -> Bytes {
    vec![mark; len].into()
}

/// Three preemptions take seconds, all of them many minutes; `LOOM_MAX_PREEMPTIONS` asks for more.
fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(check);
}

/// loom lets a `SeqCst` load pass over a value only for a newer one that was stored as `SeqCst`, and a first
/// value is not. Without this it would report orders of events that no memory model allows.
fn small_lane(slots: usize) -> (LaneSender, LaneReceiver) {
    let (tx, rx) = lane_with_slots(slots);
    let shared = &tx.shared;
    shared.published.store(0, Ordering::SeqCst);
    shared.taken.store(0, Ordering::SeqCst);
    shared.wake_at.store(u64::MAX, Ordering::SeqCst);
    shared.finished.store(false, Ordering::SeqCst);
    (tx, rx)
}

fn aborted() -> LaneEnd {
    LaneEnd::Ended {
        ending: Cause::Idle(Duration::from_secs(1)).into(),
        inside_message: false,
    }
}

/// Takes all until the end, the way a side does: nothing is popped that was not announced, and when nothing can
/// be taken it relies on the wakers that `poll_next` and `poll_end` registered.
fn consume(rx: &mut LaneReceiver, most: usize) -> (Vec<u8>, LaneEnd) {
    let mut got = Vec::new();
    let end = block_on(poll_fn(|cx| {
        let end = loop {
            match rx.poll_next(cx) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(Next::End(end)) => break Poll::Ready(end),
                Poll::Ready(Next::Data(waiting)) => {
                    assert!(waiting < 1 << 20, "counters passed each other");
                    let Some(frame) = rx.take(most) else {
                        break Poll::Pending;
                    };
                    assert!(!frame.is_empty());
                    got.extend_from_slice(&frame);
                }
            }
        };
        rx.commit();
        let _ = rx.poll_end(cx);
        end
    }));
    (got, end)
}

/// Waits until `bytes` were credited, flushing what found no slot whenever there is news. Asks to be woken
/// once, for all that is missing.
fn produce_until_credited(tx: &mut LaneSender, bytes: u64) {
    let mut credited = 0;
    block_on(poll_fn(|cx| {
        loop {
            let credit = tx.poll_credit(cx, bytes - credited);
            credited += credit;
            tx.flush(0);
            if credited >= bytes {
                return Poll::Ready(());
            }
            if credit == 0 {
                return Poll::Pending;
            }
        }
    }));
}

fn marks(got: &[u8]) -> Vec<u8> {
    let mut marks = got.to_vec();
    marks.dedup();
    marks
}

#[test]
fn loom_small_chunks_arrive_whole_and_in_order() {
    model(|| {
        let (mut tx, mut rx) = small_lane(2);
        let producer = thread::spawn(move || {
            for mark in [1, 2] {
                tx.push(chunk(mark, 3), 3);
                tx.flush(1);
            }
            tx.end(LaneEnd::HalfClosed);
        });
        let (got, end) = consume(&mut rx, usize::MAX);
        assert_eq!(got, [1, 1, 1, 2, 2, 2]);
        assert_eq!(end, LaneEnd::HalfClosed);
        assert_eq!(rx.messages(), 2);
        producer.join().unwrap();
    });
}

#[test]
fn loom_one_flush_of_two_small_chunks_is_not_overtaken() {
    model(|| {
        let (mut tx, mut rx) = small_lane(2);
        let producer = thread::spawn(move || {
            // A small chunk, and the small head of a long one: two slots, published together.
            tx.push(chunk(1, 3), 3);
            tx.flush(0);
            tx.push(chunk(2, LONG), 3);
            tx.flush(0);
            tx.end(aborted());
        });
        let (got, end) = consume(&mut rx, usize::MAX);
        assert_eq!(got, [1, 1, 1, 2, 2, 2], "only what was ready crosses");
        assert_eq!(end, aborted());
        producer.join().unwrap();
    });
}

#[test]
fn loom_the_consumer_may_take_a_byte_at_a_time() {
    model(|| {
        let (mut tx, mut rx) = small_lane(1);
        let producer = thread::spawn(move || {
            tx.push(chunk(1, 2), 2);
            tx.flush(0);
            tx.end(LaneEnd::HalfClosed);
        });
        let (got, end) = consume(&mut rx, 1);
        assert_eq!((got.as_slice(), end), (&[1, 1][..], LaneEnd::HalfClosed));
        producer.join().unwrap();
    });
}

#[test]
fn loom_the_producer_is_woken_for_credit_at_its_threshold() {
    model(|| {
        let (mut tx, mut rx) = small_lane(2);
        let producer = thread::spawn(move || {
            tx.push(chunk(1, LONG), LONG);
            tx.push(chunk(2, LONG), LONG);
            tx.flush(0);
            produce_until_credited(&mut tx, 2 * LONG as u64);
            assert_eq!(tx.held(), 0);
            tx.end(LaneEnd::HalfClosed);
        });
        let (got, _) = consume(&mut rx, usize::MAX);
        assert_eq!(got.len(), 2 * LONG);
        producer.join().unwrap();
    });
}

#[test]
fn loom_a_full_ring_with_a_backlog_moves_on() {
    model(|| {
        let (mut tx, mut rx) = small_lane(1);
        let producer = thread::spawn(move || {
            tx.push(chunk(1, LONG), LONG);
            tx.push(chunk(2, LONG), LONG);
            tx.flush(0);
            // All of it would never be taken: a backlog asks to be woken for the first byte.
            produce_until_credited(&mut tx, 2 * LONG as u64);
            tx.end(LaneEnd::HalfClosed);
        });
        let (got, end) = consume(&mut rx, usize::MAX);
        assert_eq!(marks(&got), [1, 2]);
        assert_eq!((got.len(), end), (2 * LONG, LaneEnd::HalfClosed));
        producer.join().unwrap();
    });
}

#[test]
fn loom_an_end_with_a_backlog_hands_everything_over() {
    model(|| {
        let (mut tx, mut rx) = small_lane(1);
        let producer = thread::spawn(move || {
            for mark in [1, 2, 3] {
                tx.push(chunk(mark, LONG), LONG);
            }
            tx.end(LaneEnd::HalfClosed);
            // The producer goes at once; its own end stays the only one.
        });
        let (got, end) = consume(&mut rx, usize::MAX);
        assert_eq!(marks(&got), [1, 2, 3]);
        assert_eq!((got.len(), end), (3 * LONG, LaneEnd::HalfClosed));
        producer.join().unwrap();
    });
}

#[test]
fn loom_a_producer_that_vanishes_is_noticed() {
    model(|| {
        let (mut tx, mut rx) = small_lane(1);
        let producer = thread::spawn(move || {
            tx.push(chunk(1, LONG), LONG);
            tx.flush(0);
        });
        let (got, end) = consume(&mut rx, usize::MAX);
        assert_eq!(got.len(), LONG);
        assert!(matches!(end, LaneEnd::Ended { .. }));
        producer.join().unwrap();
    });
}

#[test]
fn loom_the_producer_sees_that_all_was_taken() {
    model(|| {
        let (mut tx, mut rx) = small_lane(1);
        let producer = thread::spawn(move || {
            tx.push(chunk(1, LONG), LONG);
            tx.end(LaneEnd::HalfClosed);
            block_on(poll_fn(|cx| tx.poll_finished(cx)));
            assert_eq!(tx.abandoned(), None);
        });
        consume(&mut rx, usize::MAX);
        drop(rx);
        producer.join().unwrap();
    });
}

#[test]
fn loom_the_producer_sees_that_the_consumer_gave_up() {
    for said in [true, false] {
        model(move || {
            let (mut tx, mut rx) = small_lane(1);
            let producer = thread::spawn(move || {
                tx.push(chunk(1, LONG), LONG);
                tx.end(LaneEnd::HalfClosed);
                let ending = block_on(poll_fn(|cx| {
                    if tx.poll_finished(cx).is_ready() {
                        unreachable!("the end was never reached");
                    }
                    tx.abandoned().map_or(Poll::Pending, Poll::Ready)
                }));
                assert_eq!(ending == Cause::Draining.into(), said);
            });
            if said {
                rx.abandon(Cause::Draining.into());
            }
            drop(rx);
            producer.join().unwrap();
        });
    }
}
