//! Limits on connections, streams and headers: whoever is over them is turned away, nobody else.

use std::time::Duration;

use crate::helpers::{
    Running,
    raw::{self, Raw, frame},
    token, until, within,
};
use jumpstarter_router::inside::observe::metrics::ConnectionAccept;
use tokio::{io::AsyncReadExt, net::TcpStream};

async fn closed_at_once(router: &Running) {
    let mut socket = TcpStream::connect(router.server.address).await.unwrap();
    let read = within("the end", socket.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "closed without a word");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_closed_and_a_place_becomes_free_again() {
    let router = Running::start(&[("connections.max", "3")]).await;
    let mut pair = router.pair("innocent").await;
    let third = router.connector().tls().await.unwrap();
    for _ in 0..5 {
        closed_at_once(&router).await;
    }
    let refused = || {
        let metrics = router.metrics();
        metrics.connections.count(ConnectionAccept::RefusedLimit)
    };
    assert_eq!(refused(), 5);
    pair.ping_pong().await;
    drop(third);
    until("a free place", || {
        router.metrics().connections_open.get() == 2
    })
    .await;
    within("TLS", router.connector().tls()).await.unwrap();
    assert_eq!(refused(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_only_so_many_connections() {
    let router = Running::start(&[("connections.max_per_address", "3")]).await;
    let mut pair = router.pair("innocent").await;
    let third = router.connector().tls().await.unwrap();
    closed_at_once(&router).await;
    let metrics = router.metrics();
    let count = metrics
        .connections
        .count(ConnectionAccept::RefusedAddressLimit);
    assert_eq!(count, 1);

    // Another address of this machine has places of its own.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(router.server.address).await.unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(300), other.read(&mut [0; 1])).await;
    assert!(quiet.is_err(), "still open");

    pair.ping_pong().await;
    drop(third);
    until("a free place", || metrics.connections_open.get() == 3).await;
    within("TLS", router.connector().tls()).await.unwrap();
}

async fn raw_tls(router: &Running) -> Raw<tokio_rustls::client::TlsStream<TcpStream>> {
    Raw::open(within("TLS", router.connector().tls()).await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_limit_of_a_connection_are_refused_alone() {
    let router = Running::start(&[("streams.max_per_connection", "4")]).await;
    let mut pair = router.pair("innocent").await;
    let mut raw = raw_tls(&router).await;
    let settings = raw.next_of(raw::SETTINGS).await.unwrap().payload;
    let said = settings.chunks(6).any(|s| s == [0, 3, 0, 0, 0, 4]);
    assert!(said, "MAX_CONCURRENT_STREAMS is announced: {settings:?}");
    raw.send(&frame(raw::SETTINGS, raw::ACK, 0, &[])).await;
    for stream in 0..6 {
        let headers = raw::call_headers(&token(&format!("waiting {stream}")));
        let headers = frame(raw::HEADERS, raw::END_HEADERS, stream * 2 + 1, &headers);
        raw.send(&headers).await;
    }
    for stream in [9, 11] {
        let reset = raw.next_of(raw::RST_STREAM).await.unwrap();
        assert_eq!(
            (reset.stream, reset.payload[3]),
            (stream, 7),
            "REFUSED_STREAM"
        );
    }
    // The four that were let in wait, and one that goes makes room.
    let waiting = &router.metrics().streams_waiting;
    until("four wait", || waiting.get() == 4).await;
    let cancel = 8_u32.to_be_bytes();
    raw.send(&frame(raw::RST_STREAM, 0, 1, &cancel)).await;
    until("three wait", || waiting.get() == 3).await;
    let headers = raw::call_headers(&token("late"));
    raw.send(&frame(raw::HEADERS, raw::END_HEADERS, 13, &headers))
        .await;
    until("four wait again", || waiting.get() == 4).await;
    pair.ping_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_list_that_is_too_large_costs_its_own_stream_only() {
    let router = Running::start(&[]).await;
    let mut pair = router.pair("innocent").await;
    let mut raw = raw_tls(&router).await;
    let mut headers = raw::call_headers(&token("waits"));
    raw.send(&frame(raw::HEADERS, raw::END_HEADERS, 1, &headers))
        .await;
    until("it waits", || router.metrics().streams_waiting.get() == 1).await;
    // A little over 16 KiB, in one frame and one more.
    for _ in 0..3 {
        headers.extend(raw::header("x-large", &"x".repeat(5500)));
    }
    let (first, rest) = headers.split_at(16_000);
    raw.send(&frame(raw::HEADERS, 0, 3, first)).await;
    raw.send(&frame(raw::CONTINUATION, raw::END_HEADERS, 3, rest))
        .await;
    let answer = loop {
        let frame = raw.next().await.expect("the connection lives");
        if frame.stream == 3 {
            break frame;
        }
    };
    // Status 431 in Huffman's code, behind the index of `:status`.
    let said = answer
        .payload
        .windows(3)
        .any(|part| part == [0x69, 0x90, 0xff]);
    assert!(said && answer.kind == raw::HEADERS, "{answer:?}");
    assert_eq!(
        router.metrics().streams_waiting.get(),
        1,
        "the other waits on"
    );
    pair.ping_pong().await;
    assert_eq!(router.metrics().streams.get(), 3);
}
