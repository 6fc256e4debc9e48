#![allow(clippy::unwrap_used)]
use std::{sync::Arc, time::SystemTime};

use proptest::prelude::*;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsConnector, client};

use super::TlsStream;
use crate::tls::provider::Provider;
use crate::transport::tls::{
    gather::Gather,
    settings::{self, Terms},
};

impl Gather for DuplexStream {}

fn server() -> (Arc<rustls::ServerConfig>, CertificateDer<'static>) {
    let crypto = Provider::Auto.crypto();
    let key = settings::self_signed("localhost", SystemTime::now(), &crypto).unwrap();
    let certificate = key.cert[0].clone();
    let terms = Terms {
        key: key.into(),
        clients: None,
        sessions: 10,
        allow_missing_alpn: false,
    };
    let config = settings::server_config(&terms, crypto).unwrap();
    (config, certificate)
}

fn client(certificate: CertificateDer<'static>, alpn: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut config = ClientConfig::builder_with_provider(Provider::Auto.crypto())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// A connection whose wire holds `wire` bytes each way.
async fn connected(wire: usize) -> (client::TlsStream<DuplexStream>, TlsStream<DuplexStream>) {
    let (config, certificate) = server();
    let (near, far) = duplex(wire);
    let name = ServerName::try_from("localhost").unwrap();
    let (client, server) = tokio::join!(
        client(certificate, &[b"h2"]).connect(name, near),
        TlsStream::accept(far, config)
    );
    (client.unwrap(), server.unwrap())
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn the_protocol_is_agreed_on() {
    let (_client, server) = run(connected(4096));
    assert_eq!(server.alpn_protocol(), Some(&b"h2"[..]));
    // A connection at rest holds no buffer.
    assert!(server.incoming.buffer.is_none());
    assert!(server.outgoing.buffer.is_none());
    assert!(server.gathering.buffer.is_none());
}

#[test]
fn a_failed_handshake_is_answered_with_an_alert() {
    let error = run(async {
        let (config, certificate) = server();
        let (near, far) = duplex(64 * 1024);
        let name = ServerName::try_from("localhost").unwrap();
        let server = tokio::spawn(TlsStream::accept(far, config));
        let error = client(certificate, &[b"http/1.1"])
            .connect(name, near)
            .await
            .unwrap_err();
        assert!(server.await.unwrap().is_err());
        error.to_string()
    });
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn what_is_written_waits_for_the_push_and_goes_in_full_records() {
    run(async {
        let (mut client, mut server) = connected(1024 * 1024).await;
        server.set_deferred(true);
        for part in pattern(40_000, 1).chunks(1_000) {
            server.write_all(part).await.unwrap();
            server.flush().await.unwrap();
        }
        // Two full records are encrypted, the rest is still gathering; nothing has been sent.
        assert_eq!(server.gathering.len(), 40_000 - 2 * super::RECORD);
        assert_eq!(server.outgoing.start, 0);
        assert!(server.outgoing.len() < 2 * super::RECORD_ON_WIRE);
        std::future::poll_fn(|cx| server.poll_push(cx))
            .await
            .unwrap();
        assert!(server.outgoing.buffer.is_none());
        let mut got = vec![0; 40_000];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(got, pattern(40_000, 1));
    });
}

/// 2,800 connections that were stopped with 64 KiB each in here once held 180 MiB that nobody counted.
#[test]
fn when_memory_is_short_one_record_is_read_ahead_and_what_waits_is_counted() {
    run(async {
        let (mut client, mut server) = connected(1024 * 1024).await;
        assert_eq!(server.unread(), 0);
        let sent = pattern(4 * super::RECORD, 1);
        client.write_all(&sent).await.unwrap();
        let mut got = vec![0; 1_000];
        server.set_sparing(true);
        server.read_exact(&mut got).await.unwrap();
        server.rest();
        let one = super::RECORD + super::SPARING;
        let unread = server.unread();
        assert!((super::RECORD - 1_000..one).contains(&unread), "{unread}");

        let mut rest = vec![0; super::RECORD];
        server.set_sparing(false);
        server.read_exact(&mut rest).await.unwrap();
        got.append(&mut rest);
        let lent = server.unread();
        assert!(lent > super::staged::SIZE, "{lent}");
        server.rest();
        let kept = server.unread();
        assert!((2 * super::RECORD..lent).contains(&kept), "{kept}");

        let mut rest = vec![0; sent.len() - got.len()];
        server.read_exact(&mut rest).await.unwrap();
        got.append(&mut rest);
        assert!(got == sent, "no byte is lost");
        assert_eq!(server.unread(), 0);
    });
}

#[test]
fn a_closed_peer_is_an_end() {
    run(async {
        let (mut client, mut server) = connected(64 * 1024).await;
        client.write_all(b"last").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"last");
    });
}

#[test]
fn bytes_that_are_no_record_are_an_error() {
    run(async {
        let (mut client, mut server) = connected(64 * 1024).await;
        let (wire, _) = client.get_mut();
        wire.write_all(&[0x17, 3, 3, 0, 32]).await.unwrap();
        wire.write_all(&[0; 32]).await.unwrap();
        assert!(server.read_u8().await.is_err());
    });
}

/// A handshake message of which the second part never comes is pending when the error is found: TLS remembers
/// where in the bytes it lies, and panics if it is not given them again.
#[test]
fn garbage_inside_a_fragmented_message_is_an_error() {
    run(async {
        let (config, _) = server();
        let (mut near, far) = duplex(64 * 1024);
        let server = tokio::spawn(TlsStream::accept(far, config));
        // A ClientHello that claims to be longer than its record, which is full.
        let mut hello = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0x80, 0];
        hello.resize(5 + 0x4000, 0);
        near.write_all(&hello).await.unwrap();
        near.write_all(&[0x17, 3, 3, 0, 1, 0]).await.unwrap();
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        assert!(server.await.unwrap().is_err());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Both ways at once, through a narrow wire, in pieces of any size, read with buffers of any size.
    #[test]
    fn all_bytes_arrive_in_order(
        wire in 100usize..50_000,
        pieces in prop::collection::vec(1usize..40_000, 1..20),
        room in 1usize..30_000,
        deferred: bool,
        sparing: bool,
    ) {
        let sent: Vec<u8> = pieces.iter().enumerate().flat_map(|(at, &len)| pattern(len, at as u8)).collect();
        let total = sent.len();
        let (to_server, to_client) = run(async {
            let (client, mut server) = connected(wire).await;
            server.set_deferred(deferred);
            server.set_sparing(sparing);
            let (mut client_reads, mut client_writes) = tokio::io::split(client);
            let (there, back) = (sent.clone(), sent.clone());
            let client = async {
                let write = async { client_writes.write_all(&there).await.unwrap(); client_writes.flush().await.unwrap(); };
                let mut got = vec![0; total];
                let read = client_reads.read_exact(&mut got);
                let ((), read) = tokio::join!(write, read);
                read.unwrap();
                got
            };
            let server = async {
                let (mut reads, mut writes) = tokio::io::split(&mut server);
                let write = async {
                    let mut rest = &back[..];
                    for &piece in &pieces {
                        writes.write_all(&rest[..piece]).await.unwrap();
                        writes.flush().await.unwrap();
                        rest = &rest[piece..];
                    }
                };
                let read = async {
                    let mut got = Vec::new();
                    let mut buffer = vec![0; room];
                    while got.len() < total {
                        let count = reads.read(&mut buffer).await.unwrap();
                        assert!(count > 0, "ended early");
                        got.extend_from_slice(&buffer[..count]);
                    }
                    got
                };
                let ((), got) = tokio::join!(write, read);
                std::future::poll_fn(|cx| server.poll_push(cx)).await.unwrap();
                got
            };
            let (got, back) = tokio::join!(client, server);
            (back, got)
        });
        prop_assert!(to_server == sent);
        prop_assert!(to_client == sent);
    }
}
