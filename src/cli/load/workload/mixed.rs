//! `mixed`: ping-pong beside bulk and stalled pairs; do the innocent notice?

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{
    super::{
        failure::Failure,
        pair::{Pair, Setup},
        pattern::Sizes,
        plan::{LARGE, Params},
        run::Run,
    },
    Extra, pingpong, pump, stall,
};

/// Sets up all three kinds, then lets them run.
pub(crate) async fn run(run: &Arc<Run>, params: &Params) -> Result<Extra, Failure> {
    let innocent = Setup::new(run, params.sizes).await?;
    let mut heavy = innocent.clone();
    heavy.sizes = Sizes::Fixed(LARGE);
    let mut stalling = heavy.clone();
    // On connections of their own the windows may differ.
    if stalling.shared.is_none() {
        stalling.windows.1 = params.stalled_window;
    }
    let stalled = stalling.pairs(run, params.args.stalled_pairs).await?;
    let heavy = heavy.pairs(run, params.args.bulk_pairs).await?;
    let innocent = innocent.pairs(run, params.args.pairs).await?;

    let mut tasks: Vec<BoxFuture<'static, _>> = Vec::new();
    for pair in stalled {
        tasks.push(Box::pin(hold(run.clone(), pair)));
    }
    for pair in heavy {
        tasks.push(Box::pin(pump::pump(run.clone(), pair, params.both)));
    }
    for pair in innocent {
        tasks.push(Box::pin(pingpong::play(run.clone(), pair)));
    }
    run.measure(tasks).await;
    Ok(Extra::new())
}

/// Fills a pair and leaves it so until the run stops.
async fn hold(run: Arc<Run>, pair: Pair) -> Result<(), Failure> {
    tokio::select! {
        stalled = stall::fill(pair) => {
            let _stalled = stalled?;
            run.stop.cancelled().await;
        }
        () = run.stop.cancelled() => {}
    }
    Ok(())
}
