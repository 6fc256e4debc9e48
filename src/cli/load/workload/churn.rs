//! `churn`: pairs come, exchange a message each way, and go.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    super::{failure::Failure, pair::Setup, plan::Params, run::Run},
    Extra,
};

/// A worker rests so long after a failure.
const PAUSE: Duration = Duration::from_millis(100);

/// Each of `--pairs` workers makes one pair after another.
pub(crate) async fn run(run: &Arc<Run>, params: &Params) -> Result<Extra, Failure> {
    let setup = Setup::new(run, params.sizes).await?;
    let tasks = (0..params.args.pairs).map(|_| {
        let (run, setup) = (run.clone(), setup.clone());
        async move {
            while run.take(2) == 2 {
                if let Err(error) = one(&run, &setup).await {
                    run.error(error);
                    sleep(PAUSE).await;
                }
            }
            Ok(())
        }
    });
    run.measure(tasks).await;
    Ok(Extra::new())
}

/// Lives one pair's life. What is measured ends when both peers have the other's message.
async fn one(run: &Run, setup: &Setup) -> Result<(), Failure> {
    let begin = Instant::now();
    let pair = setup.pair(run).await?;
    run.latency(begin.elapsed());
    run.count(pair.first);
    pair.end(run).await
}
