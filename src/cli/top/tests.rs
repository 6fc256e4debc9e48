//! What keys do.

#![allow(clippy::unwrap_used)]

mod shown;

use std::time::Duration;

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
