#![allow(clippy::unwrap_used)]

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use serde_json::{Map, Value};
use tracing::{debug, error, info, info_span, subscriber::with_default, trace, warn};

use super::*;
use crate::{
    common::text::{self, tests::assert_harmless},
    observe::{names::Names, record::StreamRecord},
};

const HOSTILE: &str = "a\nlevel=error \"x\" \\ \r\t\u{1b}[31m\u{0}\u{9b}\u{202e}\u{2028}é";

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(str::to_owned).collect()
    }
}

fn capture(format: LogFormat, filter: &str, act: impl FnOnce(&LogHandle)) -> Vec<String> {
    let memory = Memory::default();
    let writer = memory.clone();
    let (subscriber, handle) = build(plain(format), filter, move || writer.clone()).unwrap();
    with_default(subscriber, || act(&handle));
    memory.lines()
}

fn plain(format: LogFormat) -> Line {
    Line {
        style: style(format),
        priorities: false,
        thinner: None,
    }
}

/// Parses a line, checks it against the shared schema and returns it.
fn object(line: &str) -> Map<String, Value> {
    assert!(!line.chars().any(char::is_control), "{line:?}");
    let Value::Object(object) = serde_json::from_str(line).unwrap() else {
        panic!("not an object: {line}");
    };
    let text = |name: &str| object[name].as_str().unwrap();
    let ts = text("ts");
    assert_eq!(ts.len(), "2026-07-01T10:15:30.123456Z".len());
    assert!(ts.ends_with('Z') && humantime::parse_rfc3339(ts).is_ok());
    assert!(["debug", "info", "warning", "error"].contains(&text("level")));
    assert_eq!(text("component"), "router");
    assert!(object["msg"].is_string());
    object
}

#[test]
fn json_keeps_types_and_levels() {
    let lines = capture(LogFormat::Json, "trace", |_| {
        info!(
            whole = 3_u64,
            minus = -2,
            part = 1.5,
            yes = true,
            word = "x",
            "all {}",
            "kinds"
        );
        info!(big = u64::MAX, odd = f64::NAN, huge = 1e300, shown = %"d", none = None::<u64>);
        warn!("w");
        error!("e");
        debug!("d");
        trace!("t");
    });
    let first = object(&lines[0]);
    assert_eq!(first["msg"], "all kinds");
    assert_eq!(first["whole"], 3);
    assert_eq!(first["minus"], -2);
    assert_eq!(first["part"], 1.5);
    assert_eq!(first["yes"], true);
    assert_eq!(first["word"], "x");
    assert_eq!(first.len(), 9);
    let second = object(&lines[1]);
    assert_eq!(second["msg"], "");
    assert_eq!(second["big"], u64::MAX);
    assert_eq!(second["odd"], "NaN");
    assert_eq!(second["huge"], 1e300);
    assert_eq!(second["shown"], "d");
    assert!(!second.contains_key("none"));
    let levels: Vec<_> = lines[2..]
        .iter()
        .map(|line| object(line)["level"].clone())
        .collect();
    assert_eq!(levels, ["warning", "error", "debug", "debug"]);
}

#[test]
fn hostile_values_stay_in_their_line() {
    let act = |_: &LogHandle| {
        let span = info_span!("s", stream = HOSTILE);
        let _entered = span.enter();
        info!(value = HOSTILE, shown = %HOSTILE, debugged = ?HOSTILE, "{HOSTILE}");
    };
    let lines = capture(LogFormat::Json, "info", act);
    assert_eq!(lines.len(), 1);
    let line = object(&lines[0]);
    for name in ["msg", "value", "shown", "stream"] {
        assert_eq!(line[name], HOSTILE, "{name}");
    }
    assert!(!lines[0].contains('\u{202e}'));

    let lines = capture(LogFormat::Text, "info", act);
    assert_eq!(lines.len(), 1);
    let all_kinds = |_: &LogHandle| info!(value = text::tests::HOSTILE, "{}", text::tests::HOSTILE);
    for format in [LogFormat::Json, LogFormat::Text] {
        assert_harmless(&capture(format, "info", all_kinds)[0]);
    }
    assert!(!lines[0].chars().any(char::is_control));
    assert!(lines[0].contains(r#"stream="a\nlevel=error \"x\" \\ \r\t\u001b[31m"#));
}

#[test]
fn spans_add_fields_and_inner_ones_win() {
    let lines = capture(LogFormat::Json, "info", |_| {
        let outer = info_span!(
            "outer",
            peer = "192.0.2.1",
            n = 1,
            late = tracing::field::Empty
        );
        let _outer = outer.enter();
        let inner = info_span!("inner", n = 2, stream = "s");
        let _inner = inner.enter();
        outer.record("late", 7);
        outer.record("late", 8);
        info!(stream = "of the event", level = "critical", ts = 0, "x");
    });
    let line = object(&lines[0]);
    assert_eq!(line["peer"], "192.0.2.1");
    assert_eq!(line["n"], 2);
    assert_eq!(line["late"], 8);
    assert_eq!(line["stream"], "of the event");
    assert_eq!(line["level"], "info");
    assert_eq!(line["level_"], "critical");
    assert_eq!(line["ts_"], 0);
    for name in ["stream", "n", "late"] {
        assert_eq!(lines[0].matches(&format!("\"{name}\":")).count(), 1);
    }
    assert!(lines[0].starts_with("{\"ts\":\""));
}

#[test]
fn text_is_short_and_plain() {
    let lines = capture(LogFormat::Text, "info", |_| {
        let _span = info_span!("s", stream = "a b").entered();
        warn!(peer = "192.0.2.1", n = 1, empty = "", "hello there");
    });
    let (time, rest) = lines[0].split_once(' ').unwrap();
    assert!(humantime::parse_rfc3339(time).is_ok());
    let expected = r#"warning hello there peer=192.0.2.1 n=1 empty="" stream="a b""#;
    assert_eq!(rest, expected);
}

#[test]
fn errors_show_their_causes() {
    let inner = io::Error::other("inner");
    let error = io::Error::other(anyhow::Error::new(inner).context("outer"));
    let lines = capture(LogFormat::Json, "info", |_| {
        error!(
            error = &error as &(dyn std::error::Error + 'static),
            "failed"
        );
    });
    let shown = object(&lines[0])["error"].as_str().unwrap().to_owned();
    assert!(
        shown.starts_with("outer: ") && shown.ends_with("inner"),
        "{shown}"
    );
}

#[test]
fn libraries_are_named_and_quiet() {
    let speak = |_: &LogHandle| {
        info!(target: "h2::codec", "chatter");
        warn!(target: "h2::codec", "trouble");
    };
    for filter in ["info", "", "debug,jumpstarter_router=trace"] {
        let lines = capture(LogFormat::Json, filter, speak);
        assert_eq!(lines.len(), 1, "{filter}");
        assert_eq!(object(&lines[0])["logger"], "h2::codec");
    }
    for filter in ["info,h2=info", "warn,h2::codec=debug"] {
        assert_eq!(capture(LogFormat::Json, filter, speak).len(), 2, "{filter}");
    }
    assert!(capture(LogFormat::Json, "error", speak).is_empty());
    assert!(capture(LogFormat::Json, "off", speak).is_empty());
}

#[test]
fn the_filter_changes_live() {
    let lines = capture(LogFormat::Json, "info", |handle| {
        debug!("hidden");
        handle.set_filter("debug").unwrap();
        debug!("shown");
        assert!(handle.set_filter("inof").is_err());
        assert!(handle.set_filter("jumpstarter_router=loud").is_err());
        debug!("still shown");
        handle.set_filter("warn").unwrap();
        info!("hidden again");
        assert_eq!(handle.filter().unwrap(), "warn");
    });
    let messages: Vec<_> = lines
        .iter()
        .map(|line| object(line)["msg"].clone())
        .collect();
    assert_eq!(messages, ["shown", "still shown"]);
}

#[test]
fn bad_filters_name_the_part() {
    let Err(error) = build(plain(LogFormat::Json), "info,verbos", io::sink) else {
        panic!("accepted");
    };
    assert!(error.to_string().contains("\"verbos\""), "{error}");
}

fn record() -> StreamRecord {
    StreamRecord {
        id: 7,
        stream: HOSTILE.into(),
        names: Some(Arc::new(Names {
            client: Some("c".into()),
            exporter: Some(HOSTILE.into()),
            lease: Some("l".into()),
        })),
        peer: "::ffff:192.0.2.1".parse().unwrap(),
        certificate: None,
        other_peer: Some("2001:db8::1".parse().unwrap()),
        other_router: Some(("0123456789ab".to_owned(), "r:8084".to_owned())),
        bytes_in: 1,
        bytes_out: 1 << 40,
        messages_in: 2,
        messages_out: 3,
        waited: Duration::from_micros(12_900),
        duration: Duration::from_secs(5),
        ended_by: "other side",
        reason: "finished",
        status: "OK",
        detail: Some("\"}\n".to_owned()),
    }
}

#[test]
fn a_stream_record_has_all_fields() {
    let mut record = record();
    let lines = capture(LogFormat::Json, "info", |_| {
        record.log();
        record.other_peer = None;
        record.other_router = None;
        record.detail = None;
        record.names = None;
        record.log();
    });
    let mut first = object(&lines[0]);
    first.remove("ts");
    let expected = serde_json::json!({
        "level": "info", "msg": "stream ended", "component": "router", "id": 7, "stream": HOSTILE,
        "client": "c", "exporter": HOSTILE, "lease": "l", "peer": "192.0.2.1", "other_peer": "2001:db8::1",
        "other_router": "0123456789ab", "other_router_address": "r:8084", "bytes_in": 1,
        "bytes_out": 1_u64 << 40, "messages_in": 2, "messages_out": 3, "waited_ms": 12,
        "duration_ms": 5000, "ended_by": "other side", "reason": "finished", "status": "OK",
        "detail": "\"}\n",
    });
    assert_eq!(Value::Object(first), expected);
    let second = object(&lines[1]);
    for missing in [
        "other_peer",
        "other_router",
        "other_router_address",
        "detail",
        "client",
        "exporter",
        "lease",
    ] {
        assert!(!second.contains_key(missing), "{missing}");
    }
}

/// Lines with priorities, thinned, and how many were left out.
fn capture_all(filter: &str, act: impl FnOnce()) -> (Vec<String>, u64) {
    let (memory, left_out) = (Memory::default(), Counter::default());
    let writer = memory.clone();
    let line = Line {
        style: Style::Json,
        priorities: true,
        thinner: Some(SharedThinner::new(left_out.clone())),
    };
    let (subscriber, _) = build(line, filter, move || writer.clone()).unwrap();
    with_default(subscriber, act);
    (memory.lines(), left_out.get())
}

#[test]
fn the_journal_gets_priorities() {
    let (lines, _) = capture_all("trace", || {
        error!("e");
        warn!("w");
        info!("i");
        debug!("d");
        trace!("t");
    });
    let starts: Vec<_> = lines.iter().map(|line| &line[..4]).collect();
    assert_eq!(starts, ["<3>{", "<4>{", "<6>{", "<7>{", "<7>{"]);
}

#[test]
fn what_one_address_repeats_is_thinned_and_nothing_else_is() {
    let refuse = |peer: &str| info!(%peer, "refused");
    let (lines, left_out) = capture_all("debug", || {
        for port in 0..300_u16 {
            refuse("192.0.2.1");
            refuse(&format!("2001:db8::{port:x}"));
            info!(remote = format!("[2001:db8:0:1::1]:{port}"), "asked");
            info!(target: "library", "without an address");
            debug!(peer = "192.0.2.1", "asked for");
        }
        refuse("192.0.2.2");
    });
    let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!(count("asked for"), 300);
    assert_eq!(count("\"msg\":\"refused\""), 201);
    assert_eq!(count("192.0.2.2"), 1);
    assert_eq!(count("\"msg\":\"asked\""), 100);
    assert_eq!(count("without an address"), 100);
    assert_eq!(left_out, 4 * 200);
}

#[test]
fn a_thinned_line_says_how_many_were_left_out() {
    let refuse = || info!(peer = "192.0.2.1", "refused");
    let (lines, left_out) = capture_all("info", || {
        (0..150).for_each(|_| refuse());
        std::thread::sleep(Duration::from_millis(1_050));
        refuse();
    });
    assert_eq!((lines.len(), left_out), (101, 50));
    assert!(lines[..100].iter().all(|line| !line.contains("left_out")));
    assert!(lines[100].contains("\"left_out\":50"), "{}", lines[100]);
}

#[test]
fn records_of_streams_are_thinned_only_far_beyond_what_stock_peers_do() {
    let mut record = record();
    let (lines, left_out) = capture_all("info", || {
        for id in 0..10_100 {
            record.id = id;
            record.log();
        }
    });
    // Some may be earned meanwhile, at ten a second.
    assert!((10_000..10_050).contains(&lines.len()), "{}", lines.len());
    assert_eq!(lines.len() as u64 + left_out, 10_100);
}

#[test]
fn a_panic_goes_to_the_log() {
    let (lines, _) = capture_all("error", || {
        let before = panic::take_hook();
        panic::set_hook(Box::new(panics::tell));
        let panicked = panic::catch_unwind(|| panic!("on purpose, {}", 1));
        panic::set_hook(before);
        panicked.unwrap_err();
    });
    let line = object(lines[0].strip_prefix("<3>").unwrap());
    assert_eq!(line["panic"], "on purpose, 1");
    assert!(line["place"].as_str().unwrap().contains("tests.rs:"));
    assert!(line["msg"].as_str().unwrap().contains("panicked"));
}

#[test]
fn records_of_the_log_crate_keep_only_their_origin() {
    let lines = capture(LogFormat::Json, "info", |_| {
        info!(target: "log", { log.target = "rustls::x", log.file = "f", log.line = 1_u64 }, "m");
    });
    let line = object(&lines[0]);
    assert_eq!(line["logger"], "rustls::x");
    assert_eq!(line.len(), 5);
}
