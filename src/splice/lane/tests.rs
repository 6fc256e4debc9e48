//! The lane's two ends, step by step and in any order of steps.
#![allow(clippy::unwrap_used)]

mod order;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::splice::mock::Wakes;

fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn push_all(tx: &mut LaneSender, chunk: Bytes) {
    let ready = chunk.len();
    tx.push(chunk, ready);
    tx.flush(0);
}

#[test]
fn a_long_chunk_crosses_as_the_same_memory() {
    let (mut tx, mut rx) = lane();
    for length in [SMALL_CHUNK, SMALL_CHUNK + 1, 16_384, 65_536] {
        let chunk = pattern(length);
        push_all(&mut tx, chunk.clone());
        let frame = rx.take(usize::MAX).unwrap();
        assert_eq!(frame.as_ptr(), chunk.as_ptr());
        assert_eq!(frame.len(), length);
    }
}

#[test]
fn a_long_chunk_cut_for_want_of_capacity_is_still_not_copied() {
    let (mut tx, mut rx) = lane();
    let chunk = pattern(10_000);
    push_all(&mut tx, chunk.clone());
    for (most, at) in [(1, 0), (4_000, 1), (9_000, 4_001)] {
        let frame = rx.take(most).unwrap();
        assert_eq!(frame.as_ptr(), chunk[at..].as_ptr());
    }
    assert_eq!(rx.take(1), None);
    assert_eq!(rx.taken(), 10_000);
}

#[test]
fn a_long_chunk_that_waited_in_the_producer_is_not_copied_either() {
    let (mut tx, mut rx) = lane();
    let chunks: Vec<_> = (0..SLOTS * 2).map(|_| pattern(2_000)).collect();
    for chunk in &chunks {
        push_all(&mut tx, chunk.clone());
    }
    assert_eq!(tx.backlog(), SLOTS as u64 * 2_000);
    for (at, chunk) in chunks.iter().enumerate() {
        assert_eq!(
            rx.take(usize::MAX).unwrap().as_ptr(),
            chunk.as_ptr(),
            "{at}"
        );
        tx.flush(0);
    }
    assert_eq!(tx.backlog(), 0);
}

/// A peer's read buffer.
struct ReadBuffer(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn small_chunks_waiting_hold_no_read_buffers() {
    const CHUNKS: usize = 100_000;
    let dropped = Arc::new(AtomicUsize::new(0));
    let (mut tx, mut rx) = lane();
    for _ in 0..CHUNKS {
        let buffer = Bytes::from_owner(ReadBuffer(vec![7; 4_096], dropped.clone()));
        push_all(&mut tx, buffer.slice(..20));
    }
    assert_eq!(dropped.load(Ordering::Relaxed), CHUNKS);
    assert!(tx.waiting.len() <= CHUNKS * 20 / JOINED_FRAME + 1);
    tx.end(LaneEnd::HalfClosed);
    let (mut bytes, mut memory) = (0, 0);
    while let Some(chunk) = rx.pop() {
        bytes += chunk.len();
        memory += chunk.try_into_mut().unwrap().capacity();
    }
    assert_eq!(bytes, CHUNKS * 20);
    assert!(
        memory <= 2 * bytes + SLOTS * 64,
        "{memory} for {bytes} bytes"
    );
}

#[test]
fn short_chunks_are_joined_and_long_ones_left_alone() {
    let (mut tx, mut rx) = lane();
    for length in [10, 20, 30, SMALL_CHUNK, 40, 50] {
        push_all(&mut tx, pattern(length));
    }
    let lengths: Vec<_> = std::iter::from_fn(|| rx.take(usize::MAX).map(|f| f.len())).collect();
    assert_eq!(lengths, [60, SMALL_CHUNK, 90]);
}

#[test]
fn joined_frames_fill_one_record_and_no_more() {
    let (mut tx, mut rx) = lane();
    for _ in 0..SLOTS {
        push_all(&mut tx, pattern(1_000));
    }
    assert_eq!(rx.take(usize::MAX).unwrap().len(), JOINED_FRAME);
    assert_eq!(rx.take(500).unwrap().len(), 500);
    assert_eq!(
        rx.take(usize::MAX).unwrap().len(),
        SLOTS * 1_000 - JOINED_FRAME - 500
    );
}

#[test]
fn the_ring_has_no_more_than_its_slots() {
    let (mut tx, mut rx) = lane();
    for _ in 0..SLOTS + 5 {
        push_all(&mut tx, pattern(2_000));
    }
    assert_eq!(rx.waiting(), SLOTS * 2_000);
    assert_eq!(
        (tx.backlog(), tx.held()),
        (10_000, (SLOTS as u64 + 5) * 2_000)
    );
    rx.take(1).unwrap();
    tx.flush(0);
    assert_eq!(rx.waiting(), (SLOTS + 1) * 2_000 - 1);
}

#[test]
fn nothing_crosses_before_it_is_ready() {
    let (mut tx, mut rx) = lane();
    tx.push(pattern(50), 0);
    tx.push(pattern(5_000), 0);
    tx.flush(0);
    assert_eq!(rx.take(usize::MAX), None);
    tx.push(pattern(50), 20);
    tx.flush(1);
    assert_eq!(rx.waiting(), 5_070);
    assert_eq!(rx.messages(), 1);
}

#[test]
fn the_consumer_is_woken_by_bytes_and_by_the_end() {
    let (mut tx, mut rx) = lane();
    let (count, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    assert_eq!(rx.poll_next(&mut cx), Poll::Pending);
    tx.push(pattern(9), 0);
    tx.flush(0);
    assert_eq!(count.take(), 0, "nothing was published");
    tx.push(pattern(1), 1);
    assert_eq!(count.take(), 0, "nothing was flushed");
    tx.flush(0);
    assert_eq!(count.take(), 1);
    assert_eq!(rx.poll_next(&mut cx), Poll::Ready(Next::Data(10)));
    rx.take(10).unwrap();
    assert_eq!(rx.poll_next(&mut cx), Poll::Pending);
    tx.end(LaneEnd::HalfClosed);
    assert_eq!(count.take(), 1);
    let end = Next::End(LaneEnd::HalfClosed);
    assert_eq!(rx.poll_next(&mut cx), Poll::Ready(end));
}

#[test]
fn the_end_can_be_seen_over_bytes_that_wait() {
    let (mut tx, mut rx) = lane();
    let (count, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    push_all(&mut tx, pattern(10));
    assert_eq!(rx.poll_end(&mut cx), None);
    tx.end(LaneEnd::HalfClosed);
    assert_eq!(count.take(), 1);
    assert_eq!(rx.poll_end(&mut cx), Some(LaneEnd::HalfClosed));
    assert_eq!(rx.poll_next(&mut cx), Poll::Ready(Next::Data(10)));
}

#[test]
fn the_producer_is_woken_at_its_threshold_once() {
    let (mut tx, mut rx) = lane();
    let (count, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    push_all(&mut tx, pattern(3_000));
    assert_eq!(tx.poll_credit(&mut cx, 1_000), 0);
    rx.take(999).unwrap();
    rx.commit();
    assert_eq!(count.take(), 0);
    rx.take(1).unwrap();
    assert_eq!(count.take(), 0, "not told yet");
    rx.commit();
    assert_eq!(count.take(), 1);
    rx.take(1_500).unwrap();
    rx.commit();
    assert_eq!(count.take(), 0, "it has not asked again");
    assert_eq!(tx.poll_credit(&mut cx, 1_000), 2_500);
    assert_eq!((tx.poll_credit(&mut cx, 1_000), tx.held()), (0, 500));
}

#[test]
fn a_producer_with_a_backlog_is_woken_by_the_first_byte_taken() {
    let (mut tx, mut rx) = lane();
    let (count, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    for _ in 0..=SLOTS {
        push_all(&mut tx, pattern(2_000));
    }
    assert_eq!(tx.poll_credit(&mut cx, 1_000_000), 0);
    rx.take(1).unwrap();
    rx.commit();
    assert_eq!(count.take(), 1);
}

#[test]
fn the_producer_learns_that_all_was_delivered() {
    let (mut tx, mut rx) = lane();
    let (count, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    push_all(&mut tx, pattern(10));
    tx.end(LaneEnd::HalfClosed);
    assert_eq!(tx.poll_finished(&mut cx), Poll::Pending);
    rx.take(10).unwrap();
    rx.commit();
    assert_eq!(tx.poll_finished(&mut cx), Poll::Pending);
    count.take();
    for _ in 0..2 {
        let end = Next::End(LaneEnd::HalfClosed);
        assert_eq!(rx.poll_next(&mut cx), Poll::Ready(end));
    }
    assert_eq!(count.take(), 1);
    assert_eq!(tx.poll_finished(&mut cx), Poll::Ready(()));
    drop(rx);
    assert_eq!(tx.abandoned(), None, "it finished first");
}

#[test]
fn only_the_first_end_and_the_first_giving_up_count() {
    let (mut tx, mut rx) = lane();
    let (count, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    assert_eq!(tx.poll_finished(&mut cx), Poll::Pending);
    rx.abandon(Cause::Idle(std::time::Duration::ZERO).into());
    assert_eq!(count.take(), 1);
    rx.abandon(Cause::Draining.into());
    tx.end(LaneEnd::HalfClosed);
    tx.end(LaneEnd::Ended {
        ending: Cause::Lost.into(),
        inside_message: false,
    });
    let cause = tx.abandoned().unwrap().cause;
    assert_eq!(cause, Cause::Idle(std::time::Duration::ZERO));
    assert_eq!(rx.poll_end(&mut cx), Some(LaneEnd::HalfClosed));
}

#[test]
fn an_end_that_goes_without_a_word_failed() {
    let failed = Ending::from(Cause::Panicked).for_other();
    let (mut tx, mut rx) = lane();
    push_all(&mut tx, pattern(10));
    drop(tx);
    assert_eq!(rx.take(usize::MAX).unwrap().len(), 10);
    let (_, waker) = Wakes::new();
    let end = rx.poll_end(&mut Context::from_waker(&waker)).unwrap();
    assert!(matches!(end, LaneEnd::Ended { ending, .. } if ending == failed));

    let (tx, rx) = lane();
    drop(rx);
    assert_eq!(tx.abandoned(), Some(failed));
}

/// A flush fills several slots and then publishes once. The consumer may look in between.
#[test]
fn nothing_is_taken_before_it_is_published() {
    let (mut tx, mut rx) = lane();
    let (count, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    push_all(&mut tx, pattern(10));
    tx.ring.push(pattern(20)).unwrap();
    assert_eq!(rx.poll_next(&mut cx), Poll::Ready(Next::Data(10)));
    assert_eq!(rx.take(usize::MAX).unwrap().len(), 10);
    assert_eq!(rx.take(usize::MAX), None);
    assert_eq!(rx.poll_next(&mut cx), Poll::Pending);
    tx.ring.push(pattern(5)).unwrap();
    tx.shared.published.store(35, Ordering::SeqCst);
    tx.shared.consumer.wake();
    assert_eq!(count.take(), 1);
    assert_eq!(rx.poll_next(&mut cx), Poll::Ready(Next::Data(25)));
    assert_eq!(rx.take(usize::MAX).unwrap().len(), 25);
}
