//! Connections without a stream: who may stay, and who makes room when there is need.

use std::time::Duration;

use crate::helpers::{
    LONG, Pair, Running,
    alone::alone,
    balancer::{Balancer, Pieces},
    process::{Process, size, ticks, usual},
    raw::{self, Raw, frame, header},
    token, until, within,
};
use jumpstarter_router::{
    client::{Connector, Trust},
    inside::{
        observe::metrics::{ConnectionAccept, ConnectionEnd},
        transport::limits::spares::SPARE_AFTER,
    },
};
use tokio::{net::TcpStream, time::sleep};
use tokio_rustls::client::TlsStream;

type Spare = Raw<TlsStream<TcpStream>>;

/// The address of this machine that the routers of these tests take for a load balancer.
const BALANCER: (&str, &str) = ("listen.proxy_protocol_from", "127.0.0.2");

/// A connection past its handshakes that asks for nothing.
async fn spare(router: &Running) -> Spare {
    Raw::open(within("TLS", router.connector().tls()).await.unwrap()).await
}

/// The same, from another host.
async fn spare_from(ip: &str, router: &Running) -> (Balancer, Spare) {
    let balancer = balancer(ip, router).await;
    let connector = router.connector().via(balancer.address);
    let tls = within("TLS", connector.tls()).await.unwrap();
    (balancer, Raw::open(tls).await)
}

async fn balancer(ip: &str, router: &Running) -> Balancer {
    let line = format!("PROXY TCP4 {ip} 10.0.0.1 51234 443\r\n");
    let to = router.server.address;
    Balancer::start("127.0.0.2", to, line.into_bytes(), Pieces::Together).await
}

/// Whether connections have been closed for this reason.
fn closed(router: &Running, end: ConnectionEnd) -> u64 {
    router.metrics().connections_closed.count(end)
}

/// How many connections are past their handshakes, with a stream and without.
fn counted(router: &Running) -> (i64, i64) {
    let metrics = router.metrics();
    let with = metrics.connections_with_streams.get();
    (with, metrics.connections_without_streams.get())
}

/// It is closed in good order: peers then repeat elsewhere what they may just have sent.
async fn is_taken_back(mut spare: Spare) {
    assert_eq!(spare.goaway_then_end().await, Some(0));
}

/// It answers a PING.
async fn is_open(spare: &mut Spare) {
    assert!(spare.send(&frame(raw::PING, 0, 0, &[7; 8])).await);
    let answer = spare.next_of(raw::PING).await.expect("it was closed");
    assert_eq!((answer.flags, answer.payload), (raw::ACK, vec![7; 8]));
}

fn call(method: &str, path: &str, kind: &str, token: &str) -> Vec<u8> {
    let block = [
        header(":method", method),
        header(":scheme", "https"),
        header(":path", path),
        header("content-type", kind),
        header("authorization", &format!("Bearer {token}")),
    ];
    block.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_is_no_stream() {
    let settings = [
        ("connections.first_stream_timeout", "500ms"),
        ("streams.max", "2"),
        BALANCER,
    ];
    let router = Running::start(&settings).await;
    // With the place that is kept for its partner, nobody else finds one.
    let (_balancer, mut waits) = spare_from("203.0.113.7", &router).await;
    let headers = raw::call_headers(&token("waits"));
    waits
        .send(&frame(raw::HEADERS, raw::END_HEADERS, 1, &headers))
        .await;
    until("it waits", || router.metrics().streams_waiting.get() == 1).await;
    let (stream, grpc) = ("/jumpstarter.v1.RouterService/Stream", "application/grpc");
    let good = token("finds no place");
    let refused = [
        call("POST", stream, grpc, "no token"),
        call("POST", stream, grpc, &good),
        call("POST", stream, "text/plain", &good),
        call("GET", stream, grpc, &good),
        call("POST", "/unknown.Service/Call", grpc, &good),
    ];
    let count = refused.len() as u64;
    for headers in refused {
        let mut spare = spare(&router).await;
        let flags = raw::END_HEADERS | raw::END_STREAM;
        spare.send(&frame(raw::HEADERS, flags, 1, &headers)).await;
        assert!(spare.next_of(raw::HEADERS).await.is_some(), "an answer");
        is_taken_back(spare).await;
    }
    router
        .closed(ConnectionEnd::FirstStreamTimeout, count)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_call_is_let_finish() {
    let router = Running::start(&[("connections.first_stream_timeout", "300ms")]).await;
    let mut spare = spare(&router).await;
    let watch = call(
        "POST",
        "/grpc.health.v1.Health/Watch",
        "application/grpc",
        "",
    );
    spare
        .send(&frame(raw::HEADERS, raw::END_HEADERS, 1, &watch))
        .await;
    spare
        .send(&frame(raw::DATA, raw::END_STREAM, 1, &[0; 5]))
        .await;
    assert!(spare.next_of(raw::DATA).await.is_some(), "the status");
    sleep(Duration::from_millis(900)).await;
    is_open(&mut spare).await;
    let cancel = 8_u32.to_be_bytes();
    spare.send(&frame(raw::RST_STREAM, 0, 1, &cancel)).await;
    is_taken_back(spare).await;
    router.closed(ConnectionEnd::FirstStreamTimeout, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_connection_stays_while_its_peer_has_a_stream() {
    let settings = [("connections.first_stream_timeout", "400ms"), BALANCER];
    let router = Running::start(&settings).await;
    let host = balancer("203.0.113.7", &router).await;
    let connector = router.connector().via(host.address);
    let mut pair = Pair::open(&connector, "stock").await;
    // Two that asked for nothing, and one that had its stream.
    let (_one, mut kept) = spare_from("203.0.113.7", &router).await;
    let (_two, stranger) = spare_from("203.0.113.8", &router).await;
    let (_three, mut used) = spare_from("203.0.113.7", &router).await;
    let headers = raw::call_headers(&token("short"));
    used.send(&frame(raw::HEADERS, raw::END_HEADERS, 1, &headers))
        .await;
    until("it waits", || counted(&router) == (3, 2)).await;
    let cancel = 8_u32.to_be_bytes();
    used.send(&frame(raw::RST_STREAM, 0, 1, &cancel)).await;
    until("it is without a stream", || counted(&router) == (2, 3)).await;

    pair.while_doing(is_taken_back(stranger)).await;
    sleep(Duration::from_millis(1500)).await;
    is_open(&mut kept).await;
    is_open(&mut used).await;
    assert_eq!(closed(&router, ConnectionEnd::FirstStreamTimeout), 1);
    assert_eq!(counted(&router), (2, 2));
    pair.ping_pong().await;
    // Without it, the time is the usual one.
    drop(pair);
    is_taken_back(kept).await;
    router.closed(ConnectionEnd::FirstStreamTimeout, 2).await;
    is_open(&mut used).await;
}

/// With a name such as localhost the stream comes over one address and the spare connection over another.
#[tokio::test(flavor = "multi_thread")]
async fn all_loopback_addresses_are_one_host() {
    let settings = [
        ("connections.first_stream_timeout", "300ms"),
        ("listen.address", "[::]:0"),
        ("tls.plaintext", "true"),
    ];
    let router = Running::start(&settings).await;
    let port = router.server.address.port();
    let connector = Connector::new(&format!("127.0.0.1:{port}"), Trust::Plaintext);
    let mut pair = Pair::open(&connector.unwrap(), "stock").await;
    let Ok(socket) = TcpStream::connect(("::1", port)).await else {
        // A machine without IPv6.
        return;
    };
    let mut spare = Raw::open(socket).await;
    sleep(Duration::from_millis(1200)).await;
    assert!(spare.send(&frame(raw::PING, 0, 0, &[7; 8])).await);
    assert!(spare.next_of(raw::PING).await.is_some());
    pair.ping_pong().await;
}

/// Two spare connections, the first one idle longer, and a pair that must not notice.
async fn two_spares(settings: &[(&str, &str)]) -> (Running, Pair, Spare, Spare) {
    let router = Running::start(settings).await;
    let pair = router.pair("innocent").await;
    let first = spare(&router).await;
    until("it is there", || counted(&router) == (2, 1)).await;
    sleep(Duration::from_millis(100)).await;
    let second = spare(&router).await;
    sleep(SPARE_AFTER + Duration::from_millis(500)).await;
    (router, pair, first, second)
}

async fn make_room(limit: &str, refusal: ConnectionAccept) {
    let (router, mut pair, first, mut second) = two_spares(&[(limit, "4")]).await;
    // The newcomer is let in, at the cost of who is idle longest.
    let mut newcomer = spare(&router).await;
    is_open(&mut newcomer).await;
    is_taken_back(first).await;
    router.closed(ConnectionEnd::MadeRoom, 1).await;
    is_open(&mut second).await;
    pair.ping_pong().await;
    until("its place", || router.metrics().connections_open.get() == 4).await;

    // Whoever has a stream stays, and so does whoever is about to open one.
    let headers = raw::call_headers(&token("waits"));
    second
        .send(&frame(raw::HEADERS, raw::END_HEADERS, 1, &headers))
        .await;
    until("it waits", || counted(&router) == (3, 1)).await;
    drop(newcomer);
    until("it is gone", || {
        router.metrics().connections_open.get() == 3
    })
    .await;
    let mut fresh = spare(&router).await;
    is_open(&mut fresh).await;
    assert!(within("refusal", router.connector().tls()).await.is_err());
    assert_eq!(router.metrics().connections.count(refusal), 1);
    is_open(&mut fresh).await;
    is_open(&mut second).await;
    pair.ping_pong().await;
    assert_eq!(closed(&router, ConnectionEnd::MadeRoom), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_connection_makes_room_for_a_newcomer() {
    let refusal = ConnectionAccept::RefusedLimit;
    Box::pin(make_room("connections.max", refusal)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_connection_makes_room_for_a_newcomer_from_its_address() {
    let limit = "connections.max_per_address";
    let refusal = ConnectionAccept::RefusedAddressLimit;
    Box::pin(make_room(limit, refusal)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spare_connections_make_room_in_memory() {
    let (router, mut pair, first, mut second) = two_spares(&[]).await;
    let spares = &router.server.router().limits.spares;
    assert!(spares.take_back(ConnectionEnd::Memory));
    is_taken_back(first).await;
    router.closed(ConnectionEnd::Memory, 1).await;
    is_open(&mut second).await;
    assert!(spares.take_back(ConnectionEnd::Memory));
    is_taken_back(second).await;
    assert!(
        !spares.take_back(ConnectionEnd::Memory),
        "nobody with a stream"
    );
    pair.ping_pong().await;
    until("counted", || counted(&router) == (2, 0)).await;
}

/// Or its peer would open its next stream on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_spare_connection_is_told_of_the_drain() {
    let (router, mut pair, mut spare, _second) = two_spares(&[]).await;
    let drain = tokio::spawn(router.server.drain(LONG));
    assert!(spare.next_of(raw::GOAWAY).await.is_some());
    pair.ping_pong().await;
    drop(pair);
    within("the end", drain).await.unwrap();
}

/// What docs/limits.md says that it costs.
#[tokio::test(flavor = "multi_thread")]
async fn a_spare_connection_costs_little() {
    // Below 1,024 descriptors, which is what many machines allow a process.
    const COUNT: u64 = 800;
    if !alone!() {
        return;
    }
    let mut process = Process::start(usual(&[("connections.first_stream_timeout", "10m")]));
    let connector = Connector::new(&process.address(), Trust::Insecure).unwrap();
    let mut spares = Vec::new();
    let mut before = 0;
    for number in 0..COUNT + 50 {
        if number == 50 {
            // What the first ones needed is there for all.
            sleep(Duration::from_millis(500)).await;
            before = size(process.pid(), "VmRSS") / 1024;
        }
        let mut spare = Raw::open(within("TLS", connector.tls()).await.unwrap()).await;
        assert!(spare.next_of(raw::SETTINGS).await.is_some());
        spares.push(spare);
    }
    let work = ticks(process.pid());
    sleep(Duration::from_secs(2)).await;
    let each = (size(process.pid(), "VmRSS") / 1024 - before) / COUNT;
    println!("{each} KiB each");
    // 34 KiB.
    assert!(each < 40, "{each} KiB each");
    let work = ticks(process.pid()) - work;
    assert!(work < 10, "{work} ticks of 10 ms in 2 s");
    assert!(process.is_running());
}
