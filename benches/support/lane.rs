//! A lane driven as a `Side` drives it.

use std::{
    hint::black_box,
    task::{Context, Poll},
};

use bytes::Bytes;
use jumpstarter_router::inside::splice::lane::{LaneReceiver, LaneSender, Next, lane};

/// The most that is asked of a sink at once, as in `splice::side`.
const MOST: usize = 128 * 1024;

/// What a sender may have under way.
pub const WINDOW: u64 = 1 << 20;

/// As in `splice::side`: credit goes back in thirds of a window.
pub const CREDIT_STEP: u64 = WINDOW / 3 + 1;

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
pub fn take_all(rx: &mut LaneReceiver, cx: &mut Context<'_>, mut deliver: impl FnMut(Bytes)) {
    while let Poll::Ready(Next::Data(waiting)) = rx.poll_next(cx) {
        if let Some(frame) = rx.take(waiting.min(MOST)) {
            deliver(frame);
        }
    }
}
