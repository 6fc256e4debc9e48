//! A router in this process whose windows stand still, and peers that behave and misbehave on its real TLS port.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use jumpstarter_router::{
    client::Connector,
    inside::{
        config::{Config, Size},
        server::{Drained, Server},
        transport::shared::Shared,
    },
};
use tokio::{sync::Mutex, task::JoinHandle};

use super::{Certificate, Kind, LONG, Options, Peer, Running, token, until, within};

/// The window that the router grants each stream in tests, bytes.
pub const WINDOW: usize = 256 * 1024;

/// A router and what is needed to reach it.
pub struct Harness {
    server: Option<Server>,
    pub router: Arc<Shared>,
    pub connector: Connector,
    /// The gauge of waiting streams is only clear if one pair meets at a time.
    meeting: Mutex<()>,
    _certificate: Certificate,
}

impl Harness {
    pub async fn start(set: impl FnOnce(&mut Config)) -> Self {
        let running = Running::start_with(&[], |config| {
            // A window that neither grows nor shrinks: tests say how many bytes fit.
            config.streams.initial_window = Size::new(WINDOW);
            config.streams.max_window = Size::new(WINDOW);
            set(config);
        })
        .await;
        Self {
            router: running.server.router().clone(),
            connector: running.connector(),
            server: Some(running.server),
            meeting: Mutex::new(()),
            _certificate: running.certificate,
        }
    }

    /// Where the administrator's API is, if the configuration has it.
    pub fn admin(&self) -> SocketAddr {
        self.server.as_ref().unwrap().admin_address.unwrap()
    }

    /// Starts the drain; how it went, and after how long, comes when it is over.
    pub fn drain(&mut self, timeout: Duration) -> JoinHandle<(Drained, Duration)> {
        let server = self.server.take().unwrap();
        let start = Instant::now();
        tokio::spawn(async move {
            let drained = server.drain(timeout).await;
            (drained, start.elapsed())
        })
    }

    pub async fn peer(&self, kind: Kind, subject: &str) -> Peer {
        self.peer_with(kind, subject, Options::default()).await
    }

    pub async fn peer_with(&self, kind: Kind, subject: &str, options: Options) -> Peer {
        let token = token(subject);
        within(
            "a connection",
            Peer::open(&self.connector, kind, &token, options),
        )
        .await
    }

    /// A peer that surely waits.
    pub async fn waiter(&self, kind: Kind, subject: &str, options: Options) -> Peer {
        let before = self.waiting();
        let peer = self.peer_with(kind, subject, options).await;
        until("the first stream to wait", || self.waiting() > before).await;
        peer
    }

    /// Two peers that have met, the first one in the table first.
    pub async fn pair(&self, kinds: (Kind, Kind), subject: &str) -> (Peer, Peer) {
        let options = (Options::default(), Options::default());
        self.pair_with(kinds, subject, options).await
    }

    pub async fn pair_with(
        &self,
        kinds: (Kind, Kind),
        subject: &str,
        options: (Options, Options),
    ) -> (Peer, Peer) {
        let meeting = self.meeting.lock().await;
        let mut first = self.waiter(kinds.0, subject, options.0).await;
        let mut second = self.peer_with(kinds.1, subject, options.1).await;
        first.head().await;
        second.head().await;
        drop(meeting);
        (first, second)
    }

    pub fn waiting(&self) -> i64 {
        self.router.metrics.streams_waiting.get()
    }

    /// How many streams ended for `reason`.
    pub fn ends(&self, reason: &str) -> u64 {
        let metrics = &self.router.metrics;
        metrics.stream_ends.get(reason).get()
    }

    /// Everything is given back once all peers are gone.
    pub async fn idle(&self, case: &str) {
        let router = &self.router;
        let metrics = &router.metrics;
        let counts = || {
            let gauges = [
                metrics.connections_open.get(),
                metrics.streams_waiting.get(),
                metrics.streams_paired.get(),
            ];
            (gauges, router.streams.count(), router.table.waiting())
        };
        let nothing = ([0; 3], 0, 0);
        let start = Instant::now();
        while counts() != nothing {
            assert!(
                start.elapsed() < LONG,
                "{case}: left behind (open, waiting, paired), streams, slots: {:?}",
                counts()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(metrics.panics.get(), 0, "{case}: panics");
    }
}
