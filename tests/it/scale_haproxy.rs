//! `deploy/haproxy/haproxy.cfg` in a real `haproxy` before several router processes.
//!
//! Runs where `haproxy` is installed, or named by `HAPROXY`, and says so where it is not. With `REQUIRE_HAPROXY=1` that is
//! a failure.

mod site;

use std::time::Duration;

use crate::helpers::{Pair, data, half::says, last_words, process::get, token, until, within};
use site::{CONFIGURATION, Site, TOKENS, program, tokens};
use tonic::Code;

#[tokio::test]
async fn with_the_hash_all_halves_meet() {
    let Some(program) = program() else { return };
    let site = Site::start(program, &[]).await;
    let mut pairs = site.pairs("hashed").await;
    for pair in &mut pairs {
        pair.ping_pong().await;
    }
    assert_eq!(site.sum("streams_paired"), TOKENS);
    for router in &site.routers {
        assert!(router.metric("streams_paired") > 0, "each has its share");
        // The connections of probes are counted elsewhere.
        let open = router.metric("connections_open");
        assert_eq!(open, 2 * router.metric("streams_paired"), "one a stream");
    }

    // Endings and their reasons pass, too.
    let Pair { one, mut other, .. } = pairs.pop().unwrap();
    one.send.send(data("the last message")).await.unwrap();
    let last = within("the last message", other.receive.message()).await;
    assert_eq!(last.unwrap().unwrap().payload, "the last message");
    drop(one);
    let (told, code, message) = last_words(&mut other).await;
    assert_eq!((told, code), (true, Code::Unavailable), "{message}");
    assert!(message.contains("the other side"), "{message}");
}

#[tokio::test]
async fn without_the_hash_they_do_not() {
    let Some(program) = program() else { return };
    let changes = [("balance hdr(authorization)", "balance roundrobin")];
    let site = Site::start(program, &changes).await;
    let tokens = tokens();
    let _one = site.halves(&tokens).await;
    let _other = site.halves(&tokens).await;
    let all = || site.sum("streams_total") == 2 * TOKENS;
    until("all halves to arrive", all).await;
    assert!(site.sum("streams_waiting") > 0, "all met by luck");
}

#[tokio::test]
async fn a_pair_that_is_silent_is_not_cut() {
    let Some(program) = program() else { return };
    // The times that must not be those of a stream.
    let changes = [
        ("timeout http-request 10s", "timeout http-request 500ms"),
        (
            "timeout http-keep-alive 5m",
            "timeout http-keep-alive 500ms",
        ),
        ("timeout connect 5s", "timeout connect 500ms"),
    ];
    let site = Site::start(program, &changes).await;
    let token = token("half");
    let waits = site.half(&token).await;
    let mut pair = Pair::open(&site.connector, "silent").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    pair.ping_pong().await;
    let other = site.half(&token).await;
    waits.met().await;
    other.met().await;

    // Days, and longer than any half waits.
    for line in ["timeout client 7d\n", "timeout server 7d\n"] {
        assert!(CONFIGURATION.contains(line), "{line}");
    }
}

#[tokio::test]
async fn without_a_router_peers_are_told_so() {
    let Some(program) = program() else { return };
    let mut site = Site::start(program, &[]).await;
    site.routers.clear();
    let half = site.half(&token("alone")).await;
    let told = within("an answer", half.call).await.unwrap().unwrap_err();
    assert_eq!(told.code(), Code::Unavailable, "{told:?}");
    assert!(told.message().contains("connect again"), "{told:?}");
}

#[tokio::test]
async fn a_router_that_is_killed_costs_what_passed_it() {
    let Some(program) = program() else { return };
    let mut site = Site::start(program, &[]).await;
    let mut pairs = site.pairs("old").await;
    let gone = site.routers.remove(0);
    let lost = gone.metric("streams_paired");
    assert!(lost > 0);
    drop(gone);
    // Before a health check can have told it.
    let mut new = site.pairs("new").await;
    for pair in &mut new {
        pair.ping_pong().await;
    }
    assert_eq!(site.sum("streams_paired"), 2 * TOKENS - lost);
    let mut ended = 0;
    for pair in &mut pairs {
        let quiet = Duration::from_millis(20);
        let end = tokio::time::timeout(quiet, pair.other.receive.message());
        match end.await {
            Err(_) => pair.ping_pong().await,
            Ok(end) => {
                // It cannot be told from a stream that ended: HAProxy ends it without a status.
                let status = end.expect_err("an end without a status");
                assert_eq!(status.code(), Code::Unknown, "{status:?}");
                ended += 1;
            }
        }
    }
    assert_eq!(ended, lost);
}

#[tokio::test]
async fn a_router_that_stops_keeps_its_pairs_and_splits_none() {
    let Some(program) = program() else { return };
    let site = Site::start(program, &[]).await;
    let mut pairs = site.pairs("old").await;
    let tokens = tokens();
    let first = site.halves(&tokens).await;
    let waiting = || site.sum("streams_waiting") == TOKENS;
    until("all halves to wait", waiting).await;
    let leaving = &site.routers[0];
    assert!(leaving.metric("streams_waiting") > 0);
    leaving.process.signal("TERM");

    // While nobody knows, after it is known, and after it has closed its port.
    let mut met = site.pairs("while it serves").await;
    leaving.drains().await;
    met.extend(site.pairs("while it drains").await);
    let second = site.halves(&tokens).await;
    for (one, other) in first.into_iter().zip(second) {
        let ((mut one, _channel), (mut other, _other)) = (one.met().await, other.met().await);
        says(&mut one, &mut other, "there").await;
        says(&mut other, &mut one, "and back").await;
    }
    for pair in pairs.iter_mut().chain(&mut met) {
        pair.ping_pong().await;
    }
    assert!(get(&leaving.health, "/readyz").starts_with("HTTP/1.1 503"));
}
