//! How a router stops: at first only probes say so, then connections and streams are let go.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::{Server, set_serving};

/// How long streams that were ended by the drain have to be told, and connections to be closed. With the
/// default drain timeout of 25 s it stays inside the 30 s that Kubernetes grants.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often the drain looks whether it is done.
const LOOK: Duration = Duration::from_millis(20);

/// How often the log says how far it is, at least and at most.
const TELL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// Tells how a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Streams that were still there at the deadline and were ended.
    pub ended: usize,
}

impl Server {
    /// From now on probes say that the router is not ready. It serves on; [`Server::lame_duck`] waits meanwhile. `left`:
    /// until the deadline of the drain that follows.
    pub async fn become_lame_duck(&self, left: Duration) {
        set_serving(self.health.clone(), false).await;
        let metrics = &self.router.metrics;
        metrics.set_lame_duck(SystemTime::now() + left);
        self.router.leave();
    }

    /// Serves on for `long`, and logs how it goes.
    pub async fn lame_duck(&self, long: Duration) {
        self.wait(long, "lame duck", |_| false).await;
    }

    /// Stops in order: not ready at once, no connection is accepted, waiting streams are forwarded or told, pairs have
    /// until `timeout`, then they are told, too.
    pub async fn drain(mut self, timeout: Duration) -> Drained {
        let no_streams = |server: &Self| server.router.streams.count() == 0;
        set_serving(self.health.clone(), false).await;
        let metrics = &self.router.metrics;
        metrics.set_draining(SystemTime::now() + timeout);
        self.router.drain();
        self.wait(timeout, "draining", no_streams).await;
        let ended = self.router.streams.count();
        if ended > 0 {
            tracing::warn!(
                streams = ended,
                "drain deadline reached; ending what is left"
            );
            self.router.end_all();
            self.wait(LAST_WORDS, "draining", no_streams).await;
        }
        // Closing connections flushes what the streams said last.
        let no_connections = |server: &Self| server.router.metrics.connections_open.get() == 0;
        self.wait(LAST_WORDS / 2, "draining", no_connections).await;
        self.router.close().await;
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        Drained { ended }
    }

    /// Waits for `long`, or until this is `done`, and says in the log how far it is, now and then.
    async fn wait(&self, long: Duration, phase: &'static str, done: fn(&Self) -> bool) {
        let every = (long / 60).clamp(TELL.0, TELL.1);
        let mut told = Instant::now();
        let end = told + long;
        while !done(self) && Instant::now() < end {
            sleep(LOOK.min(end - Instant::now())).await;
            let now = Instant::now();
            if now - told < every {
                continue;
            }
            told = now;
            let metrics = &self.router.metrics;
            tracing::info!(
                streams = self.router.streams.count(),
                pairs = metrics.pairs_here(),
                waiting = metrics.streams_waiting.get(),
                at_successor = metrics.successor_streams_open.get(),
                left_s = end.saturating_duration_since(now).as_secs(),
                "{phase}"
            );
        }
    }
}
