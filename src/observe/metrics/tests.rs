#![allow(clippy::unwrap_used)]
#![allow(clippy::float_cmp, reason = "counts of this size are exact")]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::UNIX_EPOCH,
};

use super::*;
use crate::{auth::Refusal, splice::ending::Ending};

fn metrics() -> Metrics {
    let metrics = Metrics::new(&["idle", "finished", "idle"], &["limit", "draining"]);
    metrics.set_build_info("1.2.3", "abc", "aws_lc_rs");
    metrics
}

fn is_name(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && text.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Checks every line and returns all series with their values.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let body = text.strip_suffix("# EOF\n").expect("an end mark");
    let mut types = HashMap::new();
    let mut series = BTreeMap::new();
    let mut family = String::new();
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let (kind, rest) = comment.split_once(' ').unwrap();
            let (name, value) = rest.split_once(' ').unwrap();
            assert!(is_name(name) && !value.is_empty(), "{line}");
            match kind {
                "HELP" => assert!(value.ends_with('.') && !value.ends_with(".."), "{line}"),
                "TYPE" => {
                    assert!(["counter", "gauge", "histogram"].contains(&value), "{line}");
                    assert!(types.insert(name.to_owned(), value.to_owned()).is_none());
                    name.clone_into(&mut family);
                }
                "UNIT" => assert!(name.ends_with(&format!("_{value}")), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
        for label in labels
            .strip_suffix('}')
            .unwrap()
            .split(',')
            .filter(|l| !l.is_empty())
        {
            let (label, value) = label.split_once('=').unwrap();
            assert!(is_name(label), "{line}");
            assert!(
                value.len() > 2 && value.starts_with('"') && value.ends_with('"'),
                "{line}"
            );
        }
        let suffix = name
            .strip_prefix(&family)
            .expect("series of the family before");
        let suffixes: &[&str] = match types[&family].as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            _ => &["_bucket", "_sum", "_count"],
        };
        assert!(suffixes.contains(&suffix), "{line}");
        assert!(
            series
                .insert(key.to_owned(), value.parse().unwrap())
                .is_none(),
            "{line}"
        );
    }
    series
}

#[test]
fn every_series_is_there_from_the_start() {
    let series = parse(&metrics().encode());
    let expected = [
        "connections_open",
        r#"connections_total{result="accepted"}"#,
        r#"connections_total{result="refused_limit"}"#,
        r#"connections_total{result="refused_address_limit"}"#,
        r#"connections_total{result="refused_proxy_header"}"#,
        r#"credit_held_back_total{limit="stream"}"#,
        r#"tls_handshakes_total{result="ok"}"#,
        r#"tls_handshakes_total{result="no_alpn"}"#,
        r#"connections_closed_total{reason="not_http2"}"#,
        r#"connections_closed_total{reason="panicked"}"#,
        "streams_waiting",
        "streams_paired",
        "streams_total",
        "pairs_total",
        "forwarded_bytes_total",
        "forwarded_messages_total",
        "pairing_wait_seconds_count",
        "stream_duration_seconds_count",
        r#"stream_duration_seconds_bucket{le="259200.0"}"#,
        "stream_bytes_count",
        r#"stream_bytes_bucket{le="107374182400.0"}"#,
        r#"stream_ends_total{reason="idle"}"#,
        r#"stream_ends_total{reason="other"}"#,
        r#"stream_refusals_total{cause="draining"}"#,
        r#"stream_refusals_total{cause="other"}"#,
        "panics_total",
        r#"admin_actions_total{action="end_stream"}"#,
        r#"admin_refusals_total{cause="content_type"}"#,
        "draining",
        r#"reloads_total{result="ok"}"#,
        r#"reloads_total{result="failed"}"#,
        "last_reload_successful",
        "last_reload_success_timestamp_seconds",
        "restart_needed",
        "certificate_expiry_timestamp_seconds",
    ];
    for name in expected {
        let name = format!("{PREFIX}_{name}");
        assert_eq!(series.get(&name), Some(&0.0), "{name}");
    }
    let build = r#"build_info{version="1.2.3",commit="abc",tls_provider="aws_lc_rs"}"#;
    assert_eq!(series[&format!("{PREFIX}_{build}")], 1.0);
    let ours = series.iter().filter(|(name, _)| name.starts_with(PREFIX));
    assert!(
        ours.filter(|(name, _)| !name.contains("build_info"))
            .all(|(_, value)| *value == 0.0)
    );
    if cfg!(target_os = "linux") {
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
        ] {
            assert!(series[name] >= 0.0);
        }
    }
}

#[test]
fn nothing_that_happens_adds_a_series() {
    let metrics = metrics();
    let before: Vec<_> = parse(&metrics.encode()).into_keys().collect();
    for n in 0..100 {
        metrics.stream_ends.inc(&format!("made up {n}"));
        metrics.stream_refusals.inc(&format!("\"}}\n{n}"));
    }
    for end in ConnectionEnd::ALL {
        metrics.connections_closed.inc(*end);
    }
    metrics.set_build_info("1.2.3", "abc", "aws_lc_rs");
    let after = parse(&metrics.encode());
    assert_eq!(after.keys().cloned().collect::<Vec<_>>(), before);
    assert_eq!(
        after[r#"jumpstarter_router_stream_ends_total{reason="other"}"#],
        100.0
    );
}

#[test]
fn counts_arrive_under_their_names() {
    let metrics = metrics();
    metrics.connections_closed.inc(ConnectionEnd::WriteStalled);
    metrics.tls_handshakes.inc(TlsHandshake::Plaintext);
    metrics.connections.inc(ConnectionAccept::RefusedLimit);
    metrics.stream_ends.inc("finished");
    metrics.stream_refusals.get("limit").inc_by(2);
    metrics.stream_refusals.inc("unheard of");
    assert_eq!(metrics.stream_refusals.sum(), 3);
    metrics.forwarded_bytes.inc_by(1 << 40);
    metrics.observe_pairing_wait(Duration::from_millis(3));
    metrics.observe_stream(Duration::from_secs(7200), 5 << 30);
    metrics.set_lame_duck(UNIX_EPOCH + Duration::from_secs(7));
    metrics.set_draining(UNIX_EPOCH + Duration::from_secs(8));
    let held = Held::new(&metrics.connections_open);
    let series = parse(&metrics.encode());
    drop(held);
    for (name, value) in [
        (r#"connections_closed_total{reason="write_stalled"}"#, 1.0),
        (r#"tls_handshakes_total{result="plaintext"}"#, 1.0),
        (r#"connections_total{result="refused_limit"}"#, 1.0),
        (r#"stream_ends_total{reason="finished"}"#, 1.0),
        (r#"stream_refusals_total{cause="limit"}"#, 2.0),
        ("forwarded_bytes_total", 1_099_511_627_776.0),
        (r#"pairing_wait_seconds_bucket{le="0.001"}"#, 0.0),
        (r#"pairing_wait_seconds_bucket{le="0.005"}"#, 1.0),
        (r#"stream_duration_seconds_bucket{le="10800.0"}"#, 1.0),
        ("stream_bytes_sum", 5_368_709_120.0),
        ("lame_duck", 0.0),
        ("draining", 1.0),
        ("drain_deadline_timestamp_seconds", 8.0),
        ("connections_open", 1.0),
    ] {
        assert_eq!(series[&format!("{PREFIX}_{name}")], value, "{name}");
    }
    assert_eq!(metrics.connections_open.get(), 0);
    assert_eq!(
        metrics
            .connections_closed
            .count(ConnectionEnd::WriteStalled),
        1
    );
}

#[test]
fn keys_come_and_go() {
    let metrics = metrics();
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let shown = |key: &str| {
        let series = parse(&metrics.encode());
        let value = |name: &str| {
            let name = format!("{PREFIX}_{name}{{key=\"{key}\"}}");
            series.get(&name).copied()
        };
        let count = value("tokens_accepted_total")?;
        Some((count, value("token_key_last_accepted_timestamp_seconds")?))
    };
    metrics
        .token_keys
        .set(["auth.key", "/keys/old", "/keys/old"]);
    metrics.token_keys.accepted("/keys/old", at(5));
    metrics.token_keys.accepted("/keys/old", at(7));
    metrics.token_keys.accepted("/keys/new", at(8));
    assert_eq!(shown("auth.key"), Some((0.0, 0.0)));
    assert_eq!(shown("/keys/old"), Some((2.0, 7.0)));
    assert_eq!(shown("/keys/new"), None);

    metrics.token_keys.set(["/keys/old", "/keys/new"]);
    assert_eq!(shown("auth.key"), None);
    assert_eq!(shown("/keys/old"), Some((2.0, 7.0)), "kept");
    assert_eq!(shown("/keys/new"), Some((0.0, 0.0)));
}

#[test]
fn reloads_are_counted_and_the_last_one_shown() {
    let metrics = metrics();
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let shown = || {
        let series = parse(&metrics.encode());
        [
            r#"reloads_total{result="ok"}"#,
            r#"reloads_total{result="failed"}"#,
            "last_reload_successful",
            "last_reload_success_timestamp_seconds",
        ]
        .map(|name| series[&format!("{PREFIX}_{name}")])
    };
    metrics.started(at(10));
    assert_eq!(shown(), [0.0, 0.0, 1.0, 10.0]);
    metrics.count_reload(Reload::Failed, at(20));
    assert_eq!(shown(), [0.0, 1.0, 0.0, 10.0]);
    metrics.count_reload(Reload::Ok, at(30));
    assert_eq!(shown(), [1.0, 1.0, 1.0, 30.0]);
}

/// The values of a label that the page explains in the table under the metric's heading.
fn explained<'p>(page: &'p str, metric: &str) -> BTreeSet<&'p str> {
    let heading = format!("\n### {PREFIX}_{metric}_total\n");
    let (_, rest) = page.split_once(&heading).expect("a heading");
    let rows = rest.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_cause_is_explained_and_no_other() {
    let page = include_str!("../../../docs/metrics.md");
    let reasons = Ending::REASONS.iter().copied().chain([ByName::OTHER]);
    assert_eq!(explained(page, "stream_ends"), reasons.collect());
    let refusals = explained(page, "stream_refusals");
    for cause in Refusal::CAUSES {
        assert!(refusals.contains(cause), "{cause}");
    }
    // The page of limits names those that are limits.
    let limits = include_str!("../../../docs/limits.md");
    for (label, known) in [
        ("stream_ends_total{reason=", explained(page, "stream_ends")),
        ("stream_refusals_total{cause=", refusals),
    ] {
        for counted in limits.split(label).skip(1) {
            let value = counted.split('"').nth(1).unwrap();
            assert!(known.contains(value), "{value}");
        }
    }
}

#[test]
fn both_formats_say_the_same() {
    let metrics = metrics();
    metrics.pairs.inc();
    let series = |text: &str| -> Vec<String> {
        let series = text.lines().filter(|line| !line.starts_with('#'));
        // Between two scrapes the process goes on.
        let series = series.filter(|line| !line.starts_with("process_"));
        series.map(ToOwned::to_owned).collect()
    };
    let plain = metrics.encode_as(Format::Prometheus);
    assert_eq!(
        series(&plain),
        series(&metrics.encode_as(Format::OpenMetrics))
    );
    // Each comment is about the series that follow, under the name that Prometheus gives them.
    let mut kinds = std::collections::BTreeMap::new();
    for line in plain.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            kinds.insert(name, kind);
        } else if let Some(rest) = line.strip_prefix("# ") {
            assert!(rest.starts_with("HELP "), "{line}");
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            let mut base = ["_bucket", "_sum", "_count"].iter();
            let base = base
                .find_map(|suffix| name.strip_suffix(suffix))
                .filter(|n| kinds.contains_key(n));
            assert!(kinds.contains_key(base.unwrap_or(name)), "{line}");
        }
    }
}
