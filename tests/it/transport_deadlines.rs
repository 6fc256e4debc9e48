//! Each deadline of a connection over real sockets, short ones, with a pair beside it that must not notice.

use std::time::Duration;

use crate::helpers::{
    self, Pair, Running,
    balancer::{Balancer, Pieces},
    call, data, last_words,
    raw::{self, Raw, frame},
    token, until, within,
};
use jumpstarter_router::inside::observe::metrics::{ConnectionEnd, TlsHandshake};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn raw_tls(router: &Running) -> Raw<tokio_rustls::client::TlsStream<TcpStream>> {
    Raw::open(within("TLS", router.connector().tls()).await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_finish() {
    let router = Running::start(&[("connections.tls_handshake_timeout", "300ms")]).await;
    let mut pair = router.pair("innocent").await;
    // Nothing at all, the first byte only, and the head of a record that never comes.
    for sent in [&[][..], &[0x16], &[0x16, 3, 1, 0, 200, 1, 0, 0, 196]] {
        let mut socket = TcpStream::connect(router.server.address).await.unwrap();
        socket.write_all(sent).await.unwrap();
        let _ = pair
            .while_doing(within("the end", socket.read(&mut [0; 64])))
            .await;
    }
    let handshakes = &router.metrics().tls_handshakes;
    until("counted", || handshakes.count(TlsHandshake::Timeout) == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_that_does_not_come() {
    let router = Running::start(&[("connections.preface_timeout", "300ms")]).await;
    let mut pair = router.pair("innocent").await;
    let mut silent = router.connector().tls().await.unwrap();
    let mut slow = router.connector().tls().await.unwrap();
    slow.write_all(&raw::PREFACE[..10]).await.unwrap();
    let mut sink = Vec::new();
    for stream in [&mut silent, &mut slow] {
        let _ = pair
            .while_doing(within("the end", stream.read_to_end(&mut sink)))
            .await;
    }
    router.closed(ConnectionEnd::PrefaceTimeout, 2).await;

    let settings = [
        ("connections.preface_timeout", "300ms"),
        ("tls.plaintext", "true"),
    ];
    let router = Running::start(&settings).await;
    let mut socket = TcpStream::connect(router.server.address).await.unwrap();
    socket.write_all(b"PR").await.unwrap();
    let _ = within("the end", socket.read_to_end(&mut sink)).await;
    router.closed(ConnectionEnd::PrefaceTimeout, 1).await;
}

/// A router, and a pair from another host: a connection from the pair's own would be kept.
async fn with_pair_from_elsewhere(setting: (&str, &str)) -> (Running, Balancer, Pair) {
    let router = Running::start(&[setting, ("listen.proxy_protocol_from", "127.0.0.2")]).await;
    let header = b"PROXY TCP4 203.0.113.7 10.0.0.1 51234 443\r\n".to_vec();
    let to = router.server.address;
    let balancer = Balancer::start("127.0.0.2", to, header, Pieces::Together).await;
    let connector = router.connector().via(balancer.address);
    let pair = Pair::open(&connector, "innocent").await;
    (router, balancer, pair)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_stream_that_does_not_come() {
    let setting = ("connections.first_stream_timeout", "400ms");
    let (router, _balancer, mut pair) = with_pair_from_elsewhere(setting).await;
    let mut raw = raw_tls(&router).await;
    let code = pair.while_doing(raw.goaway_then_end()).await;
    assert_eq!(code, Some(0), "told in good order");
    router.closed(ConnectionEnd::FirstStreamTimeout, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_streams_is_idle_one_with_a_stream_is_not() {
    let setting = ("connections.idle_timeout", "500ms");
    let (router, _balancer, mut pair) = with_pair_from_elsewhere(setting).await;
    let mut raw = raw_tls(&router).await;
    let call = raw::call_headers(&token("short"));
    raw.send(&frame(raw::HEADERS, raw::END_HEADERS, 1, &call))
        .await;
    let waiting = &router.metrics().streams_waiting;
    until("it waits", || waiting.get() == 1).await;
    let cancel = 8_u32.to_be_bytes();
    raw.send(&frame(raw::RST_STREAM, 0, 1, &cancel)).await;
    let code = pair.while_doing(raw.goaway_then_end()).await;
    assert_eq!(code, Some(0));
    router.closed(ConnectionEnd::Idle, 1).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    pair.ping_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_that_is_not_answered() {
    let settings = [
        ("connections.keepalive_interval", "300ms"),
        ("connections.keepalive_timeout", "500ms"),
    ];
    let router = Running::start(&settings).await;
    // Two that only answer pings, as libraries do by themselves, and one that keeps quiet.
    let mut pair = router.pair("innocent").await;
    let mut raw = raw_tls(&router).await;
    assert!(raw.next_of(raw::PING).await.is_some());
    assert_eq!(raw.goaway_then_end().await, Some(0));
    router.closed(ConnectionEnd::KeepaliveTimeout, 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    pair.ping_pong().await;
    assert_eq!(
        router
            .metrics()
            .connections_closed
            .count(ConnectionEnd::KeepaliveTimeout),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stops_reading_its_socket() {
    let settings = [
        ("connections.write_stall_timeout", "600ms"),
        ("streams.initial_window", "16MiB"),
        ("streams.linger", "1s"),
    ];
    let router = Running::start(&settings).await;
    let mut innocent = router.pair("innocent").await;
    let token = token("stalled");
    let channel = router.connector().channel().await.unwrap();
    let sending = tokio::spawn(async move { call(channel, &token, vec![]).await });

    // Grants endless credit on both levels, then reads no more.
    let mut raw = raw_tls(&router).await;
    let window = [0, 4, 0x7f, 0xff, 0xff, 0xff];
    raw.send(&frame(raw::SETTINGS, 0, 0, &window)).await;
    raw.send(&frame(
        raw::WINDOW_UPDATE,
        0,
        0,
        &0x7fff_0000_u32.to_be_bytes(),
    ))
    .await;
    let headers = raw::call_headers(&helpers::token("stalled"));
    raw.send(&frame(raw::HEADERS, raw::END_HEADERS, 1, &headers))
        .await;
    assert!(raw.next_of(raw::HEADERS).await.is_some(), "paired");

    let mut sender = within("pairing", sending).await.unwrap().unwrap();
    let send = sender.send.clone();
    let flood = tokio::spawn(async move {
        let block = vec![7; 64 * 1024];
        while send.send(data(block.clone())).await.is_ok() {}
    });
    innocent
        .while_doing(router.closed(ConnectionEnd::WriteStalled, 1))
        .await;
    let (told, code, message) = innocent.while_doing(last_words(&mut sender)).await;
    assert!(told, "the sender gets a GOAWAY frame");
    assert_eq!(code, tonic::Code::Unavailable, "{message}");
    flood.abort();
    drop(raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_takes_no_more_streams_and_has_its_grace() {
    let settings = [
        ("connections.max_age", "1s"),
        ("connections.max_age_grace", "1500ms"),
    ];
    let router = Running::start(&settings).await;
    let mut pair = router.pair("ageing").await;
    let mut raw = raw_tls(&router).await;
    let flags = raw::END_HEADERS;
    let call = raw::call_headers(&token("waits"));
    raw.send(&frame(raw::HEADERS, flags, 1, &call)).await;
    assert!(raw.next_of(raw::GOAWAY).await.is_some(), "retired");
    pair.ping_pong().await;
    assert_eq!(raw.goaway_then_end().await, Some(0));
    router.closed(ConnectionEnd::Age, 1).await;
    for call in [&mut pair.one, &mut pair.other] {
        let (told, code, message) = last_words(call).await;
        assert!(told, "{message}");
        assert_eq!(code, tonic::Code::DeadlineExceeded, "{message}");
        // Its own, or the other's, whichever was first.
        assert!(
            message.contains(
                "connection reached the longest time allowed, 2s 500ms (connections.max_age"
            ),
            "{message}"
        );
    }
    // Three connections; all are gone for the same reason.
    router.closed(ConnectionEnd::Age, 3).await;
    let ends = &router.metrics().stream_ends;
    assert_eq!(ends.get("lost").get() + ends.get("peer_lost").get(), 0);
    // A new connection is as good as ever.
    router.pair("fresh").await.ping_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grace_streams_outlive_the_age_of_their_connection() {
    let router = Running::start(&[("connections.max_age", "300ms")]).await;
    let mut pair = router.pair("old").await;
    let mut raw = raw_tls(&router).await;
    // Nothing is open on this one, so it ends once it is retired and has answered the ping that goes with it:
    // then no stream can be on its way any more (RFC 9113 section 6.8).
    let ends = async {
        while let Some(got) = raw.next().await {
            if got.kind == raw::PING {
                raw.send(&frame(raw::PING, raw::ACK, 0, &got.payload)).await;
            }
        }
    };
    pair.while_doing(ends).await;
    router.closed(ConnectionEnd::Age, 1).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    pair.ping_pong().await;
}
