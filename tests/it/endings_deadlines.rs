//! Streams that end because time is up: the caller's, the pairing's, the pair's.

use std::time::{Duration, Instant};

use crate::helpers::{
    Harness, Kind, Options, assert_completed, assert_told, message, noise, peer::KINDS,
};
use futures_util::future::join_all;
use tonic::Code;

/// The one whose deadline it is gets its own status, the partner another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_deadline() {
    let harness = Harness::start(|_| {}).await;
    let cases = [
        (Kind::Raw, true),
        (Kind::Raw, false),
        (Kind::Tonic, true),
        (Kind::Tonic, false),
    ];
    // At once, as each takes as long as the deadline. It leaves a slow machine time enough to pair.
    join_all(cases.map(async |(partner, caller_first)| {
        let case = format!("grpc-timeout, partner {partner:?}, caller first: {caller_first}");
        let timed = Options::header("grpc-timeout", "3000m");
        let start = Instant::now();
        let (mut caller, mut other) = if caller_first {
            let options = (timed, Options::default());
            harness
                .pair_with((Kind::Raw, partner), &case, options)
                .await
        } else {
            let options = (Options::default(), timed);
            let kinds = (partner, Kind::Raw);
            let (other, caller) = harness.pair_with(kinds, &case, options).await;
            (caller, other)
        };
        caller.send_data(b"one").await;
        other.send_data(b"other").await;
        let got = caller.collect().await;
        assert!(start.elapsed() >= Duration::from_secs(3), "{case}");
        let text = "the deadline of the call has passed";
        assert_told(
            &case,
            &got,
            &message(b"other"),
            Code::DeadlineExceeded,
            text,
        );
        let got = other.collect().await;
        let text = "the deadline of the other side's call has passed";
        assert_told(&case, &got, &message(b"one"), Code::Unavailable, text);
    }))
    .await;
    harness.idle("grpc-timeout").await;
    assert_eq!(harness.ends("deadline"), 4);
    assert_eq!(harness.ends("peer_deadline"), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_deadline_while_it_waits() {
    let harness = Harness::start(|_| {}).await;
    let options = Options::header("grpc-timeout", "200m");
    let mut caller = harness.peer_with(Kind::Raw, "alone", options).await;
    let text = "the deadline of the call has passed";
    let got = caller.collect().await;
    assert_told("alone", &got, &[], Code::DeadlineExceeded, text);
    drop(caller);
    harness.idle("grpc-timeout of a waiter").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_comes() {
    let short = Duration::from_millis(300);
    let harness = Harness::start(|config| config.pairing.timeout = short).await;
    for kind in [Kind::Tonic, Kind::Raw] {
        for (what, early, half_close) in [
            ("silent", 0, false),
            ("half-closed", 0, true),
            ("early data", 50_000, false),
            ("early data, half-closed", 50_000, true),
        ] {
            let case = format!("{what} waiter, {kind:?}");
            let start = Instant::now();
            let mut peer = harness.peer(kind, &case).await;
            if early > 0 {
                peer.send_data(&noise(1, early)).await;
            }
            if half_close {
                peer.half_close();
            }
            let text = "the other side did not connect within 300ms (pairing.timeout); check that it runs and \
                        was given this router";
            let got = peer.collect().await;
            assert_told(&case, &got, &[], Code::DeadlineExceeded, text);
            assert!(start.elapsed() >= short, "{case}");
            drop(peer);
            harness.idle(&case).await;
        }
    }
    assert_eq!(harness.ends("unpaired"), 8);
}

/// A half-closed waiter stays for its partner; once it timed out, its early data must not reach a later one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_serves_again_after_a_timeout() {
    let short = Duration::from_secs(1);
    let harness = Harness::start(|config| config.pairing.timeout = short).await;
    let mut late = harness.peer(Kind::Raw, "again").await;
    late.send_data(b"of the first").await;
    late.half_close();
    late.collect().await;
    let (mut first, mut second) = harness.pair((Kind::Raw, Kind::Tonic), "again").await;
    first.half_close();
    second.half_close();
    assert_completed("first", &first.collect().await, &[]);
    assert_completed("second", &second.collect().await, &[]);
    drop((late, first, second));
    harness.idle("again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_pair() {
    let idle = Duration::from_secs(1);
    let harness = Harness::start(|config| config.streams.idle_timeout = Some(idle)).await;
    let text = "nothing was sent either way for 1s (streams.idle_timeout); connect again";
    join_all(KINDS.map(async |kinds| {
        for half_closed in [false, true] {
            let case = format!("idle, {kinds:?}, half-closed: {half_closed}");
            let (mut first, mut second) = harness.pair(kinds, &case).await;
            first.send_data(b"moves").await;
            if half_closed {
                first.half_close();
            }
            let start = Instant::now();
            let got = second.collect().await;
            assert_told(
                &case,
                &got,
                &message(b"moves"),
                Code::DeadlineExceeded,
                text,
            );
            let got = first.collect().await;
            assert_told(&case, &got, &[], Code::DeadlineExceeded, text);
            assert!(start.elapsed() >= idle / 2, "{case}: ended too early");
        }
    }))
    .await;
    harness.idle("idle").await;
    assert_eq!(harness.ends("idle"), 16);
}

/// One direction that moves keeps both alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_that_moves_is_not_idle() {
    let idle = Duration::from_secs(2);
    let harness = Harness::start(|config| config.streams.idle_timeout = Some(idle)).await;
    let (mut first, mut second) = harness.pair((Kind::Raw, Kind::Tonic), "moving").await;
    let start = Instant::now();
    let mut sent = Vec::new();
    while start.elapsed() < idle * 3 {
        first.send_data(b"tick").await;
        sent.extend_from_slice(&message(b"tick"));
        second.arrived(sent.len()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    first.half_close();
    second.half_close();
    assert_completed("moving", &second.collect().await, &sent);
    assert_completed("moving", &first.collect().await, &[]);
    drop((first, second));
    harness.idle("moving").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_too_old() {
    let long = Duration::from_secs(2);
    let harness = Harness::start(|config| config.streams.max_duration = Some(long)).await;
    let text =
        "the stream reached the longest time allowed, 2s (streams.max_duration); connect again";
    join_all(KINDS.map(async |kinds| {
        let case = format!("too old, {kinds:?}");
        let start = Instant::now();
        let (mut first, mut second) = harness.pair(kinds, &case).await;
        let mut sent = Vec::new();
        while start.elapsed() < long / 2 {
            first.send_data(b"busy").await;
            second.send_data(b"busy").await;
            sent.extend_from_slice(&message(b"busy"));
            first.arrived(sent.len()).await;
            second.arrived(sent.len()).await;
        }
        for peer in [&mut first, &mut second] {
            let got = peer.collect().await;
            assert_told(&case, &got, &sent, Code::DeadlineExceeded, text);
        }
        assert!(start.elapsed() >= long, "{case}: ended too early");
    }))
    .await;
    harness.idle("too old").await;
    assert_eq!(harness.ends("too_old"), 8);
}
