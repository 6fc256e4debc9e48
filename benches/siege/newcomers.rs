//! A pair that comes anew each second, on two connections of its own: does it get in?

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jumpstarter_router::inside::cli::load::{
    dial::Dialer,
    failure::Failure,
    pair::Setup,
    pattern::{Pattern, Sizes},
    run::Run,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Between two tries of one newcomer.
const PAUSE: Duration = Duration::from_millis(250);

/// How one newcomer fared.
#[derive(Debug)]
pub struct Newcomer {
    pub came: Instant,
    /// How long it took until its pair had exchanged messages, if it did in time.
    pub took: Option<Duration>,
    /// Tries, the good one included.
    pub tries: u32,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Newcomers {
    pub all: Vec<Newcomer>,
    /// Why tries failed, and how often.
    pub failures: BTreeMap<String, u64>,
}

/// Sends one newcomer after another until told to stop; each tries for `patience`.
pub async fn come(dialer: Dialer, patience: Duration, stop: CancellationToken) -> Newcomers {
    let run = Arc::new(Run::new(dialer, Pattern::new(1, 1024), 1));
    let seen = Arc::new(Mutex::new(Newcomers::default()));
    let mut tasks = JoinSet::new();
    while stop
        .run_until_cancelled(sleep(Duration::from_secs(1)))
        .await
        .is_some()
    {
        tasks.spawn(newcomer(run.clone(), patience, seen.clone()));
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
    std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner))
}

async fn newcomer(run: Arc<Run>, patience: Duration, seen: Arc<Mutex<Newcomers>>) {
    let came = Instant::now();
    let mut tries = 0;
    let mut failures = Vec::new();
    let enter = async {
        loop {
            tries += 1;
            match enter(&run).await {
                Ok(()) => break came.elapsed(),
                Err(failure) => failures.push(failure.to_string()),
            }
            sleep(PAUSE).await;
        }
    };
    let took = timeout(patience, enter).await.ok();
    if took.is_none() && failures.len() < tries as usize {
        failures.push(format!("not within {patience:?}"));
    }
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    for failure in failures {
        *seen.failures.entry(failure).or_default() += 1;
    }
    seen.all.push(Newcomer { came, took, tries });
}

/// Once the messages are exchanged, it is in; its connections are closed without a word.
async fn enter(run: &Run) -> Result<(), Failure> {
    let setup = Setup::new(run, Sizes::Fixed(64)).await?;
    setup.pair(run).await.map(drop)
}
