//! The program as the operator starts it, and how it refuses to start.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use crate::helpers::{
    Certificate, KEY, Pair,
    process::{self, Ended, Process, get, run},
};
use jumpstarter_router::client::{Connector, Trust};
use serde_json::Value;

/// Exit code for a wrong configuration (sysexits.h).
const CONFIG: Option<i32> = Some(78);

/// The environment of the operator's container, with ports of its own.
fn pod() -> Command {
    let mut command = process::command();
    command
        .env("NAMESPACE", "jumpstarter-lab")
        .env("ROUTER_KEY", KEY)
        .env(
            "GRPC_ROUTER_ENDPOINT",
            "router-0.jumpstarter.example.com:443",
        )
        .env("JUMPSTARTER_ROUTER_LISTEN_ADDRESS", "127.0.0.1:0")
        .env("JUMPSTARTER_ROUTER_LISTEN_HEALTH_ADDRESS", "127.0.0.1:0");
    command
}

/// One line, and it says each of these.
fn says(ended: &Ended, parts: &[&str]) {
    assert_eq!(ended.lines.len(), 1, "one sentence: {:#?}", ended.lines);
    for part in parts {
        assert!(
            ended.lines[0].contains(part),
            "{part:?} in {:?}",
            ended.lines[0]
        );
    }
}

async fn serves(address: &str, trust: Trust) {
    let connector = Connector::new(address, trust).unwrap();
    Pair::open(&connector, "pod").await.ping_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_without_arguments() {
    let mut process = Process::start(pod());
    let line = process.line("serving");
    assert_eq!(line["tls"], "self-signed");
    assert_eq!(line["endpoint"], "router-0.jumpstarter.example.com:443");
    assert_eq!(line["metrics"], serde_json::Value::Null, "off by default");
    serves(line["address"].as_str().unwrap(), Trust::Insecure).await;
    let health = line["health"].as_str().unwrap();
    for path in ["/healthz", "/readyz"] {
        assert!(get(health, path).starts_with("HTTP/1.1 200"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_with_the_operators_flag_and_certificate() {
    let certificate = Certificate::new();
    let mut command = pod();
    command
        .arg("-metrics-bind-address=127.0.0.1:0")
        .env("EXTERNAL_CERT_PEM", certificate.certificate())
        .env("EXTERNAL_KEY_PEM", certificate.key());
    let mut process = Process::start(command);
    let line = process.line("serving");
    assert_eq!(line["tls"], "given certificate");
    serves(line["address"].as_str().unwrap(), certificate.trust()).await;
    let metrics = get(line["metrics"].as_str().unwrap(), "/metrics");
    assert!(
        metrics.contains("jumpstarter_router_pairs_total 1"),
        "{metrics}"
    );
}

/// The only test that uses the ports of a real pod; all others take free ones.
#[tokio::test(flavor = "multi_thread")]
async fn the_pod_on_its_real_ports() {
    for port in [8083, 8081, 8080] {
        TcpListener::bind(("0.0.0.0", port)).unwrap_or_else(|error| {
            panic!("this test needs port {port}, which another program has: {error}")
        });
    }
    let mut command = pod();
    command
        .arg("-metrics-bind-address=:8080")
        .env_remove("JUMPSTARTER_ROUTER_LISTEN_ADDRESS")
        .env_remove("JUMPSTARTER_ROUTER_LISTEN_HEALTH_ADDRESS");
    let mut process = Process::start(command);
    let line = process.line("serving");
    assert!(line["address"].as_str().unwrap().ends_with(":8083"));
    serves("127.0.0.1:8083", Trust::Insecure).await;
    assert!(get("127.0.0.1:8081", "/readyz").starts_with("HTTP/1.1 200"));
    let metrics = get("127.0.0.1:8080", "/metrics");
    assert!(metrics.contains("jumpstarter_router_pairs_total 1"));
}

#[test]
fn no_key_or_an_empty_one_is_refused() {
    let mut missing = pod();
    missing.env_remove("ROUTER_KEY");
    let ended = run(missing);
    assert_eq!(ended.code(), CONFIG);
    says(&ended, &["ROUTER_KEY"]);

    let mut empty = pod();
    empty.env("ROUTER_KEY", "");
    let ended = run(empty);
    assert_eq!(ended.code(), CONFIG);
    says(&ended, &["ROUTER_KEY", "empty"]);
}

#[test]
fn a_short_key_is_warned_about() {
    let mut command = pod();
    command.env("ROUTER_KEY", "sixteen bytes!!!");
    let mut process = Process::start(command);
    let line = process.line("auth.key is shorter than 32 bytes");
    assert_eq!(line["level"], "warning");
    process.address();
    assert!(
        process
            .lines
            .iter()
            .all(|line| !line.contains("sixteen bytes"))
    );
}

#[test]
fn a_port_in_use_is_named_with_the_key_to_change() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (variable, key) in [
        ("JUMPSTARTER_ROUTER_LISTEN_ADDRESS", "listen.address"),
        (
            "JUMPSTARTER_ROUTER_LISTEN_HEALTH_ADDRESS",
            "listen.health_address",
        ),
        (
            "JUMPSTARTER_ROUTER_LISTEN_METRICS_ADDRESS",
            "listen.metrics_address",
        ),
    ] {
        let mut command = pod();
        command.env(variable, &address);
        let ended = run(command);
        assert_eq!(ended.code(), Some(1));
        let line = ended.lines.last().unwrap();
        for part in [key, &address, "\"level\":\"error\"", "Set "] {
            assert!(line.contains(part), "{part:?} in {line}");
        }
        assert_eq!(ended.lines.len(), 2, "starting, then why not: {ended:?}");
    }
}

/// A file that is made with OpenSSL.
fn fixture(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
    directory.join(name)
}

/// `check` and `serve` with these settings beside the pod's environment: both end with 78, and say the same.
fn is_refused_by_both(settings: &[(&str, &Path)], said: &str) {
    let with_settings = |subcommand| {
        let mut command = pod();
        command.arg(subcommand);
        for (key, path) in settings {
            command.args(["--set", &format!("{key}={}", path.display())]);
        }
        run(command)
    };
    let checked = with_settings("check");
    assert_eq!(checked.code(), CONFIG, "{settings:?}: {checked:?}");
    let errors = checked
        .lines
        .iter()
        .filter_map(|line| line.strip_prefix("error: "));
    let errors: Vec<_> = errors.collect();
    assert_eq!(errors.len(), 1, "{checked:?}");
    assert!(errors[0].contains(said), "{said:?} in {errors:?}");
    let served = with_settings("serve");
    assert_eq!(served.code(), CONFIG, "{settings:?}: {served:?}");
    let last: Value = serde_json::from_str(served.lines.last().unwrap()).unwrap();
    assert_eq!(last["level"], "error");
    assert_eq!(last["error"], errors[0], "the same words");
}

#[test]
fn check_and_serve_refuse_the_same_files_with_the_same_words() {
    let (one, other) = (Certificate::new(), Certificate::new());
    let (certificate, key) = (one.certificate(), one.key());
    let file = |name: &str, bytes: &[u8]| {
        let path = one.directory().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let nowhere = one.directory().join("nowhere.pem");
    let garbage = file("garbage.pem", b"no PEM at all");
    let der = file("der.crt", &one.der);
    let nonsense = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let nonsense = file("nonsense.crt", nonsense.as_bytes());
    let (short, short_key) = (fixture("rsa1024.crt"), fixture("rsa1024.key"));
    let encrypted = fixture("encrypted.key");
    for (certificate, key, said) in [
        (&nowhere, &key, "cannot read"),
        (&garbage, &key, "it is not PEM"),
        (&der, &key, "it is DER"),
        (&key, &key, "holds no CERTIFICATE, but: PRIVATE KEY"),
        (&nonsense, &key, "expected X.509"),
        (&certificate, &nowhere, "cannot read"),
        (&certificate, &garbage, "it is not PEM"),
        (
            &certificate,
            &certificate,
            "holds no PRIVATE KEY, but: CERTIFICATE",
        ),
        (&certificate, &encrypted, "it is encrypted"),
        (&short, &short_key, "an RSA key of 1024 bits"),
        (&certificate, &other.key(), "do not go together"),
        (&fixture("v1.crt"), &key, "do not go together"),
    ] {
        let files: [(&str, &Path); 2] = [("tls.certificate", certificate), ("tls.key", key)];
        is_refused_by_both(&files, said);
    }
    for setting in ["tls.client_ca", "drain.forward_ca"] {
        for (path, said) in [
            (&nowhere, "cannot read"),
            (&garbage, "it is not PEM"),
            (&key, "holds no CERTIFICATE"),
            (&nonsense, "cannot be used as the authorities of"),
        ] {
            is_refused_by_both(&[(setting, path)], said);
        }
    }
    // All at once.
    let mut both = pod();
    let (authority, key) = (one.key(), one.directory().join("nowhere.key"));
    both.arg("check").args([
        "--set",
        &format!("drain.forward_ca={}", authority.display()),
    ]);
    both.env("EXTERNAL_CERT_PEM", &certificate)
        .env("EXTERNAL_KEY_PEM", key);
    assert_eq!(
        run(both)
            .lines
            .iter()
            .filter(|line| line.starts_with("error: "))
            .count(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_version_1_is_served() {
    let with_certificate = || {
        let mut command = pod();
        command
            .env("EXTERNAL_CERT_PEM", fixture("v1.crt"))
            .env("EXTERNAL_KEY_PEM", fixture("v1.key"));
        command
    };
    let mut check = with_certificate();
    check.arg("check");
    assert_eq!(run(check).code(), Some(0));
    let mut process = Process::start(with_certificate());
    serves(&process.address(), Trust::Insecure).await;
}
