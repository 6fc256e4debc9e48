//! A lane between two tasks.

use std::{future::poll_fn, hint::black_box, task::Poll};

use bytes::Bytes;
use jumpstarter_router::inside::splice::lane::{LaneReceiver, LaneSender};

use super::lane::{CREDIT_STEP, WINDOW, take_all};

/// Sends `rounds` times `batch` messages within the window.
pub async fn produce(
    mut tx: LaneSender,
    chunks: Vec<Bytes>,
    batch: usize,
    rounds: u64,
) -> LaneSender {
    let round: Vec<Bytes> = std::iter::repeat_n(chunks, batch).flatten().collect();
    let mut under_way = 0;
    let mut left = rounds * round.len() as u64;
    let mut at = 0;
    poll_fn(|cx| {
        loop {
            while left > 0 && under_way < WINDOW {
                let chunk = &round[at];
                under_way += chunk.len() as u64;
                tx.push(chunk.clone(), chunk.len());
                left -= 1;
                at += 1;
                if at == round.len() {
                    at = 0;
                    break;
                }
            }
            tx.flush(1);
            if left == 0 && tx.backlog() == 0 {
                return Poll::Ready(());
            }
            if under_way < WINDOW && left > 0 && tx.backlog() == 0 {
                continue;
            }
            let credit = tx.poll_credit(cx, CREDIT_STEP);
            if credit == 0 {
                return Poll::Pending;
            }
            under_way -= credit;
        }
    })
    .await;
    // Kept until the consumer is done: a lane that is dropped ends.
    tx
}

/// Takes `bytes`.
pub async fn consume(mut rx: LaneReceiver, bytes: u64) {
    poll_fn(|cx| {
        take_all(&mut rx, cx, |frame| drop(black_box(frame)));
        rx.commit();
        if rx.taken() >= bytes {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}
