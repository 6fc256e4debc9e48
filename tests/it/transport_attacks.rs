//! Floods of hand-made frames, each beside a pair that must go on as if nothing happened.
//!
//! Bounded in count and in time; what matters is that the router lives, the pair moves, and what an attack
//! cost is given back when its connection ends.

use crate::helpers::{
    self, Running,
    raw::{self, Raw, frame},
    token, until, within,
};
use jumpstarter_router::inside::observe::metrics::ConnectionEnd;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

type Attacker = Raw<TlsStream<TcpStream>>;

/// Error codes of RFC 9113 section 7.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

async fn attacker(router: &Running) -> Attacker {
    Raw::open(within("TLS", router.connector().tls()).await.unwrap()).await
}

async fn open_stream(attacker: &mut Attacker, stream: u32, subject: &str) {
    let headers = raw::call_headers(&token(subject));
    attacker
        .send(&frame(raw::HEADERS, raw::END_HEADERS, stream, &headers))
        .await;
}

/// Sends the flood on a connection of its own while a pair plays ping-pong, then looks whether all is well.
async fn endure(flood: impl FnOnce() -> Vec<u8>) {
    let router = Running::start(&[]).await;
    let mut pair = router.pair("innocent").await;
    let mut attacker = attacker(&router).await;
    let flood = flood();
    pair.while_doing(attacker.flood(&flood)).await;
    drop(attacker);
    all_is_well(&router, &mut pair).await;
}

async fn all_is_well(router: &Running, pair: &mut helpers::Pair) {
    let metrics = router.metrics();
    until("the attacker's connection is gone", || {
        metrics.connections_open.get() == 2
    })
    .await;
    until("its streams are gone", || {
        metrics.streams_waiting.get() == 0
    })
    .await;
    assert_eq!(metrics.panics.get(), 0);
    assert_eq!(router.server.router().streams.count(), 2, "the pair's");
    pair.ping_pong().await;
    router.pair("afterwards").await.ping_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset() {
    // CVE-2023-44487, with tokens that are good, so that every stream costs what a real one does.
    endure(|| {
        let cancel = 8_u32.to_be_bytes();
        let headers = raw::call_headers(&token("rapid"));
        (0..1000)
            .flat_map(|i| {
                let mut both = frame(raw::HEADERS, raw::END_HEADERS, i * 2 + 1, &headers);
                both.extend(frame(raw::RST_STREAM, 0, i * 2 + 1, &cancel));
                both
            })
            .collect()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_break_the_rules_one_by_one() {
    // CVE-2025-8671: the router is brought to reset streams itself, here by a window that overflows.
    endure(|| {
        let headers = raw::call_headers(&token("made you reset"));
        let most = 0x7fff_ffff_u32.to_be_bytes();
        (0..1500)
            .flat_map(|i| {
                let mut both = frame(raw::HEADERS, raw::END_HEADERS, i * 2 + 1, &headers);
                both.extend(frame(raw::WINDOW_UPDATE, 0, i * 2 + 1, &most));
                both
            })
            .collect()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn continuation_flood() {
    let router = Running::start(&[]).await;
    let mut pair = router.pair("innocent").await;
    let mut attacker = attacker(&router).await;
    let headers = raw::call_headers(&token("endless"));
    attacker.send(&frame(raw::HEADERS, 0, 1, &headers)).await;
    let more = frame(raw::CONTINUATION, 0, 1, &raw::header("x", "y"));
    let flood = more.repeat(50_000);
    let attack = async {
        for part in flood.chunks(more.len() * 10) {
            // Hung up on: what was said about it is still to be read.
            if tokio::io::AsyncWriteExt::write_all(&mut attacker.0, part)
                .await
                .is_err()
            {
                break;
            }
        }
    };
    pair.while_doing(within("the flood", attack)).await;
    router.closed(ConnectionEnd::ProtocolError, 1).await;
    all_is_well(&router, &mut pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_flood() {
    endure(|| frame(raw::PING, 0, 0, &[7; 8]).repeat(20_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_flood_of_one_who_does_not_read() {
    let router = Running::start(&[("connections.write_stall_timeout", "500ms")]).await;
    let mut pair = router.pair("innocent").await;
    let mut attacker = attacker(&router).await;
    open_stream(&mut attacker, 1, "alone").await;
    let flood = frame(raw::PING, 0, 0, &[7; 8]).repeat(2000);
    let attack = async {
        // The answers fill the socket; then the router reads no more of the questions.
        let write = async {
            loop {
                if tokio::io::AsyncWriteExt::write_all(&mut attacker.0, &flood)
                    .await
                    .is_err()
                {
                    break;
                }
            }
        };
        tokio::select! {
            () = write => {}
            () = router.closed(ConnectionEnd::WriteStalled, 1) => {}
        }
    };
    pair.while_doing(within("the flood", attack)).await;
    drop(attacker);
    all_is_well(&router, &mut pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_flood() {
    let window = [0, 4, 0, 1, 0, 0];
    endure(|| frame(raw::SETTINGS, 0, 0, &window).repeat(20_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_frames_flood() {
    endure(|| frame(0xbe, 0xff, 0, &[0; 16]).repeat(20_000)).await;
}

/// Headers of a waiting stream, then its data.
fn stream_with(data: &[u8], times: usize) -> Vec<u8> {
    let headers = raw::call_headers(&token("flooding"));
    let mut flood = frame(raw::HEADERS, raw::END_HEADERS, 1, &headers);
    flood.extend(frame(raw::DATA, 0, 1, data).repeat(times));
    flood
}

#[tokio::test(flavor = "multi_thread")]
async fn tiny_data_flood() {
    // One message of 100,000 bytes, a byte at a time.
    endure(|| {
        let mut flood = stream_with(&[0, 0, 1, 0x86, 0xa0], 1);
        flood.extend(frame(raw::DATA, 0, 1, &[7]).repeat(50_000));
        flood
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_data_flood() {
    endure(|| stream_with(&[], 50_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_messages_flood() {
    endure(|| stream_with(&[0; 5], 20_000)).await;
}

/// Sends the frames and expects the connection to be ended for it, with this code.
async fn is_ended(frames: Vec<u8>, codes: &[u32]) {
    let router = Running::start(&[]).await;
    let mut pair = router.pair("innocent").await;
    let mut attacker = attacker(&router).await;
    attacker.send(&frames).await;
    let code = pair.while_doing(attacker.goaway_then_end()).await;
    let code = code.expect("a GOAWAY that says why");
    assert!(codes.contains(&code), "{code}");
    router.closed(ConnectionEnd::ProtocolError, 1).await;
    all_is_well(&router, &mut pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn window_overflow_ends_the_connection() {
    let most = frame(raw::WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
    is_ended(most, &[FLOW_CONTROL_ERROR]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn header_bomb_ends_the_connection() {
    // RFC 7541: a reference of one byte to an entry of 4,000, 60,000 times.
    let mut block = raw::call_headers(&token("bomb"));
    block.push(0x40);
    block.extend(&raw::header("x-bomb", &"b".repeat(4000))[1..]);
    block.extend(vec![0xbe; 12_000]);
    let mut frames = frame(raw::HEADERS, 0, 1, &block[..16_000]);
    frames.extend(frame(raw::CONTINUATION, 0, 1, &block[16_000..]));
    for _ in 0..3 {
        frames.extend(frame(raw::CONTINUATION, 0, 1, &[0xbe; 16_000]));
    }
    frames.extend(frame(raw::CONTINUATION, raw::END_HEADERS, 1, &[0xbe]));
    is_ended(
        frames,
        &[PROTOCOL_ERROR, COMPRESSION_ERROR, ENHANCE_YOUR_CALM],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_the_rules_end_the_connection() {
    let cases = [
        frame(raw::PING, 0, 0, &[0; 7]),
        frame(raw::DATA, 0, 0, b"x"),
        frame(raw::SETTINGS, 0, 1, &[]),
        frame(raw::HEADERS, raw::END_HEADERS, 2, &[0x82]),
        frame(raw::DATA, 0, 1, &vec![0; 16_385]),
    ];
    for frames in cases {
        is_ended(frames, &[PROTOCOL_ERROR, FRAME_SIZE_ERROR]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_data_than_the_window_allows_ends_its_stream_or_connection() {
    // 256 KiB is the window; a waiting stream grants no more.
    endure(|| {
        let mut flood = stream_with(&[0, 0, 0x30, 0, 0], 1);
        flood.extend(frame(raw::DATA, 0, 1, &[7; 16_384]).repeat(64));
        flood
    })
    .await;
}
