//! `churn`: pairs come, exchange a message each way, and go.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    super::{
        failure::Failure,
        pair::Setup,
        plan::Params,
        run::{Run, Task},
        stream::Got,
    },
    Extra,
};

/// A worker rests so long after a failure.
const PAUSE: Duration = Duration::from_millis(100);

/// Each of `--pairs` workers makes one pair after another.
pub(crate) async fn run(run: &Arc<Run>, params: &Params) -> Result<Extra, Failure> {
    let setup = Setup::new(run, params.sizes).await?;
    let tasks = (0..params.args.pairs).map(|_| -> Task {
        let (run, setup) = (run.clone(), setup.clone());
        Box::pin(async move {
            while run.take(2) == 2 {
                if let Err(error) = one(&run, &setup).await {
                    run.error(error);
                    sleep(PAUSE).await;
                }
            }
            Ok(())
        })
    });
    run.measure(tasks.collect()).await;
    Ok(Extra::new())
}

/// Lives one pair's life. What is measured ends when both peers have the other's message.
async fn one(run: &Run, setup: &Setup) -> Result<(), Failure> {
    let begin = Instant::now();
    let pair = setup.pair(run).await?;
    run.latency(begin.elapsed());
    let bytes = pair.first.bytes;
    run.count(Got { messages: 2, bytes });
    pair.end(run).await
}
