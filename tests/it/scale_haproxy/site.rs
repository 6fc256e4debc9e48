//! `haproxy` with the file in `deploy/`, several router processes behind it, and halves that come one by one.

use std::{
    env, fs,
    io::{self, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use crate::helpers::{
    Pair,
    authority::Authority,
    free_port,
    half::{Half, Router},
    process::{Process, usual},
    token, until, within,
};
use jumpstarter_router::client::{Connector, Trust};
use rcgen::{ExtendedKeyUsagePurpose, SanType};

pub const CONFIGURATION: &str = include_str!("../../../deploy/haproxy/haproxy.cfg");

/// The name in the routers' certificate, as the file has it.
const NAME: &str = "router.example.com";

/// Tokens of each test. No multiple of three: dealt out in turns, the second halves must not come where the first did.
pub const TOKENS: i64 = 31;

/// The program, if there is one.
pub fn program() -> Option<&'static str> {
    static PROGRAM: OnceLock<Option<String>> = OnceLock::new();
    let found = PROGRAM.get_or_init(|| {
        let named = env::var("HAPROXY").ok();
        let usual = ["haproxy", "/usr/sbin/haproxy"].map(ToOwned::to_owned);
        let mut all = named.into_iter().chain(usual);
        let found = all.find(|program| {
            let mut version = Command::new(program);
            version.arg("-v").stdout(Stdio::null());
            version.status().is_ok_and(|status| status.success())
        });
        if found.is_none() {
            let required = env::var("REQUIRE_HAPROXY").is_ok_and(|value| value == "1");
            assert!(!required, "REQUIRE_HAPROXY=1 and there is no haproxy");
            // Not captured as what a test prints.
            let mut stderr = io::stderr();
            writeln!(stderr, "*** SKIPPED: no haproxy").unwrap();
        }
        found
    });
    found.as_deref()
}

/// Different tokens. The two halves of a pair have the same one, not only the same subject.
pub fn tokens() -> Vec<String> {
    let numbers = 0..TOKENS;
    numbers
        .map(|number| token(&format!("half {number}")))
        .collect()
}

/// Several routers behind a `haproxy` that runs with the file in `deploy/`.
pub struct Site {
    haproxy: Child,
    pub connector: Connector,
    pub routers: Vec<Router>,
    _authority: Authority,
    _files: tempfile::TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.haproxy.kill();
        let _ = self.haproxy.wait();
    }
}

impl Site {
    /// `changes`: what stands in the file, and what does instead.
    pub async fn start(program: &str, changes: &[(&str, &str)]) -> Self {
        let authority = Authority::new("authority");
        let files = authority.signed("tls", ExtendedKeyUsagePurpose::ServerAuth, |params| {
            params.subject_alt_names = vec![
                SanType::DnsName(NAME.try_into().unwrap()),
                SanType::IpAddress([127, 0, 0, 1].into()),
            ];
        });
        let address = format!("127.0.0.1:{}", free_port());
        let routers = [(); 3].map(|()| router(&files, &authority, &address));
        let directory = tempfile::tempdir().unwrap();
        let pem = files.each_ref().map(|file| fs::read(file).unwrap());
        fs::write(directory.path().join("tls.pem"), pem.concat()).unwrap();
        fs::write(directory.path().join("routers.pem"), &authority.pem).unwrap();

        let mut text = CONFIGURATION.to_owned();
        let mut change = |from: &str, to: &str| {
            assert!(text.contains(from), "{from} in haproxy.cfg");
            text = text.replace(from, to);
        };
        change("bind :443 ", &format!("bind {address} "));
        change(
            "/etc/haproxy/jumpstarter",
            directory.path().to_str().unwrap(),
        );
        // A test's machine may not allow that many open files.
        change("maxconn 20000", "maxconn 500");
        // Here each has a port of its own for probes, as they share an address.
        change(" check port 8081 ", " check ");
        for (index, (router, grpc)) in routers.iter().enumerate() {
            let number = index + 1;
            let port = router.health.rsplit(':').next().unwrap();
            change(
                &format!("router-{number}.internal:8083 id {number}"),
                &format!("{grpc} id {number} port {port}"),
            );
        }
        for (from, to) in changes {
            change(from, to);
        }
        let file = directory.path().join("haproxy.cfg");
        fs::write(&file, text).unwrap();

        // Once to check it, when a warning is an error, too; and once to serve.
        let mut check = Command::new(program);
        check.args(["-c", "-dW", "-f"]).arg(&file);
        let checked = check.output().unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{said}");
        let mut serve = Command::new(program);
        serve.args(["-db", "-f"]).arg(&file);
        serve.stdin(Stdio::null()).stdout(Stdio::null());
        serve.stderr(Stdio::null());
        let haproxy = serve.spawn().unwrap();
        until("HAProxy to listen", || TcpStream::connect(&address).is_ok()).await;
        let trust = Trust::from_pem(&authority.pem).unwrap();
        Self {
            haproxy,
            connector: Connector::new(&address, trust).unwrap(),
            routers: routers.map(|(router, _)| router).into(),
            _authority: authority,
            _files: directory,
        }
    }

    pub fn sum(&self, metric: &str) -> i64 {
        self.routers
            .iter()
            .map(|router| router.metric(metric))
            .sum()
    }

    /// Pairs of different tokens, one after the other.
    pub async fn pairs(&self, name: &str) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for number in 0..TOKENS {
            pairs.push(Pair::open(&self.connector, &format!("{name} {number}")).await);
        }
        pairs
    }

    /// One half for each of these tokens.
    pub async fn halves(&self, tokens: &[String]) -> Vec<Half> {
        let mut halves = Vec::new();
        for token in tokens {
            halves.push(self.half(token).await);
        }
        halves
    }

    pub async fn half(&self, token: &str) -> Half {
        let channel = within("connect", self.connector.channel()).await.unwrap();
        Half::with_token(channel, token, &[])
    }
}

/// Starts a router that takes PROXY headers from `haproxy`, and sends streams that wait when it stops back there. Also gives
/// its gRPC address.
fn router(files: &[PathBuf; 2], authority: &Authority, haproxy: &str) -> (Router, String) {
    Router::serving(Process::start(usual(&[
        ("tls.certificate", files[0].to_str().unwrap()),
        ("tls.key", files[1].to_str().unwrap()),
        ("listen.endpoint", &format!("{NAME}:443")),
        ("listen.health_address", "127.0.0.1:0"),
        ("listen.proxy_protocol_from", "127.0.0.1"),
        ("drain.lame_duck", "8s"),
        ("drain.forward_to", haproxy),
        ("drain.forward_ca", authority.file().to_str().unwrap()),
    ])))
}
