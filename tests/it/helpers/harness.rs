//! A router in this process, and peers that behave and misbehave on its real TLS port.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::unused_self
)]

pub mod line;
pub mod peer;
mod wire;

use std::{
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jumpstarter_router::{
    auth::{Claims, mint},
    client::{Connector, Trust},
    config::{Config, PemFile, Secret, Size},
    protocol::v1::StreamRequest,
    server::{Drained, Server},
    splice::ending::GOAWAY_MESSAGE,
    transport::{shared::Router, tls::settings::self_signed_pair},
};
use prost::Message as _;
use tempfile::TempDir;
use tokio::{sync::Mutex, task::JoinHandle};
use tonic::Code;

pub use peer::{Collected, End, Kind, Options, Peer};

/// Long enough for a slow machine: whoever waits longer waits for something that does not come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The window that the router grants each stream in tests, bytes.
pub const WINDOW: usize = 256 * 1024;

const KEY: &[u8] = b"a key of thirty-two bytes or more";

/// Awaits `what`, and fails saying so if it takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for: {what}"))
}

/// Looks again and again until `done`. For gauges, which nobody can be woken by.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A router and what is needed to reach it.
pub struct Harness {
    server: Option<Server>,
    pub router: Arc<Router>,
    pub connector: Connector,
    /// The gauge of waiting streams is only clear if one pair meets at a time.
    meeting: Mutex<()>,
    _files: TempDir,
}

impl Harness {
    pub async fn start(set: impl FnOnce(&mut Config)) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (certificate, key) = self_signed_pair("127.0.0.1", SystemTime::now()).unwrap();
        let pem = |name: &str, label: &str, der: &[u8]| {
            let path = files.path().join(name);
            let text = STANDARD.encode(der);
            let text = format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
            std::fs::write(&path, text).unwrap();
            PemFile::read(path)
        };
        let mut config = Config::default();
        config.auth.key = Some(Secret::new(KEY));
        config.listen.address = ([127, 0, 0, 1], 0).into();
        config.listen.health_address = None;
        config.listen.admin_address = None;
        // A window that neither grows nor shrinks: tests say how many bytes fit.
        config.streams.initial_window = Size::new(WINDOW);
        config.streams.max_window = Size::new(WINDOW);
        config.tls.certificate = Some(pem("tls.crt", "CERTIFICATE", &certificate));
        config.tls.key = Some(pem("tls.key", "PRIVATE KEY", key.secret_der()));
        set(&mut config);
        let server = Server::start(&config).await.unwrap();
        let endpoint = server.address.to_string();
        let connector = Connector::new(&endpoint, Trust::Certificates(vec![certificate])).unwrap();
        Self {
            router: server.router().clone(),
            server: Some(server),
            connector,
            meeting: Mutex::new(()),
            _files: files,
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

    pub fn token(&self, subject: &str) -> String {
        mint(KEY, &Claims::new(subject, SystemTime::now()))
    }

    pub async fn peer(&self, kind: Kind, subject: &str) -> Peer {
        self.peer_with(kind, subject, Options::default()).await
    }

    pub async fn peer_with(&self, kind: Kind, subject: &str, options: Options) -> Peer {
        let token = self.token(subject);
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
            (gauges, router.streams(), router.table.waiting())
        };
        let nothing = ([0; 3], 0, 0);
        let start = Instant::now();
        while counts() != nothing {
            assert!(
                start.elapsed() < PATIENCE,
                "{case}: left behind (open, waiting, paired), streams, slots: {:?}",
                counts()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(metrics.panics.get(), 0, "{case}: panics");
    }
}

/// A frame with this payload, as a gRPC message.
pub fn message(payload: &[u8]) -> Bytes {
    frame(0, payload)
}

/// A frame of any type, as a gRPC message.
pub fn frame(frame_type: i32, payload: &[u8]) -> Bytes {
    encode(&StreamRequest {
        payload: Bytes::copy_from_slice(payload),
        frame_type,
    })
}

pub fn encode(request: &StreamRequest) -> Bytes {
    prefixed(0, &request.encode_to_vec())
}

/// A gRPC message with any flag and any content.
pub fn prefixed(flag: u8, content: &[u8]) -> Bytes {
    let mut bytes = vec![flag];
    bytes.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(content);
    bytes.into()
}

/// Bytes that look random and depend on `seed`.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The peer got `bytes`, then the in-band GOAWAY, then this status.
#[track_caller]
pub fn assert_told(case: &str, got: &Collected, bytes: &[u8], code: Code, text: &str) {
    let want = [bytes, GOAWAY_MESSAGE].concat();
    assert_bytes(case, &got.bytes, &want);
    assert_eq!(got.end, End::Status(code, text.to_owned()), "{case}");
}

/// The peer got `bytes`, then OK.
#[track_caller]
pub fn assert_completed(case: &str, got: &Collected, bytes: &[u8]) {
    assert_bytes(case, &got.bytes, bytes);
    assert_eq!(got.end, End::Status(Code::Ok, String::new()), "{case}");
}

/// Equality whose failure does not print megabytes.
#[track_caller]
pub fn assert_bytes(case: &str, got: &[u8], want: &[u8]) {
    let differ = got.iter().zip(want).position(|(got, want)| got != want);
    assert!(
        got == want,
        "{case}: {} bytes arrived, {} expected; first difference at {differ:?}; the last bytes are {:?} and {:?}",
        got.len(),
        want.len(),
        &got[got.len().saturating_sub(16)..],
        &want[want.len().saturating_sub(16)..],
    );
}
