//! `stall --persist`: pairs that stand still, made anew whenever the router refuses or ends them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Barrier, Semaphore},
    time::sleep,
};

use super::{
    super::{
        failure::Failure,
        pair::{Pair, Setup},
        plan::Params,
        run::{Run, Task},
    },
    Extra, stall,
};

/// So many pairs are set up at the same time.
const AT_ONCE: usize = 16;

/// A refused pair waits so long before it tries again.
const PAUSE: Duration = Duration::from_millis(500);

/// Pairs that stand still are looked at so often.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
struct Counts {
    made: AtomicU64,
    refused: AtomicU64,
    ended: AtomicU64,
    standing: AtomicU64,
    peak: AtomicU64,
}

/// Keeps `--pairs` pairs standing still until the run is over. What the router does about them is no error, unless
/// what arrives is not what was sent.
pub async fn run(run: &Arc<Run>, params: &Params) -> Result<Extra, Failure> {
    let windows = (run.window, params.stalled_window);
    let setup = Setup::with(run, params.sizes, windows).await?;
    let counts = Arc::new(Counts::default());
    let doors = Arc::new(Semaphore::new(AT_ONCE));
    // The first flood comes from all at once.
    let start = Arc::new(Barrier::new(params.args.pairs as usize));
    let tasks = (0..params.args.pairs).map(|_| -> Task {
        let (run, setup) = (run.clone(), setup.clone());
        let (counts, doors, start) = (counts.clone(), doors.clone(), start.clone());
        Box::pin(async move {
            tokio::select! {
                corrupt = persist(&run, &setup, &counts, &doors, &start) => Err(corrupt),
                () = run.stop.cancelled() => Ok(()),
            }
        })
    });
    run.measure(tasks.collect()).await;
    let count = |counter: &AtomicU64| counter.load(Relaxed) as f64;
    Ok(vec![
        ("pairs_made", count(&counts.made)),
        ("pairs_refused", count(&counts.refused)),
        ("pairs_ended", count(&counts.ended)),
        ("pairs_standing_at_most", count(&counts.peak)),
    ])
}

/// Makes one pair after another, until something arrives that nobody sent.
async fn persist(
    run: &Run,
    setup: &Setup,
    counts: &Counts,
    doors: &Semaphore,
    start: &Barrier,
) -> Failure {
    let mut started = false;
    loop {
        let made = {
            // Never closed.
            let _door = doors.acquire().await;
            setup.pair(run).await
        };
        if !std::mem::replace(&mut started, true) {
            start.wait().await;
        }
        let (counter, failure) = match made {
            Err(failure) => (&counts.refused, failure),
            Ok(pair) => {
                counts.made.fetch_add(1, Relaxed);
                (&counts.ended, stand(counts, pair).await)
            }
        };
        if let Failure::Corrupt(_) = failure {
            return failure;
        }
        counter.fetch_add(1, Relaxed);
        run.ended_with(&failure.status());
        sleep(PAUSE).await;
    }
}

/// Holds the pair until the router ends it.
async fn stand(counts: &Counts, pair: Pair) -> Failure {
    let mut stalled = match stall::fill(pair).await {
        Ok(stalled) => stalled,
        Err(failure) => return failure,
    };
    let standing = counts.standing.fetch_add(1, Relaxed) + 1;
    counts.peak.fetch_max(standing, Relaxed);
    let failure = loop {
        sleep(LOOK).await;
        if let Err(failure) = stalled.check().await {
            break failure;
        }
    };
    counts.standing.fetch_sub(1, Relaxed);
    stalled.why(failure).await
}
