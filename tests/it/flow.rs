//! What arrives is what was sent: any frame types, any cuts, any windows, any amount.

use std::time::Duration;

use crate::helpers::{
    self, Harness, Kind, Options, Peer, assert_bytes, assert_completed, frame, message, noise,
    peer::KINDS, prefixed,
};
use bytes::Bytes;
use jumpstarter_router::inside::config::Size;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRng, TestRunner},
};

/// One direction: the bytes of some messages, and where they are cut into DATA frames.
#[derive(Clone, Debug)]
struct Traffic {
    bytes: Bytes,
    cuts: Vec<usize>,
}

impl Traffic {
    /// Ends with the half-close, in the last frame or in one of its own.
    async fn send(&self, peer: &mut Peer) {
        let mut rest = self.bytes.clone();
        for cut in self.cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            peer.send_bytes(rest.split_to((*cut).min(rest.len()))).await;
        }
        peer.half_close();
    }
}

/// Known and unknown frame types, no payload and long ones, and messages that are no frames at all: the router
/// must not care what is inside.
fn one_message() -> impl Strategy<Value = Bytes> {
    let length = prop_oneof![
        4 => 0..40_usize,
        2 => 40..3_000_usize,
        1 => 3_000..70_000_usize,
        1 => prop_oneof![Just(65_536), Just(81_900), Just(81_911), Just(81_912), Just(200_000)],
    ];
    let frame_type = prop_oneof![Just(0), Just(3), Just(6), Just(7), any::<i32>()];
    (length, frame_type, any::<u64>(), any::<u8>()).prop_map(|(length, frame_type, seed, shape)| {
        match shape {
            0..200 => frame(frame_type, &noise(seed, length)),
            200..230 => prefixed(0, &noise(seed, length)),
            _ => prefixed(0, &[]),
        }
    })
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let cut = prop_oneof![1..6_usize, 1..300_usize, 1..20_000_usize, Just(usize::MAX)];
    let messages = prop::collection::vec(one_message(), 0..25);
    (messages, prop::collection::vec(cut, 1..20)).prop_map(|(messages, mut cuts)| {
        let bytes: Bytes = messages.concat().into();
        // Only small cuts of a large transfer would take for ever.
        if bytes.len() > 50_000 {
            cuts.push(20_000);
        }
        Traffic { bytes, cuts }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anything_passes_verbatim() {
    let harness = Harness::start(|_| {}).await;
    let rng = TestRng::deterministic_rng(prop::test_runner::RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for round in 0..40 {
        let windows = [1, 7, 100, 16_000, 65_535, 1_000_000];
        let (one, two) = (windows[round % 6], windows[round / 6 % 6]);
        let shrink = |mut traffic: Traffic, window: u32| {
            // A window of a few bytes costs a round trip every few bytes.
            traffic.bytes.truncate(window as usize * 400);
            let whole = whole_messages(&traffic.bytes);
            traffic.bytes.truncate(whole);
            traffic
        };
        let there = shrink(traffic().new_tree(&mut runner).unwrap().current(), two);
        let back = shrink(traffic().new_tree(&mut runner).unwrap().current(), one);
        let case = format!("round {round}, windows {one} and {two}");
        let window = |window| Options {
            window,
            ..Options::default()
        };
        let kinds = (Kind::Raw, Kind::Raw);
        let options = (window(one), window(two));
        let (mut first, mut second) = harness.pair_with(kinds, &case, options).await;
        tokio::join!(there.send(&mut first), back.send(&mut second));
        assert_completed(&case, &second.collect().await, &there.bytes);
        assert_completed(&case, &first.collect().await, &back.bytes);
        drop((first, second));
        harness.idle(&case).await;
    }
}

/// How many of the bytes are whole messages.
fn whole_messages(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(length) = bytes.get(end + 1..end + 5) {
        let next = end + 5 + u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if next > bytes.len() {
            break;
        }
        end = next;
    }
    end
}

/// GOAWAY is a frame like others: its payload, and data after it, pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_never_interpreted() {
    let harness = Harness::start(|_| {}).await;
    for kinds in KINDS {
        let case = format!("frame types, {kinds:?}");
        let (mut first, mut second) = harness.pair(kinds, &case).await;
        let mut want = Vec::new();
        for (frame_type, payload) in [
            (7, &b"bye"[..]),
            (0, b"data after it"),
            (0, b""),
            (7, b""),
            (3, b"reset"),
            (6, b""),
            (99, b"unknown"),
            (-1, b"negative"),
            (0, b"end"),
        ] {
            for peer in [&mut first, &mut second] {
                let request = jumpstarter_router::protocol::v1::StreamRequest {
                    payload: Bytes::from_static(payload),
                    frame_type,
                };
                peer.send(request).await;
            }
            want.extend_from_slice(&frame(frame_type, payload));
        }
        for peer in [&mut first, &mut second] {
            assert_bytes(&case, peer.arrived(want.len()).await, &want);
        }
        first.half_close();
        second.half_close();
        assert_completed(&case, &first.collect().await, &want);
        assert_completed(&case, &second.collect().await, &want);
        drop((first, second));
        harness.idle(&case).await;
    }
}

/// 64 MiB each way at once, in messages as long as those of stock peers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transfer() {
    const MESSAGES: u64 = 1024;
    let harness = Harness::start(|_| {}).await;
    for kinds in [(Kind::Tonic, Kind::Raw), (Kind::Raw, Kind::Raw)] {
        let case = format!("64 MiB, {kinds:?}");
        let (mut first, mut second) = harness.pair(kinds, &case).await;
        let payloads: Vec<Vec<u8>> = (0..16).map(|seed| noise(seed, 65_536)).collect();
        let send = async |peer: &mut Peer| {
            for number in 0..MESSAGES {
                // Each message differs from all others, so that none can be lost, doubled or swapped.
                let mut payload = payloads[(number % 16) as usize].clone();
                payload[..8].copy_from_slice(&number.to_be_bytes());
                peer.send_data(&payload).await;
            }
            peer.half_close();
        };
        tokio::join!(send(&mut first), send(&mut second));
        let mut want = Vec::new();
        for number in 0..MESSAGES {
            let mut payload = payloads[(number % 16) as usize].clone();
            payload[..8].copy_from_slice(&number.to_be_bytes());
            want.extend_from_slice(&message(&payload));
        }
        assert_completed(&case, &first.collect().await, &want);
        assert_completed(&case, &second.collect().await, &want);
        drop((first, second));
        harness.idle(&case).await;
    }
}

/// The receiver grants so little that nothing fits its window.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_windows() {
    let harness = Harness::start(|config| {
        config.streams.linger = Duration::from_secs(10);
        config.streams.initial_window = Size::new(128 * 1024);
    })
    .await;
    for (window, length) in [(1, 500), (2, 3_000), (13, 20_000), (1_000, 400_000)] {
        for kinds in [(Kind::Raw, Kind::Raw), (Kind::Tonic, Kind::Raw)] {
            let case = format!("window {window}, {kinds:?}");
            let tiny = Options {
                window,
                ..Options::default()
            };
            let options = (Options::default(), tiny);
            let (mut first, mut second) = harness.pair_with(kinds, &case, options).await;
            let mut want = Vec::new();
            for payload in noise(9, length).chunks(60_000) {
                first.send_data(payload).await;
                want.extend_from_slice(&message(payload));
            }
            // The ending has to fit through the same window.
            second.arrived(want.len()).await;
            first.cancel();
            let got = second.collect().await;
            let text = "the other side cancelled its stream";
            helpers::assert_told(&case, &got, &want, tonic::Code::Unavailable, text);
            drop((first, second));
            harness.idle(&case).await;
        }
    }
}
