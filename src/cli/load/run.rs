//! What all tasks of one run share: what to do, when to stop, and what was counted.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    dial::Dialer, failure::Failure, histogram::Histogram, pattern::Pattern, stream::Got,
    usage::Usage, verify::Verify,
};
use crate::common::lock;

/// After so many errors a run stops.
const MAX_ERRORS: u64 = 100;

/// One run of one workload.
#[derive(Debug)]
pub struct Run {
    /// Makes connections.
    pub dialer: Dialer,
    /// What messages hold.
    pub pattern: Arc<Pattern>,
    /// How much of them is compared.
    pub verify: Verify,
    /// The stream window of each peer, unless the workload says otherwise.
    pub window: u32,
    /// Whether all streams go over two connections.
    pub share: bool,
    /// Not counted at first.
    pub warmup: Duration,
    /// How long to measure at most.
    pub duration: Duration,
    /// How many messages to measure at most.
    pub limit: Option<u64>,
    /// The router's process.
    pub pid: Option<u32>,
    /// Told when the measured phase is over.
    pub stop: CancellationToken,
    /// Latencies of the measured phase.
    pub histogram: Histogram,
    /// How late the generator itself was to send what was due.
    pub lateness: Histogram,
    messages: AtomicU64,
    bytes: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    statuses: Mutex<BTreeMap<String, u64>>,
    budget: AtomicU64,
    measuring: AtomicBool,
    pairs: AtomicU32,
    name: String,
    measured: OnceLock<(Moment, Moment)>,
}

/// One moment of a run.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// When.
    pub at: Instant,
    /// Messages received until then.
    pub messages: u64,
    /// Bytes received until then.
    pub bytes: u64,
    /// The router's process.
    pub router: Option<Usage>,
    /// This process.
    pub own: Usage,
}

impl Run {
    /// Makes a run that has not begun. `seed` also makes its pairs' names its own.
    pub fn new(dialer: Dialer, pattern: Pattern, seed: u64) -> Self {
        Self {
            dialer,
            pattern: Arc::new(pattern),
            verify: Verify::Full,
            window: 16 * 1024 * 1024,
            share: false,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(10),
            limit: None,
            pid: None,
            stop: CancellationToken::new(),
            histogram: Histogram::default(),
            lateness: Histogram::default(),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            errors: Mutex::default(),
            statuses: Mutex::default(),
            budget: AtomicU64::new(u64::MAX),
            measuring: AtomicBool::new(false),
            pairs: AtomicU32::new(0),
            name: format!("load-{seed:x}-{}", uuid::Uuid::new_v4()),
            measured: OnceLock::new(),
        }
    }

    /// Gives a subject that nobody else uses, and the pair's number.
    pub fn next_pair(&self) -> (String, u32) {
        let id = self.pairs.fetch_add(1, Relaxed);
        (format!("{}-{id}", self.name), id)
    }

    /// Counts the pairs made until now.
    pub fn pairs(&self) -> u32 {
        self.pairs.load(Relaxed)
    }

    /// Asks for permission to send `n` messages; gives how many may be sent. None means: finish.
    pub fn take(&self, n: usize) -> usize {
        if self.stop.is_cancelled() {
            return 0;
        }
        if self.limit.is_none() || !self.measuring() {
            return n;
        }
        let less = |left: u64| Some(left.saturating_sub(n as u64));
        let (Ok(left) | Err(left)) = self.budget.fetch_update(AcqRel, Acquire, less);
        usize::try_from(left).unwrap_or(n).min(n)
    }

    /// Tells whether the warm-up is over.
    pub fn measuring(&self) -> bool {
        self.measuring.load(Acquire)
    }

    /// Counts what was received.
    pub fn count(&self, got: Got) {
        self.messages.fetch_add(got.messages, Relaxed);
        self.bytes.fetch_add(got.bytes, Relaxed);
    }

    /// Counts a latency if it belongs to the measured phase.
    pub fn latency(&self, duration: Duration) {
        if self.measuring() && !self.stop.is_cancelled() {
            self.histogram.record(duration);
        }
    }

    /// Keeps how a call ended.
    pub fn ended_with(&self, status: String) {
        *lock(&self.statuses).entry(status).or_default() += 1;
    }

    /// Keeps an error; too many of them end the run.
    pub fn error(&self, error: impl std::fmt::Display) {
        let mut errors = lock(&self.errors);
        *errors.entry(error.to_string()).or_default() += 1;
        if errors.values().sum::<u64>() >= MAX_ERRORS {
            self.stop.cancel();
        }
    }

    /// Lists all errors, with how often each was seen.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        lock(&self.errors).clone()
    }

    /// Lists how calls ended, with how often.
    pub fn statuses(&self) -> BTreeMap<String, u64> {
        lock(&self.statuses).clone()
    }

    /// Looks at the counters and processes now.
    pub fn moment(&self) -> Moment {
        Moment {
            at: Instant::now(),
            messages: self.messages.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            router: self.pid.and_then(Usage::of),
            own: Usage::own(),
        }
    }

    /// Gives begin and end of the measured phase, once it is over.
    pub fn measured(&self) -> Option<(Moment, Moment)> {
        self.measured.get().copied()
    }

    /// Measures while nothing happens. Gives the moment when that was over.
    pub async fn hold(&self) -> Moment {
        let from = self.begin();
        tokio::select! {
            () = sleep(self.duration) => {}
            () = self.stop.cancelled() => {}
        }
        self.end(from)
    }

    fn end(&self, from: Moment) -> Moment {
        let to = self.moment();
        // A run measures once.
        let _ = self.measured.set((from, to));
        to
    }

    /// Begins to measure: from here on the limits count.
    fn begin(&self) -> Moment {
        self.budget.store(self.limit.unwrap_or(u64::MAX), Release);
        let from = self.moment();
        self.measuring.store(true, Release);
        from
    }

    /// Runs tasks through warm-up, measured phase and their own ends. The first failure ends all.
    pub async fn measure<T>(self: &Arc<Self>, tasks: impl IntoIterator<Item = T>)
    where
        T: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let mut running = JoinSet::new();
        let warm = !self.warmup.is_zero();
        let mut from = (!warm).then(|| self.begin());
        for task in tasks {
            let run = self.clone();
            running.spawn(async move {
                if let Err(error) = task.await {
                    run.error(error);
                    run.stop.cancel();
                }
            });
        }
        if warm {
            tokio::select! {
                () = sleep(self.warmup) => {}
                () = self.stop.cancelled() => {}
            }
            from = Some(self.begin());
        }
        tokio::select! {
            () = sleep(self.duration) => {}
            () = self.stop.cancelled() => {}
            () = async { while running.join_next().await.is_some() {} } => {}
        }
        if let Some(from) = from {
            self.end(from);
        }
        self.stop.cancel();
        while running.join_next().await.is_some() {}
    }
}
