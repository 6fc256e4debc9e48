//! What the screen shows: of older routers, of the past, of one that does not answer, and where there is little room.

use std::time::{Duration, Instant};

use crossterm::event::KeyCode;
use serde_json::json;

use super::{SECOND, app, chosen, keys, old_status, press, row, screen, seen, status, tell};
use crate::{
    cli::{
        admin_client::AdminError,
        top::{asker::Told, draw, keys::Then},
    },
    common::text::tests::HOSTILE,
};

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
