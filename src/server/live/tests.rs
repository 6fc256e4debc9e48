#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderMap, header::AUTHORIZATION};
use tonic::service::Routes;

use super::*;
use crate::{
    auth::{Claims, mint},
    config::{self, Override, Sources, keys},
    observe::metrics::Metrics,
    server::table,
    splice::ending::Ending,
    transport::{memory::budget::Budget, tls::settings::self_made},
};

const KEY: &str = "the key that is always there, 32+";
const OTHER: &str = "another key of at least 32 bytes!";

/// Files that a configuration can name: two certificates with their keys, and a directory with [`OTHER`] in it.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            let names = vec!["localhost".to_owned()];
            let made = self_made("test", names, SystemTime::now()).unwrap();
            let write = |end: &str, text: String| {
                std::fs::write(dir.path().join(format!("{name}.{end}")), text).unwrap();
            };
            write("crt", made.cert.pem());
            write("key", made.signing_key.serialize_pem());
        }
        std::fs::create_dir(dir.path().join("keys")).unwrap();
        std::fs::write(dir.path().join("keys/other"), OTHER).unwrap();
        std::fs::write(dir.path().join("token"), "0123456789abcdef").unwrap();
        std::fs::write(dir.path().join("operator"), "grpc: {}").unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// The configuration with TLS that all tests begin with, and more.
    fn config(&self, settings: &[(&str, &str)]) -> Config {
        let (certificate, key) = (self.path("one.crt"), self.path("one.key"));
        let first = [
            ("auth.key", KEY),
            // With it, a token that only reads does not stand alone.
            ("listen.admin_address", "0"),
            ("tls.certificate", &certificate),
            ("tls.key", &key),
        ];
        let overrides = first.iter().chain(settings).map(|(key, value)| Override {
            key: (*key).to_owned(),
            value: value.replace("{files}", &self.0.path().display().to_string()),
            flag: "test".to_owned(),
        });
        let overrides = overrides.collect();
        let sources = Sources {
            overrides,
            ..Sources::default()
        };
        config::load(&sources).unwrap().config
    }
}

fn live(config: &Config) -> Live {
    let tls = Tls::of(config, Provider::Auto).unwrap();
    let router = Shared::new(
        rules(config).unwrap(),
        table(config),
        config.into(),
        Arc::new(Metrics::new(Ending::REASONS, &[])),
        Budget::new(config.memory.windows.bytes() as u64),
        Routes::default(),
    );
    Live::new(router, tls, bus(config).unwrap())
}

/// Everything of a change that can be seen. Keys are shown by what they admit.
fn shown(change: Result<Change, LiveError>) -> String {
    let change = match change {
        Ok(change) => change,
        Err(error) => return error.to_string(),
    };
    let now = SystemTime::now();
    let admitted = [KEY, OTHER].map(|key| {
        let mut claims = Claims::new("s", now);
        claims.iss.clone_from(&change.rules.issuer);
        claims.aud = vec![change.rules.audience.clone()];
        let token = format!("Bearer {}", mint(key.as_bytes(), &claims));
        let headers: HeaderMap = [(AUTHORIZATION, token.parse().unwrap())]
            .into_iter()
            .collect();
        change.rules.check(&headers, now).is_ok()
    });
    format!("{admitted:?} {change:?}")
}

/// Live keys that others than [`Live`] put in force, as `tests/it/reload.rs` shows, or that alone do nothing.
const ELSEWHERE: [&str; 8] = [
    "drain.lame_duck",
    "drain.timeout",
    "log.filter",
    "reload.interval",
    // Says something about `tls.client_ca`.
    "tls.client_certificate_optional",
    // Sets other keys.
    "connections.operator_config",
    // Only with `cluster.servers`: `new_credentials_reach_the_bus`.
    "cluster.credentials_file",
    "cluster.ca",
];

/// A value that differs from the one in [`Files::config`], for every key.
const OTHER_VALUES: &[(&str, &str)] = &[
    ("listen.address", "127.0.0.1:1"),
    ("listen.endpoint", "example.com:443"),
    ("listen.health_address", "127.0.0.1:2"),
    ("listen.metrics_address", "127.0.0.1:3"),
    ("listen.admin_address", "127.0.0.1:4"),
    ("listen.backlog", "5"),
    ("listen.reuse_port", "true"),
    ("listen.proxy_protocol_from", "10.0.0.0/8"),
    ("listen.proxy_protocol_timeout", "6s"),
    ("tls.certificate", "{files}/two.crt"),
    ("tls.key", "{files}/two.key"),
    ("tls.plaintext", "true"),
    ("tls.client_ca", "{files}/two.crt"),
    ("tls.client_certificate_optional", "true"),
    ("tls.allow_missing_alpn", "true"),
    ("tls.provider", "ring"),
    ("tls.session_cache", "5"),
    ("auth.key", OTHER),
    ("auth.extra_keys", OTHER),
    ("auth.key_files", "{files}/keys/other"),
    ("auth.key_directory", "{files}/keys"),
    ("auth.issuer", "i"),
    ("auth.audience", "a"),
    ("auth.leeway", "5s"),
    ("auth.max_token_size", "5KiB"),
    ("auth.single_use", "true"),
    ("auth.refused_per_second_per_address", "5"),
    ("pairing.timeout", "5s"),
    ("pairing.max_waiting", "5"),
    ("streams.max_message_size", "5KiB"),
    ("streams.initial_window", "256KiB"),
    ("streams.max_window", "5MiB"),
    ("streams.send_buffer", "5KiB"),
    ("streams.max_per_connection", "5"),
    ("streams.idle_timeout", "5s"),
    ("streams.max_duration", "5s"),
    ("streams.linger", "5s"),
    ("streams.max", "5"),
    ("streams.max_per_address", "5"),
    ("streams.new_per_second_per_address", "5"),
    ("streams.bytes_per_second", "5MiB"),
    ("streams.bytes_per_second_per_address", "5MiB"),
    ("streams.stall_timeout", "5s"),
    ("admin.token", "0123456789abcdef0123456789abcdef"),
    ("admin.token_file", "{files}/token"),
    ("admin.read_token", "0123456789abcdef0123456789abcdef"),
    ("admin.read_token_file", "{files}/token"),
    ("memory.limit", "5GiB"),
    ("memory.windows", "5MiB"),
    ("connections.max", "5"),
    ("connections.max_per_address", "5"),
    ("connections.max_header_size", "50KiB"),
    ("connections.tls_handshake_timeout", "5s"),
    ("connections.preface_timeout", "5s"),
    ("connections.first_stream_timeout", "5s"),
    ("connections.idle_timeout", "5s"),
    ("connections.max_age", "5s"),
    ("connections.max_age_grace", "5s"),
    ("connections.keepalive_interval", "5s"),
    ("connections.keepalive_timeout", "5s"),
    ("connections.tcp_user_timeout", "5s"),
    ("connections.write_stall_timeout", "5s"),
    ("connections.operator_config", "{files}/operator"),
    ("drain.lame_duck", "5s"),
    ("drain.timeout", "5s"),
    ("drain.forward_to", "example.com:443"),
    ("drain.forward_timeout", "5s"),
    ("drain.forward_early", "true"),
    ("drain.forward_ca", "{files}/two.crt"),
    ("drain.forward_insecure", "true"),
    ("cluster.servers", "nats://127.0.0.1:1"),
    ("cluster.credentials_file", "{files}/token"),
    ("cluster.ca", "{files}/two.crt"),
    ("cluster.prefix", "p"),
    ("cluster.address", "127.0.0.1:5"),
    ("cluster.advertise", "example.com:5"),
    ("reload.interval", "1s"),
    ("log.format", "text"),
    ("log.filter", "debug"),
    ("runtime.worker_threads", "5"),
];

#[test]
fn keys_do_what_the_table_says() {
    let files = Files::new();
    let before = files.config(&[]);
    let live = live(&before);
    let unchanged = shown(live.prepare(&before));
    for key in keys() {
        let value = OTHER_VALUES.iter().find(|(path, _)| *path == key.path);
        let Some((path, value)) = value else {
            panic!("{}: needs a value in OTHER_VALUES", key.path)
        };
        let after = files.config(&[(path, value)]);
        let changed: Vec<_> = config::changed(&before, &after)
            .map(|key| key.path)
            .collect();
        assert_eq!(changed, [*path]);
        let reaches = shown(live.prepare(&after)) != unchanged;
        assert_eq!(
            reaches || ELSEWHERE.contains(path),
            key.live,
            "{path}: `restart` belongs to it in the table, or not"
        );
    }
}

#[test]
fn a_change_is_in_force_once_it_is_applied() {
    let files = Files::new();
    let live = live(&files.config(&[]));
    let router = live.router().clone();
    let after = files.config(&[
        ("auth.extra_keys", OTHER),
        ("pairing.max_waiting", "0"),
        ("streams.idle_timeout", "5s"),
        ("tls.certificate", "{files}/two.crt"),
        ("tls.key", "{files}/two.key"),
    ]);
    let change = live.prepare(&after).unwrap();
    assert_eq!(router.rules.load().keys.keys().len(), 1, "not yet");
    live.apply(change);
    assert_eq!(router.rules.load().keys.keys().len(), 2);
    let idle = router.settings.load().streams.idle_timeout;
    assert_eq!(idle, Some(Duration::from_secs(5)));
    let replaced = live.tls.as_ref().unwrap().current.replaced();
    assert!(replaced.now_or_never().is_some());
    let metrics = router.metrics.encode();
    assert!(metrics.contains(r#"tokens_accepted_total{key="auth.extra_keys[0]"} 0"#));
}

#[test]
fn new_credentials_reach_the_bus() {
    let files = Files::new();
    let servers = ("cluster.servers", "nats://127.0.0.1:1");
    let before = files.config(&[servers]);
    let live = live(&before);
    let mut bus = live.bus();
    live.apply(live.prepare(&before).unwrap());
    assert!(!bus.has_changed().unwrap(), "nothing is new");
    for (key, value) in [
        ("cluster.credentials_file", "{files}/token"),
        ("cluster.ca", "{files}/two.crt"),
    ] {
        let elsewhere = ("cluster.servers", "nats://127.0.0.1:2");
        let after = files.config(&[elsewhere, (key, value)]);
        live.apply(live.prepare(&after).unwrap());
        assert!(bus.has_changed().unwrap(), "{key}");
        let place = bus.borrow_and_update().clone().unwrap();
        assert_eq!(
            place.servers,
            ["nats://127.0.0.1:1"],
            "that needs a restart"
        );
    }
}

#[test]
fn a_pair_that_does_not_fit_or_cannot_be_read_is_refused() {
    let files = Files::new();
    let live = live(&files.config(&[]));
    for (certificate, said) in [
        ("{files}/two.crt", "do not go together"),
        ("{files}/nowhere.crt", "tls.certificate: cannot read"),
        ("{files}/keys/other", "it is not PEM"),
    ] {
        let wrong = files.config(&[("tls.certificate", certificate)]);
        let error = live.prepare(&wrong).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn authorities_of_client_certificates_are_read_or_refused() {
    let files = Files::new();
    let live = live(&files.config(&[]));
    for (file, said) in [
        ("{files}/nowhere.crt", "tls.client_ca: cannot read"),
        ("{files}/one.key", "no CERTIFICATE, but: PRIVATE KEY"),
        ("{files}/torn.crt", "cut off"),
        (
            "{files}/wrong.crt",
            "cannot be used as the authorities of client certificates",
        ),
    ] {
        let whole = std::fs::read_to_string(files.path("one.crt")).unwrap();
        std::fs::write(files.path("torn.crt"), &whole[..whole.len() / 2]).unwrap();
        let wrong = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        std::fs::write(files.path("wrong.crt"), wrong).unwrap();
        let config = files.config(&[("tls.client_ca", file)]);
        let error = live.prepare(&config).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let required = [("tls.client_ca", "{files}/one.crt")];
    let change = live.prepare(&files.config(&required)).unwrap();
    live.apply(change);
    let again = live.prepare(&files.config(&required)).unwrap();
    assert!(again.tls.is_none(), "nothing has changed");
    let optional = [required[0], ("tls.client_certificate_optional", "true")];
    let optional = live.prepare(&files.config(&optional)).unwrap();
    assert!(optional.tls.is_some());
}

#[test]
fn a_self_signed_certificate_stays_until_another_is_given() {
    let files = Files::new();
    let without = files.config(&[("tls.certificate", ""), ("tls.key", "")]);
    let live = live(&without);
    assert!(live.prepare(&without).unwrap().tls.is_none());
    let given = live.prepare(&files.config(&[])).unwrap();
    assert!(matches!(given.tls, Some((_, false))));
    live.apply(given);
    let back = live.prepare(&without).unwrap();
    assert!(matches!(back.tls, Some((_, true))));
    live.apply(back);
    assert!(live.prepare(&without).unwrap().tls.is_none());
}
