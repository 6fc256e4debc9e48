//! What arrives on the port besides TLS with HTTP/2.

use std::{io, net::SocketAddr, sync::Arc};

use crate::helpers::{
    Pair, Running,
    balancer::{Balancer, connect_from},
    process::{Process, usual},
    raw::{self, Raw, frame},
    token, until, within,
};
use jumpstarter_router::{
    client::{Connector, Trust},
    inside::{
        observe::metrics::{ConnectionEnd, TlsHandshake},
        tls::trust::{self, client_config},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

async fn connect(router: &Running, alpn: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
    connect_to(router.server.address, alpn).await
}

async fn connect_to(address: SocketAddr, alpn: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
    let mut config = client_config(trust::Trust::Any, None).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let socket = TcpStream::connect(address).await?;
    let name = "127.0.0.1".try_into().unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, socket);
    within("a handshake", connected).await
}

/// Sends `bytes` on a bare socket and waits until the router closes it; gives what it answered.
async fn speak(router: &Running, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(router.server.address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end like any other: what the router did not read makes one.
    let _ = within("the end", socket.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn without_alpn_the_handshake_completes_and_the_connection_is_closed_quietly() {
    let router = Running::start(&[]).await;
    let mut pair = router.pair("innocent").await;
    for _ in 0..3 {
        let mut stream = connect(&router, &[]).await.unwrap();
        assert!(stream.get_ref().1.peer_certificates().is_some());
        let mut answer = Vec::new();
        // An end in good order, with close_notify, or this would be an error.
        let read = within("the end", stream.read_to_end(&mut answer)).await;
        assert_eq!(read.unwrap(), 0);
    }
    until("counted", || {
        router.metrics().tls_handshakes.count(TlsHandshake::NoAlpn) == 3
    })
    .await;
    router.closed(ConnectionEnd::NotHttp2, 3).await;
    pair.ping_pong().await;
}

/// As a proxy does that encrypts again.
#[tokio::test(flavor = "multi_thread")]
async fn without_alpn_http2_is_served_if_it_may_be() {
    let router = Running::start(&[("tls.allow_missing_alpn", "true")]).await;
    let mut pair = router.pair("innocent").await;
    let mut raw = Raw::open(connect(&router, &[]).await.unwrap()).await;
    let headers = raw::call_headers(&token("through a proxy"));
    raw.send(&frame(raw::HEADERS, raw::END_HEADERS, 1, &headers))
        .await;
    let waiting = &router.metrics().streams_waiting;
    until("it waits", || waiting.get() == 1).await;
    // The first bytes may come one at a time.
    let mut slow = connect(&router, &[]).await.unwrap();
    for byte in raw::PREFACE {
        slow.write_all(&[*byte]).await.unwrap();
        slow.flush().await.unwrap();
    }
    let mut slow = Raw(slow);
    slow.send(&frame(raw::SETTINGS, 0, 0, &[])).await;
    assert!(slow.next_of(raw::SETTINGS).await.is_some());
    // Nothing else is, and looks at the certificate are what they were.
    let mut other = connect(&router, &[]).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let read = within("the end", other.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(0) | Err(_)));
    router.closed(ConnectionEnd::NotHttp2, 1).await;
    let mut look = connect(&router, &[]).await.unwrap();
    look.shutdown().await.unwrap();
    let read = within("the end", look.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(0) | Err(_)));
    pair.ping_pong().await;
}

/// Whoever looks after the router shall read why a proxy does not get through, and not once for each attempt.
#[tokio::test(flavor = "multi_thread")]
async fn peers_of_another_protocol_are_named_once_in_a_while() {
    let mut process = Process::start(usual(&[]));
    let address: SocketAddr = process.address().parse().unwrap();
    // Stock clients look at the certificate before each connection, and are not worth a line.
    for _ in 0..2 {
        drop(connect_to(address, &[]).await.unwrap());
    }
    for _ in 0..5 {
        let mut proxy = connect_to(address, &[]).await.unwrap();
        proxy.write_all(raw::PREFACE).await.unwrap();
        proxy.flush().await.unwrap();
        let read = within("the end", proxy.read(&mut [0; 1])).await;
        assert!(matches!(read, Ok(0) | Err(_)));
    }
    let line = process.line("connection closed: wrong protocol");
    assert_eq!(line["level"], "info");
    assert_eq!(line["found"], "HTTP/2 in TLS without ALPN");
    let expected = line["expected"].as_str().unwrap();
    assert!(expected.contains("tls.allow_missing_alpn"), "{expected}");
    // From another address it is another matter.
    let mut scanner = connect_from("127.0.0.2", address).await;
    scanner.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let line = process.line("connection closed: wrong protocol");
    assert_eq!(line["peer"], "127.0.0.2");
    assert_eq!(line["found"], "plaintext HTTP/1");
    let said = process.lines.iter();
    assert_eq!(
        said.filter(|line| line.contains("wrong protocol")).count(),
        2
    );
    let balancer = Balancer::plain("127.0.0.3", address).await;
    let connector = Connector::new(&address.to_string(), Trust::Insecure).unwrap();
    let mut pair = Pair::open(&connector.via(balancer.address), "innocent").await;
    pair.ping_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_protocols_by_alpn_fail_with_an_alert() {
    let router = Running::start(&[]).await;
    for alpn in [&[&b"http/1.1"[..]][..], &[b"h3", b"http/1.1"]] {
        let error = connect(&router, alpn).await.unwrap_err().to_string();
        assert!(error.contains("NoApplicationProtocol"), "{error}");
    }
    let handshakes = &router.metrics().tls_handshakes;
    until("counted", || handshakes.count(TlsHandshake::Failed) == 2).await;
    // Offered among others, h2 is taken.
    let stream = connect(&router, &[b"http/1.1", b"h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_on_the_tls_port_is_closed_and_counted() {
    let router = Running::start(&[]).await;
    let mut pair = router.pair("innocent").await;
    let spoken: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x01\x02\x03\x04\x05",
        b"SSH-2.0-client\r\n",
    ];
    for (count, bytes) in spoken.iter().enumerate() {
        assert_eq!(speak(&router, bytes).await, b"", "not a word");
        let handshakes = &router.metrics().tls_handshakes;
        until("counted", || {
            handshakes.count(TlsHandshake::Plaintext) == count as u64 + 1
        })
        .await;
    }
    router.closed(ConnectionEnd::NotHttp2, 4).await;
    pair.ping_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_that_begins_as_tls_fails_its_handshake_only() {
    let router = Running::start(&[]).await;
    let mut pair = router.pair("innocent").await;
    let mut garbage = vec![0x16, 3, 1, 0x3f, 0xff];
    garbage.extend(vec![0xa5; 20_000]);
    speak(&router, &garbage).await;
    let handshakes = &router.metrics().tls_handshakes;
    until("counted", || handshakes.count(TlsHandshake::Failed) == 1).await;
    pair.ping_pong().await;
    assert_eq!(router.metrics().panics.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_closed_without_a_byte_are_no_failed_handshakes() {
    let router = Running::start(&[]).await;
    drop(TcpStream::connect(router.server.address).await.unwrap());
    router.closed(ConnectionEnd::PeerClosed, 1).await;
    assert_eq!(
        router.metrics().tls_handshakes.count(TlsHandshake::Failed),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_http1_on_a_plaintext_router_are_closed() {
    let router = Running::start(&[("tls.plaintext", "true")]).await;
    let mut pair = router.pair("innocent").await;
    let tls = Connector::new(&router.endpoint(), Trust::Insecure).unwrap();
    assert!(within("TLS", tls.tls()).await.is_err());
    router.closed(ConnectionEnd::NotHttp2, 1).await;
    assert_eq!(speak(&router, b"POST / HTTP/1.1\r\n\r\n").await, b"");
    router.closed(ConnectionEnd::NotHttp2, 2).await;
    pair.ping_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_bytes_may_come_one_at_a_time() {
    let router = Running::start(&[("tls.plaintext", "true")]).await;
    let mut socket = TcpStream::connect(router.server.address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for byte in raw::PREFACE {
        socket.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let mut raw = raw::Raw(socket);
    raw.send(&raw::frame(raw::SETTINGS, 0, 0, &[])).await;
    assert!(raw.next_of(raw::SETTINGS).await.is_some());
}
