//! The drain: who is told when, and that it ends in time whatever the peers do.

use std::time::Duration;

use crate::helpers::{
    self, End, Harness, Kind, Options, assert_completed, assert_told, message, noise, peer::KINDS,
    until, within,
};
use tonic::Code;

const TEXT: &str = "the router is shutting down; connect again";

/// What is allowed on top of the drain's timeout: last words, closing, and a slow machine.
const SLACK: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_in_order() {
    let mut harness = Harness::start(|_| {}).await;
    let mut waiters = Vec::new();
    for (kind, half_close) in [
        (Kind::Tonic, false),
        (Kind::Raw, false),
        (Kind::Tonic, true),
        (Kind::Raw, true),
    ] {
        let case = format!("waiter {kind:?}, half-closed: {half_close}");
        let mut peer = harness.waiter(kind, &case, Options::default()).await;
        if half_close {
            peer.half_close();
        }
        waiters.push((case, peer));
    }
    let mut pairs = Vec::new();
    for kinds in KINDS {
        let case = format!("pair {kinds:?}");
        let (first, second) = harness.pair(kinds, &case).await;
        pairs.push((case, first, second));
    }
    let timeout = Duration::from_secs(4);
    let drain = harness.drain(timeout);
    for (case, peer) in &mut waiters {
        assert_told(case, &peer.collect().await, &[], Code::Unavailable, TEXT);
    }
    assert!(!drain.is_finished(), "the drain did not wait for the pairs");
    let late = harness.connector.tcp().await;
    assert!(late.is_err(), "nobody listens any more");
    for (case, first, second) in &mut pairs {
        for peer in [&*first, &*second] {
            let told = |seen: &helpers::line::Seen| !seen.goaways.is_empty();
            peer.line.until("the HTTP/2 GOAWAY", told).await;
            assert_eq!(peer.line.seen().goaways[0], 0, "{case}: NO_ERROR");
        }
        // Still forwarding.
        first.send_data(&noise(1, 100_000)).await;
        second.send_data(b"answer").await;
        second.arrived(message(&noise(1, 100_000)).len()).await;
        first.arrived(message(b"answer").len()).await;
    }
    // One pair ends by itself, as the drain hopes.
    let (case, mut first, mut second) = pairs.pop().unwrap();
    first.half_close();
    second.half_close();
    assert_completed(&case, &first.collect().await, &message(b"answer"));
    second.collect().await;
    for (case, first, second) in &mut pairs {
        let got = first.collect().await;
        assert_told(case, &got, &message(b"answer"), Code::Unavailable, TEXT);
        let got = second.collect().await;
        let want = message(&noise(1, 100_000));
        assert_told(case, &got, &want, Code::Unavailable, TEXT);
    }
    let (drained, took) = within("the drain", drain).await.unwrap();
    assert_eq!(drained.ended, 6, "three pairs were left");
    assert!(
        took >= timeout,
        "pairs had until the deadline, not {took:?}"
    );
    assert!(took < timeout + SLACK, "took {took:?}");
    harness.idle("drain").await;
}

/// Closed connections do not keep the drain waiting, and those that only stand open are closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_early_when_all_is_done() {
    let mut harness = Harness::start(|_| {}).await;
    let (mut first, mut second) = harness.pair((Kind::Raw, Kind::Tonic), "done soon").await;
    // Both peers of a finished pair keep their connections.
    let (mut one, mut other) = harness.pair((Kind::Raw, Kind::Tonic), "done").await;
    one.half_close();
    other.half_close();
    one.collect().await;
    other.collect().await;
    let drain = harness.drain(Duration::from_secs(600));
    until("the drain to begin", || {
        harness.router.life.phase().is_draining()
    })
    .await;
    first.send_data(b"last").await;
    first.half_close();
    second.half_close();
    assert_completed("second", &second.collect().await, &message(b"last"));
    assert_completed("first", &first.collect().await, &[]);
    let (drained, took) = within("the drain", drain).await.unwrap();
    assert_eq!(drained.ended, 0);
    assert!(took < SLACK, "took {took:?}");
    for peer in [&first, &one] {
        let told = |seen: &helpers::line::Seen| !seen.goaways.is_empty();
        peer.line.until("the HTTP/2 GOAWAY", told).await;
    }
    harness.idle("early").await;
}

/// Peers that take nothing cannot hold it up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_though_nobody_reads() {
    let mut harness = Harness::start(|_| {}).await;
    let options = (Options::stopped(1_000), Options::stopped(1_000));
    let (mut first, mut second) = harness
        .pair_with((Kind::Raw, Kind::Raw), "stopped", options)
        .await;
    first.send_data(&noise(2, 50_000)).await;
    second.send_data(&noise(3, 50_000)).await;
    first.written(50_000).await;
    second.written(50_000).await;
    let timeout = Duration::from_millis(500);
    let (drained, took) = within("the drain", harness.drain(timeout)).await.unwrap();
    assert_eq!(drained.ended, 2);
    assert!(took < timeout + SLACK, "took {took:?}");
    drop((first, second));
    harness.idle("nobody reads").await;
}

/// With a short linger such peers are reset, and others are told meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_nothing_is_reset_after_the_linger() {
    let linger = Duration::from_millis(300);
    let mut harness = Harness::start(|config| config.streams.linger = linger).await;
    let options = (Options::stopped(1_000), Options::default());
    let (mut stopped, mut reading) = harness
        .pair_with((Kind::Raw, Kind::Raw), "half stopped", options)
        .await;
    reading.send_data(&noise(4, 50_000)).await;
    stopped.send_data(b"said before").await;
    reading.written(50_000).await;
    reading.arrived(message(b"said before").len()).await;
    let drain = harness.drain(Duration::from_millis(100));
    let got = reading.collect().await;
    let want = message(b"said before");
    assert_told("reading", &got, &want, Code::Unavailable, TEXT);
    let (drained, took) = within("the drain", drain).await.unwrap();
    assert_eq!(drained.ended, 2);
    assert!(took < SLACK, "took {took:?}");
    stopped.read(true);
    let got = stopped.collect().await;
    assert_eq!(got.end, End::Reset(h2::Reason::ENHANCE_YOUR_CALM));
    drop((stopped, reading));
    harness.idle("linger").await;
}
