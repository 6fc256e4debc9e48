//! Limits on what moves: readers that stall are told and ended, senders are slowed down, and all arrives.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::helpers::{
    self, End, Harness, Kind, Options, Peer, WINDOW, assert_bytes, assert_completed, assert_told,
    message, noise, within,
};
use jumpstarter_router::inside::{
    config::Size, observe::metrics::PacedBy, splice::ending::GOAWAY_MESSAGE,
};
use tonic::Code;

const KIB: usize = 1024;
const STALL: Duration = Duration::from_secs(1);

fn stream_of_messages(length: usize) -> Vec<u8> {
    (0..length / (64 * KIB))
        .flat_map(|seed| message(&noise(seed as u64, 64 * KIB)))
        .collect()
}

async fn stalling(linger: Duration) -> Harness {
    Harness::start(|config| {
        config.streams.stall_timeout = Some(STALL);
        config.streams.linger = linger;
    })
    .await
}

/// What a reader is told that reads again in time, and what its partner is told at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_nothing_is_told_when_it_reads_again() {
    let harness = stalling(Duration::from_secs(30)).await;
    let source = stream_of_messages(200 * KIB);
    for kind in [Kind::Raw, Kind::Tonic] {
        let case = format!("stalled {kind:?}");
        let (mut innocent, mut other) = harness
            .pair((Kind::Tonic, Kind::Raw), &format!("beside {case}"))
            .await;
        let options = (Options::default(), Options::stopped(10_000));
        let kinds = (Kind::Raw, kind);
        let (mut sender, mut reader) = harness.pair_with(kinds, &case, options).await;
        let start = Instant::now();
        sender.send_bytes(source.clone()).await;
        // The other direction moves, which does not help.
        reader.send_data(b"I send").await;
        let text = "the other side took next to nothing for 1s while bytes waited for it \
                    (streams.stall_timeout); connect again";
        let got = sender.collect().await;
        let code = Code::DeadlineExceeded;
        assert_told(&case, &got, &message(b"I send"), code, text);
        assert!(start.elapsed() >= STALL, "{case}: too early");
        reader.read(true);
        let text = "this side took next to nothing for 1s while bytes waited for it \
                    (streams.stall_timeout); connect again, and read";
        assert_told(&case, &reader.collect().await, &source, code, text);
        innocent.send_data(b"still here").await;
        other.arrived(message(b"still here").len()).await;
        drop((sender, reader, innocent, other));
        harness.idle(&case).await;
    }
    assert_eq!(harness.ends("stalled"), 2);
    assert_eq!(harness.ends("peer_stalled"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_on_taking_nothing_is_reset() {
    let harness = stalling(Duration::from_millis(500)).await;
    let options = (Options::default(), Options::stopped(10_000));
    let kinds = (Kind::Raw, Kind::Raw);
    let (mut sender, mut reader) = harness.pair_with(kinds, "stalls", options).await;
    sender.send_bytes(stream_of_messages(200 * KIB)).await;
    sender.collect().await;
    // Its place is free again though it has not read a byte.
    let metrics = &harness.router.metrics;
    helpers::until("the end", || metrics.streams_paired.get() == 0).await;
    helpers::until("the end", || harness.router.streams.count() == 0).await;
    reader.read(true);
    assert_eq!(
        reader.collect().await.end,
        End::Reset(h2::Reason::ENHANCE_YOUR_CALM)
    );
}

/// Slow is not stalled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_a_little_at_a_time_stays() {
    let harness = stalling(Duration::from_secs(30)).await;
    let source = stream_of_messages(400 * KIB);
    let options = (Options::default(), Options::stopped(20_000));
    let kinds = (Kind::Raw, Kind::Raw);
    let (mut sender, mut reader) = harness.pair_with(kinds, "slow", options).await;
    let start = Instant::now();
    let sending = async {
        sender.send_bytes(source.clone()).await;
        sender.half_close();
    };
    let reading = async {
        while start.elapsed() < 4 * STALL {
            reader.read(true);
            tokio::time::sleep(Duration::from_millis(5)).await;
            reader.read(false);
            tokio::time::sleep(STALL / 4).await;
        }
        reader.read(true);
        reader.half_close();
        reader.collect().await
    };
    let ((), got) = tokio::join!(sending, reading);
    assert_completed("slow", &got, &source);
    assert_eq!(harness.ends("stalled"), 0);
}

const RATE: usize = 512 * KIB;

/// Sends all and half-closes; says how long it took until the partner had it.
async fn transfer(sender: &mut Peer, reader: &mut Peer, source: &[u8]) -> Duration {
    let start = Instant::now();
    let sending = async {
        // Longer than usual, as it is slowed down.
        for chunk in source.chunks(16 * KIB) {
            sender.send_bytes(chunk.to_vec()).await;
        }
    };
    let receiving = async {
        assert_bytes("all", reader.arrived(source.len()).await, source);
    };
    tokio::join!(sending, receiving);
    start.elapsed()
}

/// The least and the most time that `length` bytes at `rate` may take.
#[track_caller]
fn assert_paced(took: Duration, length: usize, rate: usize, windows: usize) {
    let at_once = (windows * WINDOW + rate) as f64;
    let least = (length as f64 - at_once) / rate as f64;
    // A busy machine adds to it.
    let most = length as f64 / rate as f64 + 3.0;
    let took = took.as_secs_f64();
    assert!(took >= least, "{took} s, at least {least}");
    assert!(took <= most, "{took} s, at most {most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_sends_at_its_rate() {
    let harness = Harness::start(|config| {
        config.streams.bytes_per_second = Size::new(RATE);
        // Waiting for credit is neither idle nor stalled.
        config.streams.idle_timeout = Some(Duration::from_secs(2));
        config.streams.stall_timeout = Some(Duration::from_secs(1));
    })
    .await;
    let held_back = |by| harness.router.metrics.credit_held_back.count(by);
    let source = stream_of_messages(2 * 1024 * KIB);
    let kinds = (Kind::Raw, Kind::Raw);
    let (mut one, mut other) = harness.pair(kinds, "paced").await;
    let (mut innocent, mut partner) = harness.pair((Kind::Tonic, Kind::Tonic), "beside").await;
    let done = std::cell::Cell::new(false);
    let paced = async {
        let took = transfer(&mut one, &mut other, &source).await;
        done.set(true);
        took
    };
    let beside = async {
        let (mut arrived, mut slowest) = (0, Duration::ZERO);
        while !done.get() {
            let start = Instant::now();
            innocent.send_data(b"quick").await;
            arrived += message(b"quick").len();
            partner.arrived(arrived).await;
            slowest = slowest.max(start.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        slowest
    };
    let (took, slowest) = tokio::join!(paced, beside);
    assert_paced(took, source.len(), RATE, 1);
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(held_back(PacedBy::Stream) > 5);
    assert_eq!(held_back(PacedBy::Address), 0);

    // Each direction has a rate of its own.
    let back = stream_of_messages(64 * KIB);
    let took = transfer(&mut other, &mut one, &back).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    one.half_close();
    other.half_close();
    assert_completed("paced", &other.collect().await, &source);
    assert_completed("paced", &one.collect().await, &back);
    assert_eq!(harness.ends("completed"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_one_address_share_its_rate() {
    let harness = Harness::start(|config| {
        config.streams.bytes_per_second_per_address = Size::new(RATE);
    })
    .await;
    let source = stream_of_messages(1024 * KIB);
    let kinds = (Kind::Raw, Kind::Raw);
    let (mut one, mut other) = harness.pair(kinds, "first").await;
    let (mut third, mut fourth) = harness.pair(kinds, "second").await;
    let start = Instant::now();
    tokio::join!(
        transfer(&mut one, &mut other, &source),
        transfer(&mut third, &mut fourth, &source),
    );
    assert_paced(start.elapsed(), 2 * source.len(), RATE, 2);
    let held_back = &harness.router.metrics.credit_held_back;
    assert!(held_back.count(PacedBy::Address) > 5);
    assert_eq!(held_back.count(PacedBy::Stream), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_can_be_set_and_lifted_while_streams_run() {
    let harness = Harness::start(|_| {}).await;
    let set = |rate: Option<usize>| {
        let mut new = (*harness.router.settings.load_full()).clone();
        new.streams.bytes_per_second = Size::new(rate.unwrap_or(0));
        harness.router.settings.store(Arc::new(new));
    };
    let source = stream_of_messages(1024 * KIB);
    let kinds = (Kind::Raw, Kind::Raw);
    let (mut one, mut other) = harness.pair(kinds, "reloaded").await;
    let mut all = Vec::new();
    for rate in [None, Some(RATE / 2), None] {
        set(rate);
        let start = Instant::now();
        one.send_bytes(source.clone()).await;
        all.extend_from_slice(&source);
        other.arrived(all.len()).await;
        match rate {
            Some(rate) => assert_paced(start.elapsed(), source.len(), rate, 1),
            None => assert!(start.elapsed() < Duration::from_millis(2_500)),
        }
    }
    assert_bytes("reloaded", other.arrived(all.len()).await, &all);
}

/// A peer that is slowed down is ended like any other, without waiting for its credit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_credit_still_hears_of_the_end() {
    let harness = Harness::start(|config| {
        config.streams.bytes_per_second = Size::new(WINDOW / 8);
    })
    .await;
    let kinds = (Kind::Raw, Kind::Raw);
    let (mut sender, mut reader) = harness.pair(kinds, "paced").await;
    let source = stream_of_messages(1024 * KIB);
    let quiet = Duration::from_millis(500);
    sender
        .send_until_stalled(&source, WINDOW, usize::MAX, quiet)
        .await;
    reader.cancel();
    let start = Instant::now();
    let got = within("the end", sender.collect()).await;
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(got.bytes, GOAWAY_MESSAGE);
    let text = "the other side cancelled its stream".to_owned();
    assert_eq!(got.end, End::Status(Code::Unavailable, text));
}
