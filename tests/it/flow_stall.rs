//! Readers that stop and floods of small frames: nobody is cut off, and the router holds a bounded amount.

use std::time::{Duration, Instant};

use crate::helpers::{
    Harness, Kind, Options, Peer, WINDOW, alone::alone, assert_bytes, assert_completed, message,
    noise, peer::KINDS, process::size,
};
use bytes::Bytes;
use futures_util::future::join_all;
use jumpstarter_router::inside::config::Size;

const KIB: usize = 1024;

/// What the raw reader grants the router.
const READER: usize = 64 * KIB - 1;

/// DATA frames as long as they come.
const ANY: usize = usize::MAX;

/// A sender that could send nothing for so long is taken to have stopped.
const QUIET: Duration = Duration::from_millis(500);

fn tiny_messages() -> Vec<u8> {
    (0..10_000_u32)
        .flat_map(|number| message(&[number as u8]))
        .collect()
}

/// Sends every message in a DATA frame of its own, or every byte.
async fn flood(peer: &mut Peer, bytes: &[u8], cut: usize) {
    for chunk in bytes.chunks(cut) {
        peer.send_bytes(Bytes::copy_from_slice(chunk)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tiny_messages_before_the_partner_comes() {
    let harness = Harness::start(|_| {}).await;
    let all = tiny_messages();
    for kind in [Kind::Raw, Kind::Tonic] {
        let case = format!("waiter floods, partner {kind:?}");
        let mut waiter = harness.waiter(Kind::Raw, &case, Options::default()).await;
        flood(&mut waiter, &all, 8).await;
        waiter.written(all.len()).await;
        assert!(!waiter.has_ended(), "{case}");
        let mut partner = harness.peer(kind, &case).await;
        assert_bytes(&case, partner.arrived(all.len()).await, &all);
        partner.send_data(b"thanks").await;
        waiter.arrived(message(b"thanks").len()).await;
        assert!(waiter.line.seen().goaways.is_empty(), "{case}");
        drop((waiter, partner));
        harness.idle(&case).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tiny_messages_to_one_that_does_not_read() {
    let harness = Harness::start(|_| {}).await;
    let all = tiny_messages();
    for (cut, reader) in [(8, Kind::Raw), (1, Kind::Raw), (8, Kind::Tonic)] {
        let case = format!("frames of {cut} bytes, reader {reader:?}");
        // As bytes of one frame each, 80,000 of them: ten thousand frames make up 1,250 messages.
        let all = if cut == 1 { &all[..10_000] } else { &all[..] };
        let options = (Options::default(), Options::stopped(1_000));
        let kinds = (Kind::Raw, reader);
        let (mut sender, mut reader) = harness.pair_with(kinds, &case, options).await;
        flood(&mut sender, all, cut).await;
        sender.written(all.len()).await;
        // The other direction still moves.
        reader.send_data(b"still here").await;
        sender.arrived(message(b"still here").len()).await;
        reader.read(true);
        assert_bytes(&case, reader.arrived(all.len()).await, all);
        sender.half_close();
        reader.half_close();
        assert_completed(&case, &reader.collect().await, all);
        let want = message(b"still here");
        assert_completed(&case, &sender.collect().await, &want);
        drop((sender, reader));
        harness.idle(&case).await;
    }
}

/// Tonic's sender, through tonic's own batching.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tiny_messages_of_stock_senders() {
    let harness = Harness::start(|_| {}).await;
    let all = tiny_messages();
    for kinds in KINDS {
        let case = format!("flood, {kinds:?}");
        let (mut first, mut second) = harness.pair(kinds, &case).await;
        let send = async |peer: &mut Peer| {
            for number in 0..10_000_u32 {
                peer.send_data(&[number as u8]).await;
            }
            peer.half_close();
        };
        tokio::join!(send(&mut first), send(&mut second));
        assert_completed(&case, &second.collect().await, &all);
        assert_completed(&case, &first.collect().await, &all);
        drop((first, second));
        harness.idle(&case).await;
    }
}

/// The router takes at most its window, and passes on at most the reader's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_stops_its_sender() {
    let harness = Harness::start(|_| {}).await;
    for (name, length) in [("stock", 65_536), ("small", 20), ("cut through", 1 << 20)] {
        let case = format!("{name} messages");
        let source: Vec<u8> = (0..4 * 1024 * KIB / (length + 10))
            .flat_map(|seed| message(&noise(seed as u64, length)))
            .collect();
        let options = (Options::default(), Options::stopped(READER as u32));
        let kinds = (Kind::Raw, Kind::Raw);
        let (mut sender, mut reader) = harness.pair_with(kinds, &case, options).await;
        // Credit comes in steps of a third of the window.
        let sent = sender.send_until_stalled(&source, WINDOW, ANY, QUIET).await;
        println!("{case}: {sent} bytes taken, {} allowed", WINDOW + READER);
        assert!(sent <= WINDOW + READER, "{case}: {sent}");
        reader.read(true);
        sender.send_bytes(source[sent..].to_vec()).await;
        sender.half_close();
        assert_bytes(&case, reader.arrived(source.len()).await, &source);
        reader.half_close();
        assert_completed(&case, &reader.collect().await, &source);
        drop((sender, reader));
        harness.idle(&case).await;
    }
}

/// A waiter is given the window and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_is_taken_one_window() {
    let harness = Harness::start(|_| {}).await;
    let source: Vec<u8> = (0..20)
        .flat_map(|seed| message(&noise(seed, 65_536)))
        .collect();
    let mut waiter = harness
        .waiter(Kind::Raw, "waiter", Options::default())
        .await;
    let sent = waiter.send_until_stalled(&source, WINDOW, ANY, QUIET).await;
    assert_eq!(sent, WINDOW);
    let mut partner = harness.peer(Kind::Tonic, "waiter").await;
    waiter.send_bytes(source[sent..].to_vec()).await;
    assert_bytes("waiter", partner.arrived(source.len()).await, &source);
    drop((waiter, partner));
    harness.idle("waiter").await;
}

/// Resident memory of this process, which holds the router and all peers.
fn resident() -> usize {
    usize::try_from(size(std::process::id(), "VmRSS")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_pairs() {
    if !alone!() {
        return;
    }
    // One after the other, and alone, as both measure the memory of this process.
    let harness = Harness::start(|config| {
        config.streams.initial_window = Size::new(SMALL);
        config.streams.max_window = Size::new(SMALL);
    })
    .await;
    stall(&harness, 200, ANY).await;
    stall(&harness, 50, 64).await;
}

/// The least window that can be set: what is measured is the bound, not the machine's memory.
const SMALL: usize = 128 * KIB;

async fn stall(harness: &Harness, count: usize, cut: usize) {
    let bound = 2 * count * (SMALL + READER);
    let source: Vec<u8> = (0..3_000)
        .flat_map(|seed| message(&noise(seed, 200)))
        .collect();
    let stopped = || Options::stopped(READER as u32);
    let kinds = (Kind::Raw, Kind::Raw);
    let mut pairs = Vec::new();
    for number in 0..count {
        let options = (stopped(), stopped());
        let subject = format!("stalled {cut} {number}");
        pairs.push(harness.pair_with(kinds, &subject, options).await);
    }
    let before = resident();
    let stalls = pairs.iter_mut().map(|(first, second)| async {
        let (there, back) = tokio::join!(
            first.send_until_stalled(&source, SMALL, cut, QUIET * 4),
            second.send_until_stalled(&source, SMALL, cut, QUIET * 4),
        );
        there + back
    });
    let taken: usize = join_all(stalls).await.into_iter().sum();
    let grown = resident().saturating_sub(before);
    println!(
        "{count} pairs stalled both ways: {taken} bytes taken, {bound} allowed; resident memory grew by {grown}"
    );
    assert!(taken <= bound, "{taken} bytes taken, {bound} allowed");
    // The peers are in this process, too: what they were sent and do not read, and a slot of their HTTP/2 library
    // for every frame that was ever on its way, which counts when frames are small.
    let times = if cut == ANY { 3 } else { 8 };
    assert!(grown <= times * bound, "resident memory grew by {grown}");

    // Others do not notice.
    let (mut first, mut second) = harness.pair(kinds, "moving").await;
    let start = Instant::now();
    let mut sent = 0;
    for _ in 0..100 {
        first.send_data(b"ping").await;
        second.send_data(b"pong").await;
        sent += message(b"ping").len();
        second.arrived(sent).await;
        first.arrived(sent).await;
    }
    let each = start.elapsed() / 100;
    println!("a moving pair needs {each:?} for a round trip meanwhile");
    assert!(each < Duration::from_millis(200), "{each:?} each");

    // All of it arrives once they read, but for a last message that was not sent to its end.
    for (first, second) in &pairs {
        first.read(true);
        second.read(true);
    }
    for (first, second) in &mut pairs {
        for peer in [first, second] {
            let got = peer.arrived(SMALL - message(&[0; 200]).len()).await;
            assert_bytes("stalled", got, &source[..got.len()]);
        }
    }
    drop((pairs, first, second));
    harness.idle("stalled").await;
}
