//! A lane driven as a `Side` drives it: in one task, or between two.

use std::{
    future::poll_fn,
    hint::black_box,
    task::{Context, Poll},
};

use bytes::Bytes;
use jumpstarter_router::splice::lane::{LaneReceiver, LaneSender, Next, lane};

/// The most that is asked of a sink at once, as in `splice::side`.
const MOST: usize = 128 * 1024;

/// What a sender may have under way.
const WINDOW: u64 = 1 << 20;

/// As in `splice::side`: credit goes back in thirds of a window.
const CREDIT_STEP: u64 = WINDOW / 3 + 1;

/// Both ends in one task, as when both peers share a connection.
pub struct Fused {
    tx: LaneSender,
    rx: LaneReceiver,
}

impl Fused {
    pub fn new() -> Self {
        let (tx, rx) = lane();
        Self { tx, rx }
    }

    /// Push all, flush, take all, commit, credit. `deliver` gets the frames.
    pub fn round(
        &mut self,
        chunks: &[Bytes],
        times: usize,
        cx: &mut Context<'_>,
        mut deliver: impl FnMut(Bytes),
    ) {
        for _ in 0..times {
            for chunk in chunks {
                self.tx.push(chunk.clone(), chunk.len());
            }
        }
        self.tx.flush(times as u64);
        loop {
            take_all(&mut self.rx, cx, &mut deliver);
            self.rx.commit();
            black_box(self.tx.poll_credit(cx, CREDIT_STEP));
            if self.tx.backlog() == 0 {
                return;
            }
            self.tx.flush(0);
        }
    }
}

/// Whatever is there, frame by frame.
fn take_all(rx: &mut LaneReceiver, cx: &mut Context<'_>, mut deliver: impl FnMut(Bytes)) {
    while let Poll::Ready(Next::Data(waiting)) = rx.poll_next(cx) {
        if let Some(frame) = rx.take(waiting.min(MOST)) {
            deliver(frame);
        }
    }
}

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
