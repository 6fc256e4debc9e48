//! What keys do, and what the screen shows then.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::{
    ListArgs,
    app::{App, View},
    asker::{Ask, Seen, Told},
    draw,
    keys::Then,
};
use crate::{
    admin::api::streams::Column,
    cli::admin_client::AdminError,
    common::text::tests::{HOSTILE, assert_harmless},
};

const SECOND: Duration = Duration::from_secs(1);

fn status(id: &str, access: &str) -> Value {
    let process = json!({ "id": id, "pid": 7, "host": "lab", "started_unix_ms": 1 });
    let mut status = old_status();
    status["process"] = process;
    status["access"] = access.into();
    status["memory_used_bytes"] = 1_000_000.into();
    status
}

/// As routers told it that know nothing of what came later.
fn old_status() -> Value {
    json!({
        "version": "0.1.0", "commit": "abc", "tls_provider": "aws-lc-rs", "cluster": null,
        "phase": "ready", "uptime_seconds": 61.0, "memory_pressure": "normal", "held_bytes": 0,
        "windows_granted_bytes": 0, "connections": 2, "waiting": 0, "pairs": 1, "stalled": 1,
        "forwarded_rate": 0, "totals": {
            "streams": 2, "pairs": 1, "refusals": 0, "forwarded_bytes": 0, "forwarded_messages": 0,
        },
    })
}

fn row(id: u64, subject: &str, stalled: Option<f64>) -> Value {
    let peer = |address: &str| {
        json!({
            "address": address, "certificate": "CN=lab-7", "router": null, "bytes_in": 2_000_000,
            "bytes_out": 5, "messages_in": 1, "messages_out": 1, "rate_in": 0, "rate_out": 0,
            "held_bytes": 1500, "stalled_seconds": stalled, "window_bytes": 131_072,
        })
    };
    json!({
        "id": id, "subject": subject, "state": "paired", "age_seconds": 12.0, "waited_seconds": 0.5,
        "peers": [peer("10.0.0.1"), peer("10.0.0.2")],
    })
}

fn seen(status: Value, rows: &[Value]) -> Seen {
    let streams = json!({ "total": rows.len(), "matching": rows.len(), "streams": rows });
    Seen {
        status: serde_json::from_value(status).unwrap(),
        streams: serde_json::from_value(streams).unwrap(),
        history: None,
        past: None,
        stream: None,
    }
}

fn app(status: Value, rows: &[Value]) -> App {
    App::new(ListArgs::new(Column::Rate), seen(status, rows))
}

fn tell(app: &mut App, seen: Seen) {
    app.told(Told::Seen(Box::new(Ok(seen))));
}

fn press(app: &mut App, code: KeyCode) -> Then {
    app.key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn keys(app: &mut App, text: &str) {
    for c in text.chars() {
        press(app, KeyCode::Char(c));
    }
}

fn screen(app: &mut App, width: usize, height: usize) -> Vec<String> {
    let lines = draw::lines(app, width, height, SECOND);
    assert!(lines.len() <= height);
    lines.iter().map(ToString::to_string).collect()
}

/// The lines of the screen that are chosen.
fn chosen(app: &mut App) -> Vec<String> {
    let lines = draw::lines(app, 100, 20, SECOND);
    let lines = lines.iter().filter(|line| line.is_chosen);
    lines.map(ToString::to_string).collect()
}

#[test]
fn a_stream_is_ended_after_a_question_and_only_the_one_that_was_chosen() {
    let rows = [row(3, "three", None), row(7, HOSTILE, Some(4.0))];
    let mut app = app(status("aa", "full"), &rows);
    keys(&mut app, "e");
    assert!(
        screen(&mut app, 100, 20)[2].contains("choose a stream"),
        "nothing is chosen yet"
    );
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Down);
    assert!(chosen(&mut app)[0].starts_with(" 7  paired"));
    keys(&mut app, "k");
    let question = screen(&mut app, 80, 20).pop().unwrap();
    assert_harmless(&question.replace('…', ""));
    assert!(
        question.starts_with("End stream 7 (a\\n") && question.ends_with("? y/n"),
        "{question}"
    );
    assert!(
        matches!(press(&mut app, KeyCode::Enter), Then::Draw),
        "only y is yes"
    );
    keys(&mut app, "k");
    // The order has changed meanwhile; the question is about the same stream.
    let turned = [rows[1].clone(), rows[0].clone()];
    tell(&mut app, seen(status("aa", "full"), &turned));
    let then = press(&mut app, KeyCode::Char('y'));
    assert!(matches!(then, Then::Ask(Ask::End(7))), "{then:?}");
    let refused = AdminError::Refused {
        status: http::StatusCode::NOT_FOUND,
        text: "there is no such stream".to_owned(),
    };
    app.told(Told::Done(Err(refused)));
    assert!(screen(&mut app, 100, 20)[2].contains("no such stream"));
}

#[test]
fn what_is_chosen_is_followed_and_when_it_ends_nothing_is() {
    let rows = [
        row(3, "three", None),
        row(7, "seven", None),
        row(9, "nine", None),
    ];
    let mut app = app(status("aa", "full"), &rows);
    press(&mut app, KeyCode::Home);
    let turned: Vec<_> = rows.iter().rev().cloned().collect();
    tell(&mut app, seen(status("aa", "full"), &turned));
    assert!(chosen(&mut app)[0].contains("three"));
    tell(&mut app, seen(status("aa", "full"), &turned[..2]));
    assert_eq!(chosen(&mut app), Vec::<String>::new());
}

#[test]
fn text_that_is_typed_filters_and_esc_clears_it() {
    let mut app = app(status("aa", "full"), &[row(3, "three", None)]);
    keys(&mut app, "/qe");
    assert_eq!(app.list.filter, "qe", "they are no commands now");
    assert!(screen(&mut app, 80, 20).pop().unwrap().starts_with("/qe_"));
    press(&mut app, KeyCode::Backspace);
    assert!(matches!(press(&mut app, KeyCode::Char('x')), Then::Look));
    assert!(app.wish().streams.ends_with("&q=qx"));
    press(&mut app, KeyCode::Enter);
    assert!(screen(&mut app, 80, 20)[2].contains("\"qx\""));
    keys(&mut app, "p");
    assert!(
        app.wish().past.unwrap().contains("q=qx"),
        "the past is searched with it, too"
    );
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.list.filter, "");
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.view, View::Live);
}

#[test]
fn columns_are_chosen_by_keys() {
    let mut app = app(status("aa", "full"), &[]);
    keys(&mut app, "s");
    assert_eq!(app.list.sort, Column::Held);
    keys(&mut app, "<<");
    assert_eq!(app.list.sort, Column::Bytes);
    keys(&mut app, "8r");
    assert_eq!((app.list.sort, app.list.ascending), (Column::Stalled, true));
    keys(&mut app, "9");
    assert_eq!(app.list.sort, Column::Stalled, "there is no ninth");
    assert!(
        screen(&mut app, 100, 20)
            .pop()
            .unwrap()
            .contains("sort: stalled  r direction: up")
    );
}

#[test]
fn a_token_that_only_reads_ends_nothing_and_the_key_says_so() {
    let mut app = app(status("aa", "read"), &[row(3, "three", None)]);
    press(&mut app, KeyCode::Down);
    for key in ["e", "d"] {
        keys(&mut app, key);
        let lines = screen(&mut app, 100, 20);
        assert!(lines[0].ends_with("this token only reads"), "{lines:?}");
        assert!(lines[2].starts_with("this token only reads"), "{lines:?}");
        assert!(!lines[19].contains("y/n"), "{lines:?}");
    }
}

#[test]
fn an_older_router_is_shown_as_far_as_it_tells() {
    let mut app = app(old_status(), &[row(3, "three", Some(40.0))]);
    let lines = screen(&mut app, 80, 20);
    assert!(
        lines[0].starts_with("the router  ready, up 1m01s"),
        "{lines:?}"
    );
    assert!(lines[4].contains("three"), "{lines:?}");
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Enter);
    let lines = screen(&mut app, 80, 24).join("\n");
    for text in [
        "stream        3, paired",
        "CN=lab-7",
        "40s",
        "paired        after 0.5s",
    ] {
        assert!(lines.contains(text), "{text}: {lines}");
    }
    tell(&mut app, seen(old_status(), &[]));
    assert!(screen(&mut app, 80, 24)[3].contains("not there any more"));
    press(&mut app, KeyCode::Esc);
    press(&mut app, KeyCode::Tab);
    tell(&mut app, seen(old_status(), &[]));
    assert_eq!(
        screen(&mut app, 80, 20)[3],
        "this router keeps no past: its version is 0.1.0"
    );
}

#[test]
fn the_past_tells_who_ended_what_and_why() {
    let mut app = app(status("aa", "full"), &[]);
    keys(&mut app, "p");
    let mut seen = seen(status("aa", "full"), &[]);
    let peer = json!({
        "address": "10.0.0.1", "certificate": null, "router": null, "bytes_in": 10, "bytes_out": 20,
        "messages_in": 1, "messages_out": 2,
    });
    let ended = json!({
        "kind": "ended", "id": 7, "subject": "mine", "names": { "client": "alice", "exporter": "board", "lease": "l-1" },
        "began_unix_ms": 1_000, "ended_unix_ms": 62_000, "waited_seconds": 0.5, "duration_seconds": 61.0,
        "peers": [peer, peer], "ended_by": "second", "cause": "cancelled", "status": "UNAVAILABLE",
        "reason": "the other side cancelled", "count": 1,
    });
    let refused = json!({
        "kind": "refused", "id": null, "subject": null, "names": null, "began_unix_ms": 1_000,
        "ended_unix_ms": 3_000, "waited_seconds": null, "duration_seconds": 0.0, "peers": [peer],
        "ended_by": "router", "cause": "expired", "status": "UNAUTHENTICATED", "reason": "it expired", "count": 3,
    });
    let past = json!({ "total": 2, "matching": 2, "streams": [ended, refused] });
    seen.past = Some(serde_json::from_value(past).unwrap());
    tell(&mut app, seen);
    let lines = screen(&mut app, 80, 20);
    for text in ["00:01:02Z", "1m01s", "cancelled", "second", "mine"] {
        assert!(lines[4].contains(text), "{text}: {lines:?}");
    }
    assert!(lines[5].contains("refused: expired (3 times)"), "{lines:?}");
    assert!(screen(&mut app, 130, 20)[4].contains("alice > board"));
    press(&mut app, KeyCode::Home);
    press(&mut app, KeyCode::Enter);
    let lines = screen(&mut app, 80, 24).join("\n");
    for text in [
        "client        alice",
        "lease         l-1",
        "ended         1970-01-01T00:01:02Z, after 1m01s",
        "ended by      the second peer",
        "told          UNAVAILABLE: the other side cancelled",
    ] {
        assert!(lines.contains(text), "{text}: {lines}");
    }
    keys(&mut app, "e");
    assert!(screen(&mut app, 80, 24)[2].contains("ended already"));
    // In the detail, q goes back; in the list it leaves.
    assert!(matches!(press(&mut app, KeyCode::Char('q')), Then::Draw));
    assert!(matches!(press(&mut app, KeyCode::Char('q')), Then::Leave));
}

#[test]
fn old_figures_and_another_router_are_said() {
    let mut app = app(status("aa", "full"), &[row(3, "three", None)]);
    press(&mut app, KeyCode::Down);
    app.seen_at = Instant::now().checked_sub(Duration::from_secs(90)).unwrap();
    assert_eq!(
        screen(&mut app, 80, 20)[2],
        "NOT UP TO DATE: no answer for 1m30s"
    );
    let gone = AdminError::Unreachable("r:1".to_owned(), "refused".to_owned());
    app.told(Told::Seen(Box::new(Err(gone))));
    assert_eq!(
        screen(&mut app, 80, 20)[2],
        "NOT UP TO DATE for 1m30s: r:1: refused"
    );
    tell(
        &mut app,
        seen(status("bb", "full"), &[row(3, "another three", None)]),
    );
    assert_eq!(
        chosen(&mut app),
        Vec::<String>::new(),
        "its numbers mean other streams"
    );
    let said = &screen(&mut app, 100, 20)[2];
    assert_eq!(
        said,
        "router aa (pid 7 on lab) does not answer any more; router bb (pid 7 on lab) does"
    );
}

#[test]
fn it_fits_any_screen() {
    let rows: Vec<_> = (0..50).map(|id| row(id, HOSTILE, Some(20.0))).collect();
    let mut app = app(status("aa", "full"), &rows);
    press(&mut app, KeyCode::End);
    for (width, height) in [(0, 0), (1, 1), (3, 9), (40, 12), (80, 24), (300, 80)] {
        let lines = draw::lines(&mut app, width, height, SECOND);
        assert!(lines.len() <= height);
        for line in &lines {
            let text = line.to_string();
            assert!(
                unicode_width::UnicodeWidthStr::width(&*text) <= width,
                "{text}"
            );
        }
        if height > 9 {
            assert!(lines.iter().any(|line| line.is_chosen), "{width}x{height}");
        }
    }
    let wide = screen(&mut app, 80, 24);
    assert!(
        wide[3].contains("STALLED") && !wide[3].contains("HELD"),
        "{wide:?}"
    );
}
