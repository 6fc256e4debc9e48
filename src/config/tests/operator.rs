//! What the operator's file says, and what is said otherwise.

use std::time::Duration;

use super::{KEY, env, write};
use crate::config::{Loaded, Origin, Problems, Sources, keys, load};

const FILE: &str = "JUMPSTARTER_ROUTER_CONNECTIONS_OPERATOR_CONFIG";

/// Loads with an operator's file of this text, and more variables.
fn with(text: &str, more: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let directory = tempfile::tempdir().unwrap();
    let file = write(&directory, "config", text);
    let own = [("ROUTER_KEY", KEY), (FILE, file.to_str().unwrap())];
    load(&Sources {
        env: env(&[&own, more].concat()),
        ..Sources::default()
    })
}

fn problem(text: &str) -> String {
    with(text, &[]).unwrap_err().to_string()
}

/// As the operator writes it, with all that it may hold today.
const WHOLE: &str = r#"
authentication:
  internal: {prefix: "internal:", tokenLifetime: 43800h0m0s}
  jwt:
    - issuer: {url: "https://dex", audiences: [jumpstarter]}
      claimMappings: {username: {claim: name, prefix: ""}}
provisioning: {enabled: false}
grpc:
  keepalive:
    minTime: 1s
    permitWithoutStream: true
    timeout: 3m0s
    intervalTime: 10s
    maxConnectionIdle: 1h0m0s
    maxConnectionAge: 24h
    maxConnectionAgeGrace: 1.5m
    somethingNew: {x: [1]}
  somethingNewer: 7
telemetry:
leasePolicy: {maxTags: 3}
"#;

#[test]
fn keepalive_settings_become_ours() {
    let loaded = with(WHOLE, &[]).unwrap();
    let connections = &loaded.config.connections;
    let seconds = Duration::from_secs;
    assert_eq!(connections.keepalive_timeout, seconds(180));
    assert_eq!(connections.tcp_user_timeout, seconds(180));
    assert_eq!(connections.keepalive_interval, seconds(10));
    assert_eq!(connections.idle_timeout, Some(seconds(3600)));
    assert_eq!(connections.max_age, Some(seconds(86_400)));
    assert_eq!(connections.max_age_grace, Some(seconds(90)));
    let origin = loaded.origins.of("connections.max_age").to_string();
    assert!(
        origin.ends_with("/config: grpc.keepalive.maxConnectionAge"),
        "{origin}"
    );
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn what_is_set_otherwise_wins() {
    let variable = "JUMPSTARTER_ROUTER_CONNECTIONS_KEEPALIVE_TIMEOUT";
    let loaded = with(WHOLE, &[(variable, "7s")]).unwrap();
    let connections = &loaded.config.connections;
    assert_eq!(connections.keepalive_timeout, Duration::from_secs(7));
    let of = |key| loaded.origins.of(key);
    assert_eq!(
        *of("connections.keepalive_timeout"),
        Origin::Env(variable.to_owned())
    );
    let rest = of("connections.tcp_user_timeout");
    assert!(matches!(rest, Origin::Operator { .. }), "{rest:?}");
    // Our default, said aloud, is no gap to be filled.
    let variable = "JUMPSTARTER_ROUTER_CONNECTIONS_MAX_AGE";
    let loaded = with(WHOLE, &[(variable, "0s")]).unwrap();
    assert_eq!(loaded.config.connections.max_age, None);
}

#[test]
fn nothing_and_zero_leave_the_defaults() {
    let defaults = with("", &[]).unwrap().config;
    for text in [
        "{}",
        "grpc:",
        "grpc: {}",
        "grpc: {keepalive: }",
        "grpc: {keepalive: {}}",
        "grpc: {keepalive: {minTime: 1s, permitWithoutStream: true}}",
        "grpc: {keepalive: {timeout: \"\", intervalTime: 0s, maxConnectionAge: \"0\"}}",
        "# nothing but a comment\n",
        "router: {default: {endpoint: \"x:443\"}}",
    ] {
        let mut config = with(text, &[]).unwrap().config;
        config.connections.operator_config = defaults.connections.operator_config.clone();
        assert_eq!(config, defaults, "{text}");
    }
    // gRPC pings once a second at most.
    let text = "grpc: {keepalive: {intervalTime: 5ms}}";
    let interval = with(text, &[])
        .unwrap()
        .config
        .connections
        .keepalive_interval;
    assert_eq!(interval, Duration::from_secs(1));
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (keepalive, said) in [
        (
            "timeout: 20",
            "config: grpc.keepalive.timeout: found \"20\", expected a duration as in Go, such as \"10s\" or \
             \"1m30s\" (the unit is missing)",
        ),
        (
            "minTime: soon",
            "config: grpc.keepalive.minTime: found \"soon\", expected a duration",
        ),
        (
            "maxConnectionAge: -5s",
            "config: grpc.keepalive.maxConnectionAge: found \"-5s\"",
        ),
        (
            "maxConnectionIdle: 2500000h",
            "config: grpc.keepalive.maxConnectionIdle: connections.idle_timeout: found ",
        ),
        (
            "timeout: 1ns",
            "config: grpc.keepalive.timeout: connections.keepalive_timeout: found 1ns, expected at least 1ms",
        ),
    ] {
        let text = problem(&format!("grpc:\n  keepalive:\n    {keepalive}\n"));
        let first = text.lines().next().unwrap();
        assert!(first.contains(said), "{said}\n{text}");
    }
    for text in [
        "grpc: [",
        "grpc: 7",
        "grpc: {keepalive: {permitWithoutStream: perhaps}}",
        "grpc: {keepalive: {timeout: {s: 1}}}",
        "- a list",
        "\u{0}",
    ] {
        let text = problem(text);
        assert!(
            text.contains("config is not what the operator writes") && text.lines().count() == 1,
            "{text}"
        );
        assert!(text.starts_with(&format!("environment {FILE}: ")), "{text}");
    }
    let missing = load(&Sources {
        env: env(&[("ROUTER_KEY", KEY), (FILE, "/nonexistent/config")]),
        ..Sources::default()
    });
    let missing = missing.unwrap_err().to_string();
    assert!(
        missing.contains("/nonexistent/config cannot be read"),
        "{missing}"
    );
}

#[test]
fn only_keys_that_exist_are_set() {
    let paths: Vec<_> = keys().map(|key| key.path).collect();
    let loaded = with(WHOLE, &[]).unwrap();
    let set = |path: &&&str| matches!(loaded.origins.of(path), Origin::Operator { .. });
    assert_eq!(paths.iter().filter(set).count(), 6);
}
