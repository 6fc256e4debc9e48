//! `stall`: pairs whose receiver never reads; how much the router takes in, and what it costs.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::time::timeout;

use super::{
    super::{
        failure::Failure,
        pair::{Pair, Setup},
        plan::Params,
        run::Run,
        stream::Sender,
        usage::Usage,
    },
    Extra,
    idle::memory,
};

/// A sender without room for so long is blocked.
const QUIET: Duration = Duration::from_secs(1);

/// A pair that is stuck.
#[derive(Debug)]
pub(crate) struct Stalled {
    /// Both peers.
    pub pair: Pair,
    /// The end of the message that was cut by the window.
    rest: Bytes,
    /// Bytes the router has granted room for, the first message excluded.
    accepted: u64,
}

/// Sets up the pairs, fills them until nothing moves, holds them, and perhaps lets them go on.
pub(crate) async fn run(run: &Arc<Run>, params: &Params) -> Result<Extra, Failure> {
    let before = run.pid.and_then(Usage::of);
    let windows = (run.window, params.stalled_window);
    let setup = Setup::with(run, params.sizes, windows).await?;
    let pairs = setup.pairs(run, params.args.pairs).await?;
    let stalled = try_join_all(pairs.into_iter().map(fill)).await?;
    let held = run.hold().await;

    let pairs = stalled.len();
    let accepted: u64 = stalled.iter().map(|pair| pair.accepted).sum();
    let accepted = accepted as f64 / pairs as f64;
    let window = f64::from(params.stalled_window);
    let mut extra = memory(before, held.router, pairs);
    extra.push(("bytes_accepted_per_pair", accepted));
    extra.push(("bytes_held_per_pair", (accepted - window).max(0.0)));
    let ending = stalled.into_iter().map(async |mut pair| {
        if params.args.resume {
            pair.resume(run).await
        } else {
            pair.check().await
        }
    });
    try_join_all(ending).await?;
    Ok(extra)
}

/// Sends until the router takes no more.
pub(crate) async fn fill(pair: Pair) -> Result<Stalled, Failure> {
    let mut stalled = Stalled {
        pair,
        rest: Bytes::new(),
        accepted: 0,
    };
    match stalled.fill().await {
        Ok(()) => Ok(stalled),
        Err(failure) => Err(stalled.why(failure).await),
    }
}

impl Stalled {
    async fn fill(&mut self) -> Result<(), Failure> {
        let send: &mut Sender = &mut self.pair.a.send;
        loop {
            if self.rest.is_empty() {
                self.rest = send.make();
            }
            let Ok(room) = timeout(QUIET, send.room(self.rest.len())).await else {
                return Ok(());
            };
            let piece = self.rest.split_to(room?.min(self.rest.len()));
            self.accepted += piece.len() as u64;
            send.put_bytes(piece)?;
        }
    }

    /// Fails if the stream is no more.
    pub(crate) async fn check(&mut self) -> Result<(), Failure> {
        let send: &mut Sender = &mut self.pair.a.send;
        match timeout(Duration::from_millis(1), send.room(1)).await {
            Ok(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Finds out after a failure what the router said about it.
    pub(crate) async fn why(mut self, failure: Failure) -> Failure {
        self.pair.a.recv.why(failure).await
    }

    /// Sends the rest of what was begun; the receiver reads it all.
    async fn resume(mut self, run: &Run) -> Result<(), Failure> {
        self.pair.a.send.put_bytes(self.rest)?;
        self.pair.end(run).await
    }
}
