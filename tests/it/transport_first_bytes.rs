//! A connection's first byte: it says whether the rest is worth waiting for, and its end is seen at once.

use std::time::{Duration, Instant};

use crate::helpers::{
    Running,
    balancer::connect_from,
    process::{Process, ticks, usual},
    until, within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The address of this machine that is a load balancer, where one is.
const BALANCER: &str = "127.0.0.2";

/// Far below every deadline of a connection.
const SOON: Duration = Duration::from_secs(3);

/// How long a peer that sends `byte` and closes holds its place: so many at once, against as many places.
async fn burst(settings: &[(&str, &str)], from: &str, byte: u8) {
    const COUNT: usize = 5_000;
    let mut all = vec![("connections.max", "5000"), ("listen.backlog", "4096")];
    all.extend(settings);
    let router = Running::start(&all).await;
    let mut pair = router.pair("innocent").await;
    for _ in 0..COUNT {
        let mut socket = connect_from(from, router.server.address).await;
        socket.write_all(&[byte]).await.unwrap();
    }
    let start = Instant::now();
    let open = &router.metrics().connections_open;
    until("only the pair is left", || open.get() == 2).await;
    assert!(
        start.elapsed() < SOON,
        "{byte:#x}: {:?} {settings:?}",
        start.elapsed()
    );
    router.pair("newcomers").await.ping_pong().await;
    pair.ping_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_and_gone_holds_no_place() {
    for byte in [b'x', 0x16] {
        burst(&[], "127.0.0.1", byte).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_and_gone_holds_no_place_without_tls() {
    for byte in [b'x', b'P'] {
        burst(&[("tls.plaintext", "true")], "127.0.0.1", byte).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_and_gone_holds_no_place_behind_a_load_balancer() {
    for byte in [b'x', b'P'] {
        burst(&[("listen.proxy_protocol_from", BALANCER)], BALANCER, byte).await;
    }
}

/// The end of the connection, while the peer keeps its side open.
async fn refused(router: &Running, from: &str, bytes: &[u8]) {
    let mut socket = connect_from(from, router.server.address).await;
    socket.write_all(bytes).await.unwrap();
    let start = Instant::now();
    let end = within("the end", socket.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(0) | Err(_)));
    assert!(start.elapsed() < SOON, "{bytes:?}: {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_byte_of_something_else_is_refused_at_once() {
    let behind = ("listen.proxy_protocol_from", BALANCER);
    let router = Running::start(&[behind]).await;
    refused(&router, "127.0.0.1", b"x").await;
    refused(&router, "127.0.0.1", b"P").await;
    refused(&router, BALANCER, b"x").await;
    refused(&router, BALANCER, b"PROXY UNKNOWN\r\nx").await;
    let router = Running::start(&[behind, ("tls.plaintext", "true")]).await;
    refused(&router, "127.0.0.1", b"x").await;
    refused(&router, "127.0.0.1", b"PO").await;
    refused(&router, "127.0.0.1", b"\x16").await;
    refused(&router, BALANCER, b"PROXY UNKNOWN\r\nx").await;
}

/// Nobody looks again and again whether there is more.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_sent_one_byte_is_waited_for_without_work() {
    let settings = [
        ("tls.plaintext", "true"),
        ("connections.preface_timeout", "10m"),
    ];
    let mut process = Process::start(usual(&settings));
    let address = process.address();
    let mut parked = Vec::new();
    for _ in 0..500 {
        let mut socket = TcpStream::connect(&address).await.unwrap();
        socket.write_all(b"P").await.unwrap();
        parked.push(socket);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = ticks(process.pid());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = ticks(process.pid()) - before;
    assert!(used < 10, "{used} ticks of 10 ms in 2 s");
    assert!(process.is_running());
}
