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
        run::Run,
    },
    Extra, stall,
};

/// So many pairs are set up at the same time.
const AT_ONCE: usize = 16;

/// A refused pair waits so long before it tries again.
const PAUSE: Duration = Duration::from_millis(500);

/// Pairs that stand still are looked at so often.
const LOOK: Duration = Duration::from_millis(200);

/// What all who besiege share.
struct Siege {
    setup: Setup,
    doors: Semaphore,
    /// The first flood comes from all at once.
    start: Barrier,
    made: AtomicU64,
    refused: AtomicU64,
    ended: AtomicU64,
    standing: AtomicU64,
    peak: AtomicU64,
}

/// Keeps `--pairs` pairs standing still until the run is over. What the router does about them is no error, unless
/// what arrives is not what was sent.
pub(crate) async fn run(run: &Arc<Run>, params: &Params) -> Result<Extra, Failure> {
    let windows = (run.window, params.stalled_window);
    let siege = Arc::new(Siege {
        setup: Setup::with(run, params.sizes, windows).await?,
        doors: Semaphore::new(AT_ONCE),
        start: Barrier::new(params.args.pairs as usize),
        made: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        standing: AtomicU64::new(0),
        peak: AtomicU64::new(0),
    });
    let tasks = (0..params.args.pairs).map(|_| {
        let (run, siege) = (run.clone(), siege.clone());
        async move {
            tokio::select! {
                corrupt = siege.persist(&run) => Err(corrupt),
                () = run.stop.cancelled() => Ok(()),
            }
        }
    });
    run.measure(tasks).await;
    let count = |counter: &AtomicU64| counter.load(Relaxed) as f64;
    Ok(vec![
        ("pairs_made", count(&siege.made)),
        ("pairs_refused", count(&siege.refused)),
        ("pairs_ended", count(&siege.ended)),
        ("pairs_standing_at_most", count(&siege.peak)),
    ])
}

impl Siege {
    /// Makes one pair after another, until something arrives that nobody sent.
    async fn persist(&self, run: &Run) -> Failure {
        let mut started = false;
        loop {
            let made = {
                // Never closed.
                let _door = self.doors.acquire().await;
                self.setup.pair(run).await
            };
            if !std::mem::replace(&mut started, true) {
                self.start.wait().await;
            }
            let (counter, failure) = match made {
                Err(failure) => (&self.refused, failure),
                Ok(pair) => {
                    self.made.fetch_add(1, Relaxed);
                    (&self.ended, self.stand(pair).await)
                }
            };
            if let Failure::Corrupt(_) = failure {
                return failure;
            }
            counter.fetch_add(1, Relaxed);
            run.ended_with(failure.status());
            sleep(PAUSE).await;
        }
    }

    /// Holds the pair until the router ends it.
    async fn stand(&self, pair: Pair) -> Failure {
        let mut stalled = match stall::fill(pair).await {
            Ok(stalled) => stalled,
            Err(failure) => return failure,
        };
        let standing = self.standing.fetch_add(1, Relaxed) + 1;
        self.peak.fetch_max(standing, Relaxed);
        let failure = loop {
            sleep(LOOK).await;
            if let Err(failure) = stalled.check().await {
                break failure;
            }
        };
        self.standing.fetch_sub(1, Relaxed);
        stalled.why(failure).await
    }
}
