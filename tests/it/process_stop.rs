//! How the program stops: what streams are told, the exit code, and what the log says.

use std::time::{Duration, Instant, SystemTime};

use crate::helpers::{
    KEY, Pair, call, last_words,
    process::{Process, usual},
    token, within,
};
use jumpstarter_router::{
    client::{Connector, Trust},
    inside::auth::{Claims, mint},
};
use serde_json::Value;
use tonic::Code;

fn connector(process: &mut Process) -> Connector {
    Connector::new(&process.address(), Trust::Insecure).unwrap()
}

async fn stops_in_order(signal: &str) {
    let mut process = Process::start(usual(&[("drain.timeout", "2s")]));
    let connector = connector(&mut process);
    let mut pair = Pair::open(&connector, "paired").await;
    pair.ping_pong().await;
    let channel = connector.channel().await.unwrap();
    let waiting = tokio::spawn(async move { call(channel, &token("waiting"), vec![]).await });
    // Nothing says from outside that a stream waits, and a drain refuses it with the same status.
    tokio::time::sleep(Duration::from_millis(300)).await;

    process.signal(signal);
    let signalled = Instant::now();
    let line = process.line("draining for at most 2s");
    assert_eq!(line["signal"], format!("SIG{signal}"));
    let waited = match within("the waiting stream", waiting).await.unwrap() {
        Ok(mut call) => last_words(&mut call).await.1,
        Err(status) => status.code(),
    };
    assert_eq!(waited, Code::Unavailable);
    // The pair goes on until the deadline.
    pair.ping_pong().await;
    for call in [&mut pair.one, &mut pair.other] {
        let (told, code, message) = last_words(call).await;
        assert!(told, "a GOAWAY frame first");
        assert_eq!(code, Code::Unavailable, "{message}");
        assert!(message.contains("shutting down"), "{message}");
    }
    assert!(signalled.elapsed() >= Duration::from_millis(1900));
    drop(pair);
    let ended = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(
        ended.lines.last().unwrap().contains("\"stopped\""),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_tells_everyone_and_exits_with_0() {
    stops_in_order("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_does_the_same() {
    stops_in_order("INT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nobody_there_it_stops_at_once() {
    let mut process = Process::start(usual(&[("drain.timeout", "10m")]));
    process.address();
    process.signal("TERM");
    let ended = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let mut process = Process::start(usual(&[("drain.timeout", "10m")]));
    let connector = connector(&mut process);
    let mut pair = Pair::open(&connector, "paired").await;
    process.signal("TERM");
    process.line("draining");
    pair.ping_pong().await;
    assert!(process.is_running());
    process.signal("INT");
    let ended = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    assert_eq!(ended.code(), Some(1));
    assert!(
        ended
            .lines
            .iter()
            .any(|line| line.contains("second signal"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_follows_its_schema_and_keeps_secrets() {
    let mut process = Process::start(usual(&[("log.filter", "debug")]));
    let connector = connector(&mut process);

    // A good pair, with 3 messages there and 3 back.
    let mut pair = Pair::open(&connector, "lease-1234").await;
    for _ in 0..3 {
        pair.ping_pong().await;
    }
    drop(pair);
    for _ in 0..2 {
        let end = process.line("stream ended");
        assert_eq!(end["stream"], "lease-1234");
        for name in ["peer", "other_peer"] {
            assert_eq!(end[name], "127.0.0.1", "{end}");
        }
        for name in ["messages_in", "messages_out"] {
            assert_eq!(end[name], 3, "{end}");
        }
        for name in ["bytes_in", "bytes_out"] {
            assert_eq!(end[name], 3 * (5 + 2 + 9), "{end}");
        }
        for name in ["reason", "ended_by", "status"] {
            assert!(!end[name].as_str().unwrap().is_empty(), "{end}");
        }
        for name in ["waited_ms", "duration_ms"] {
            assert!(end[name].is_u64(), "{end}");
        }
    }

    // The controller's clock is 90 seconds ahead.
    let claims = Claims::new("skewed", SystemTime::now() + Duration::from_secs(90));
    let skewed = mint(KEY.as_bytes(), &claims);
    let channel = connector.channel().await.unwrap();
    let status = within("a refusal", call(channel.clone(), &skewed, vec![])).await;
    assert_eq!(status.unwrap_err().code(), Code::Unauthenticated);
    let refused = process.line("router authentication failed");
    let error = refused["error"].as_str().unwrap();
    let by_how_much = error.contains("another 8") || error.contains("another 90");
    assert!(by_how_much, "{error}");

    let forged = mint(b"another key of at least 32 bytes!", &claims);
    let status = within("a refusal", call(channel, &forged, vec![])).await;
    assert_eq!(status.unwrap_err().code(), Code::Unauthenticated);
    let refused = process.line("router authentication failed");
    assert_eq!(refused["cause"], "signature");

    process.signal("TERM");
    let ended = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    let secrets = [KEY, &skewed, &forged, skewed.rsplit('.').next().unwrap()];
    for line in &ended.lines {
        let fields: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("JSON: {line}"));
        for name in ["ts", "level", "msg", "component"] {
            assert!(fields[name].is_string(), "{name} in {line}");
        }
        assert_eq!(fields["component"], "router");
        let levels = ["debug", "info", "warning", "error", "critical"];
        assert!(
            levels.contains(&fields["level"].as_str().unwrap()),
            "{line}"
        );
        let time = humantime::parse_rfc3339(fields["ts"].as_str().unwrap());
        assert!(time.unwrap() <= SystemTime::now());
        for secret in secrets {
            assert!(!line.contains(secret), "a secret in {line}");
        }
    }
}
