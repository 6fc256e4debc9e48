//! What the tests share: a router on free ports, in this process or another, peers, certificates, and hand-made HTTP/2
//! frames.

pub mod alone;
pub mod authority;
pub mod balancer;
mod call;
pub mod cluster;
pub mod ends;
pub mod half;
pub mod harness;
pub mod lab;
pub mod line;
pub mod message;
pub mod nats;
pub mod operated;
pub mod output;
pub mod page;
pub mod peer;
pub mod process;
pub mod program;
pub mod raw;
pub mod stranger;
pub mod terminal;
pub mod web;
mod wire;

use std::{
    future::Future,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use jumpstarter_router::{
    client::{Connector, Trust},
    inside::{
        auth::{Claims, mint},
        config::{self, Config, Override, Sources},
        observe::metrics::{ConnectionEnd, Label as _, Metrics},
        server::Server,
    },
    protocol::v1::FrameType,
};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use tonic::{Code, transport::Channel};

pub use self::{
    call::{Call, call, data, goaway},
    harness::{Harness, WINDOW},
    message::{
        assert_bytes, assert_completed, assert_told, encode, frame, message, noise, prefixed,
    },
    peer::{Collected, End, Kind, Options, Peer},
};

pub const KEY: &str = "a-tests-signing-key-32-bytes-or-more";

/// No wait of a test takes longer; a slow machine must not fail it.
pub const LONG: Duration = Duration::from_secs(30);

pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let output = tokio::time::timeout(LONG, future).await;
    output.unwrap_or_else(|_| panic!("{what}: not within {LONG:?}"))
}

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "{what}: not within {LONG:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// As [`until`], for what has to be asked.
pub async fn until_async(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < LONG, "{what}: not within {LONG:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A port that nothing listens on, and that no other test of this process is given. It is below those that the system
/// gives to connections, so none of theirs takes it either.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// So many of them in a row, of which this is the first.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time start apart.
    let first = std::process::id() % 1_000 * 20;
    loop {
        let next = NEXT.fetch_add(count, Ordering::Relaxed);
        let port = 10_000 + (first + u32::from(next)) % 20_000;
        let port = u16::try_from(port).unwrap();
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (port..port + count).all(is_free) {
            return port;
        }
    }
}

pub fn token(subject: &str) -> String {
    mint(KEY.as_bytes(), &Claims::new(subject, SystemTime::now()))
}

const DAY: Duration = Duration::from_secs(86_400);

/// A certificate for 127.0.0.1, as files and as what clients trust.
pub struct Certificate {
    dir: tempfile::TempDir,
    pub der: CertificateDer<'static>,
}

impl Certificate {
    pub fn new() -> Self {
        Self::made_at(SystemTime::now())
    }

    /// Good for a year from `now`.
    pub fn made_at(now: SystemTime) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_before = (now - DAY).into();
        params.not_after = (now + 365 * DAY).into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(dir.path().join("tls.key"), key.serialize_pem()).unwrap();
        let der = certificate.der().clone();
        Self { dir, der }
    }

    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("tls.crt")
    }

    pub fn key(&self) -> PathBuf {
        self.dir.path().join("tls.key")
    }

    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// What the two files hold: the chain and the key.
    pub fn texts(&self) -> [Vec<u8>; 2] {
        [self.certificate(), self.key()].map(|path| std::fs::read(path).unwrap())
    }

    pub fn trust(&self) -> Trust {
        Trust::Certificates(vec![self.der.clone()])
    }
}

/// As from the command line.
pub fn setting(key: &str, value: &str) -> Override {
    Override {
        key: key.to_owned(),
        value: value.to_owned(),
        flag: "test".to_owned(),
    }
}

/// A key, free ports, and more.
pub fn config(settings: &[(&str, &str)]) -> Config {
    let first = [
        ("listen.address", "127.0.0.1:0"),
        ("listen.health_address", "0"),
        ("listen.admin_address", "0"),
        ("auth.key", KEY),
    ];
    let all = first.iter().chain(settings);
    let sources = Sources {
        overrides: all.map(|(key, value)| setting(key, value)).collect(),
        ..Sources::default()
    };
    config::load(&sources).unwrap().config
}

/// A router in this process.
pub struct Running {
    pub server: Server,
    pub certificate: Certificate,
    plaintext: bool,
}

impl Running {
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_with(settings, |_| {}).await
    }

    pub async fn start_with(settings: &[(&str, &str)], set: impl FnOnce(&mut Config)) -> Self {
        let certificate = Certificate::new();
        let (chain, key) = (certificate.certificate(), certificate.key());
        let mut all = vec![
            ("tls.certificate", chain.to_str().unwrap()),
            ("tls.key", key.to_str().unwrap()),
        ];
        let plaintext = settings.contains(&("tls.plaintext", "true"));
        all.extend(settings);
        let mut config = config(&all);
        set(&mut config);
        let server = Server::start(&config).await.unwrap();
        Self {
            server,
            certificate,
            plaintext,
        }
    }

    pub fn endpoint(&self) -> String {
        self.server.address.to_string()
    }

    pub fn connector(&self) -> Connector {
        let trust = if self.plaintext {
            Trust::Plaintext
        } else {
            self.certificate.trust()
        };
        Connector::new(&self.endpoint(), trust).unwrap()
    }

    pub fn metrics(&self) -> &Metrics {
        &self.server.router().metrics
    }

    /// Waits until so many connections have ended for this reason.
    pub async fn closed(&self, end: ConnectionEnd, count: u64) {
        until(end.as_str(), || {
            self.metrics().connections_closed.count(end) >= count
        })
        .await;
    }

    /// Two peers on a connection each.
    pub async fn pair(&self, subject: &str) -> Pair {
        Pair::open(&self.connector(), subject).await
    }
}

/// Two peers that have met.
pub struct Pair {
    pub one: Call,
    pub other: Call,
    pings: u32,
    /// Kept, as the connections end with them.
    _channels: [Channel; 2],
}

impl Pair {
    pub async fn open(connector: &Connector, subject: &str) -> Self {
        let token = token(subject);
        Self::open_with(connector, [&token, &token]).await
    }

    /// With a token for each side.
    pub async fn open_with(connector: &Connector, tokens: [&str; 2]) -> Self {
        let channel = || within("connect", connector.channel());
        let channels = [channel().await.unwrap(), channel().await.unwrap()];
        let one = call(channels[0].clone(), tokens[0], vec![]);
        let other = call(channels[1].clone(), tokens[1], vec![]);
        let (one, other) = within("pair", async { tokio::join!(one, other) }).await;
        Self {
            one: one.unwrap(),
            other: other.unwrap(),
            pings: 0,
            _channels: channels,
        }
    }

    /// One message there and one back, each the one that was sent.
    pub async fn ping_pong(&mut self) {
        for _ in 0..2 {
            self.pings += 1;
            let payload = Bytes::from(format!("message {}", self.pings));
            let passed = async {
                self.one.send.send(data(payload.clone())).await.unwrap();
                self.other.receive.message().await
            };
            let got = within("a message of the pair", passed).await;
            let got = got.unwrap().expect("the pair was ended");
            assert_eq!(got.payload, payload);
            std::mem::swap(&mut self.one, &mut self.other);
        }
    }

    /// Ping-pong for as long as `attack` takes, and once more after it.
    pub async fn while_doing<F: Future>(&mut self, attack: F) -> F::Output {
        let done = std::cell::Cell::new(false);
        let attack = async {
            let output = attack.await;
            done.set(true);
            output
        };
        let pings = async {
            while !done.get() {
                self.ping_pong().await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let (output, ()) = tokio::join!(attack, pings);
        self.ping_pong().await;
        output
    }
}

/// What a peer hears at the end: whether a GOAWAY frame came, and the status.
pub async fn last_words(call: &mut Call) -> (bool, Code, String) {
    let mut told = false;
    within("the end of a stream", async {
        loop {
            match call.receive.message().await {
                Ok(Some(frame)) => told |= frame.frame_type == i32::from(FrameType::Goaway),
                Ok(None) => return (told, Code::Ok, String::new()),
                Err(status) => return (told, status.code(), status.message().to_owned()),
            }
        }
    })
    .await
}
