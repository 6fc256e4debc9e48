//! Behind load balancers that speak the PROXY protocol: the real address counts, and nothing else is believed.

use std::net::SocketAddr;

use crate::helpers::{
    Pair, Running,
    balancer::{Balancer, Pieces, connect_from},
    process::{Process, usual},
    until, within,
};
use jumpstarter_router::{
    client::{Connector, Trust},
    inside::observe::metrics::{ConnectionAccept, ConnectionEnd},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The address of this machine that the routers of these tests take for a load balancer.
const BALANCER: &str = "127.0.0.2";

const TRUST: (&str, &str) = ("listen.proxy_protocol_from", "127.0.0.2/32,fd00::/8");

fn line(ip: &str) -> Vec<u8> {
    let family = if ip.contains(':') { "TCP6 " } else { "TCP4 " };
    let other = if ip.contains(':') { "::1" } else { "10.0.0.1" };
    format!("PROXY {family}{ip} {other} 51234 443\r\n").into_bytes()
}

/// Version 2, with what `HAProxy` and cloud load balancers add.
fn binary(ip: &str) -> Vec<u8> {
    let source: SocketAddr = (ip.parse::<std::net::IpAddr>().unwrap(), 51234).into();
    let to: SocketAddr = if source.is_ipv4() {
        "10.0.0.1:443".parse().unwrap()
    } else {
        "[::1]:443".parse().unwrap()
    };
    let command = ppp::v2::Version::Two | ppp::v2::Command::Proxy;
    ppp::v2::Builder::with_addresses(command, ppp::v2::Protocol::Stream, (source, to))
        .write_tlv(ppp::v2::Type::ALPN, b"h2")
        .unwrap()
        .write_tlv(ppp::v2::Type::Authority, b"router.example.com")
        .unwrap()
        .write_tlv(0xEA, &[1; 300])
        .unwrap()
        .build()
        .unwrap()
}

/// A load balancer's own connection.
fn local() -> Vec<u8> {
    b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00".to_vec()
}

fn count(router: &Running, result: ConnectionAccept) -> u64 {
    router.metrics().connections.count(result)
}

async fn through(router: &Running, header: Vec<u8>, pieces: Pieces) -> (Balancer, Connector) {
    let balancer = Balancer::start(BALANCER, router.server.address, header, pieces).await;
    let connector = router.connector().via(balancer.address);
    (balancer, connector)
}

async fn is_closed(mut socket: TcpStream) {
    let read = within("the end", socket.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "closed without a word");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_header_in_front_of_tls_and_plaintext() {
    for tls in ["false", "true"] {
        let router = Running::start(&[TRUST, ("tls.plaintext", tls)]).await;
        let mut direct = router.pair("without a header").await;
        let headers = [
            line("203.0.113.7"),
            line("2001:db8::7"),
            b"PROXY UNKNOWN\r\n".to_vec(),
            format!(
                "PROXY UNKNOWN {0} {0} 65535 65535\r\n",
                ["ffff"; 8].join(":")
            )
            .into_bytes(),
            binary("203.0.113.7"),
            binary("2001:db8::7"),
            local(),
        ];
        for header in headers {
            for pieces in [Pieces::Together, Pieces::Bytes] {
                let (_balancer, connector) = through(&router, header.clone(), pieces).await;
                Pair::open(&connector, "behind it").await.ping_pong().await;
            }
        }
        direct.ping_pong().await;
        assert_eq!(count(&router, ConnectionAccept::Accepted), 2 + 7 * 2 * 2);
        assert_eq!(count(&router, ConnectionAccept::RefusedProxyHeader), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_count_the_real_address() {
    let limit = ("connections.max_per_address", "2");
    let router = Running::start(&[TRUST, limit]).await;
    let (_balancer, one) = through(&router, line("203.0.113.7"), Pieces::Together).await;
    let mut pair = Pair::open(&one, "one").await;
    // Seen in another family and version, it is the same address.
    let (_balancer, same) = through(&router, binary("::ffff:203.0.113.7"), Pieces::Together).await;
    assert!(within("refusal", same.tls()).await.is_err());
    assert_eq!(count(&router, ConnectionAccept::RefusedAddressLimit), 1);
    let (_balancer, other) = through(&router, line("203.0.113.8"), Pieces::Together).await;
    Pair::open(&other, "other").await.ping_pong().await;

    // Of IPv6, the network counts.
    let (_balancer, v6) = through(&router, binary("2001:db8:0:1::1"), Pieces::Together).await;
    let _held = Pair::open(&v6, "v6").await;
    let (_balancer, near) = through(&router, line("2001:db8:0:1:ffff::2"), Pieces::Together).await;
    assert!(within("refusal", near.tls()).await.is_err());
    let (_balancer, far) = through(&router, line("2001:db8:0:2::1"), Pieces::Together).await;
    Pair::open(&far, "far").await.ping_pong().await;
    pair.ping_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_wrong_close_their_connection_only() {
    let router = Running::start(&[TRUST]).await;
    let mut pair = router.pair("innocent").await;
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
    let wrong: [&[u8]; 7] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a ClientHello",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 51234\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 51234 443\n",
        long.as_bytes(),
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\x00\x0c",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ];
    for (number, header) in wrong.iter().enumerate() {
        let mut socket = connect_from(BALANCER, router.server.address).await;
        socket.write_all(header).await.unwrap();
        is_closed(socket).await;
        let refused = count(&router, ConnectionAccept::RefusedProxyHeader);
        assert_eq!(refused, number as u64 + 1);
    }
    // Broken off inside the header.
    let mut socket = connect_from(BALANCER, router.server.address).await;
    socket.write_all(b"PROXY TCP4 203.0").await.unwrap();
    drop(socket);
    until("the end", || {
        count(&router, ConnectionAccept::RefusedProxyHeader) == 8
    })
    .await;
    pair.ping_pong().await;
    until("all are closed", || {
        router.metrics().connections_open.get() == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_header_is_not_waited_for() {
    let timeout = ("listen.proxy_protocol_timeout", "300ms");
    let router = Running::start(&[TRUST, timeout]).await;
    let mut pair = router.pair("innocent").await;
    let silent = connect_from(BALANCER, router.server.address).await;
    let mut slow = connect_from(BALANCER, router.server.address).await;
    slow.write_all(b"PROXY TCP4 ").await.unwrap();
    let both = async { tokio::join!(is_closed(silent), is_closed(slow)) };
    pair.while_doing(both).await;
    assert_eq!(count(&router, ConnectionAccept::ProxyHeaderTimeout), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_of_the_balancer() {
    let router = Running::start(&[TRUST]).await;
    // Whether the port is open.
    drop(connect_from(BALANCER, router.server.address).await);
    until("counted", || {
        count(&router, ConnectionAccept::NoProxyHeader) == 1
    })
    .await;
    // The same, saying that it is a connection of its own.
    let mut socket = connect_from(BALANCER, router.server.address).await;
    socket.write_all(&local()).await.unwrap();
    drop(socket);
    router.closed(ConnectionEnd::PeerClosed, 1).await;
    assert_eq!(count(&router, ConnectionAccept::Accepted), 1);
    assert_eq!(count(&router, ConnectionAccept::RefusedProxyHeader), 0);
}

/// From elsewhere a header is just bytes that are not TLS, and names nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_from_elsewhere_is_not_looked_at() {
    let router = Running::start(&[TRUST]).await;
    for header in [line("203.0.113.7"), binary("203.0.113.7")] {
        let mut socket = connect_from("127.0.0.3", router.server.address).await;
        socket.write_all(&header).await.unwrap();
        is_closed(socket).await;
    }
    router.closed(ConnectionEnd::NotHttp2, 2).await;
    assert_eq!(count(&router, ConnectionAccept::RefusedProxyHeader), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_real_address() {
    let settings = [TRUST, ("log.format", "json")];
    let mut process = Process::start(usual(&settings));
    let address: SocketAddr = process.address().parse().unwrap();
    let header = binary("203.0.113.7");
    let balancer = Balancer::start(BALANCER, address, header, Pieces::Together).await;
    let connector = Connector::new(&address.to_string(), Trust::Insecure).unwrap();
    let connector = connector.via(balancer.address);
    let mut pair = Pair::open(&connector, "behind it").await;
    pair.ping_pong().await;
    drop(pair);
    let record = process.line("stream ended");
    assert_eq!(record["peer"], "203.0.113.7");
    assert_eq!(record["other_peer"], "203.0.113.7");
    // A wrong header is laid to whoever sent it.
    let mut socket = connect_from(BALANCER, address).await;
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    is_closed(socket).await;
    let refused = process.line("connection refused");
    assert_eq!(refused["proxy"], BALANCER);
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("expected a PROXY header"), "{error}");
}
