//! How a router stops: at first only probes say so, then connections and streams are let go.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::Server;

/// How long streams that were ended by the drain have to be told, and connections to be closed. With the
/// default drain timeout of 25 s it stays inside the 30 s that Kubernetes grants.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often the drain looks whether it is done.
const LOOK: Duration = Duration::from_millis(20);

/// How often the log says how far it is, at least and at most.
const TELL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Streams that were still there at the deadline and were ended.
    pub ended: usize,
}

impl Server {
    /// From now on probes say that the router is not ready. It serves on; [`Server::lame_duck`] waits meanwhile. `left`:
    /// until the deadline of the drain that follows.
    pub async fn become_lame_duck(&self, left: Duration) {
        self.set_serving(false).await;
        let metrics = &self.router.metrics;
        metrics.set_lame_duck(SystemTime::now() + left);
        self.router.leave();
    }

    /// Serves on for `long`, and logs how it goes.
    pub async fn lame_duck(&self, long: Duration) {
        let end = Instant::now() + long;
        let mut progress = Progress::new(long);
        while Instant::now() < end {
            sleep(LOOK.min(end - Instant::now())).await;
            progress.tell(self, "lame duck", end);
        }
    }

    /// Stops in order: not ready at once, no connection is accepted, waiting streams are forwarded or told, pairs have
    /// until `timeout`, then they are told, too.
    pub async fn drain(mut self, timeout: Duration) -> Drained {
        let deadline = Instant::now() + timeout;
        self.set_serving(false).await;
        let metrics = &self.router.metrics;
        metrics.set_draining(SystemTime::now() + timeout);
        self.router.drain();
        self.wait_for_streams(timeout, deadline).await;
        let ended = self.router.streams.count();
        if ended > 0 {
            tracing::warn!(
                streams = ended,
                "drain deadline reached; ending what is left"
            );
            self.router.end_all();
            let deadline = Instant::now() + LAST_WORDS;
            self.wait_for_streams(LAST_WORDS, deadline).await;
        }
        // Closing connections flushes what the streams said last.
        let deadline = Instant::now() + LAST_WORDS / 2;
        while self.router.metrics.connections_open.get() > 0 && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        self.router.close().await;
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        Drained { ended }
    }

    async fn wait_for_streams(&self, timeout: Duration, deadline: Instant) {
        let mut progress = Progress::new(timeout);
        while self.router.streams.count() > 0 && Instant::now() < deadline {
            sleep(LOOK).await;
            progress.tell(self, "draining", deadline);
        }
    }
}

/// Says in the log how far it is, now and then.
struct Progress {
    every: Duration,
    told: Instant,
}

impl Progress {
    fn new(whole: Duration) -> Self {
        Self {
            every: (whole / 60).clamp(TELL.0, TELL.1),
            told: Instant::now(),
        }
    }

    fn tell(&mut self, server: &Server, phase: &'static str, end: Instant) {
        let now = Instant::now();
        if now - self.told < self.every {
            return;
        }
        self.told = now;
        let (router, metrics) = (&server.router, &server.router.metrics);
        let left = end.saturating_duration_since(now).as_secs();
        tracing::info!(
            streams = router.streams.count(),
            pairs = metrics.streams_paired.get(),
            waiting = metrics.streams_waiting.get(),
            at_successor = metrics.successor_streams_open.get(),
            left_s = left,
            "{phase}"
        );
    }
}
