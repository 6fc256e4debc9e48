//! A router that asks peers for certificates: who is let in, who is told what, and that a change holds at once.

use std::{fs, process::Command, sync::Arc};

use crate::helpers::{
    Certificate, KEY, Pair, Running,
    authority::{self, Authority},
    operated::{Operated, Traffic, replace},
    raw, until, within,
};
use jumpstarter_router::{
    client::{Connector, Identity},
    inside::{
        observe::metrics::{ConnectionEnd, TlsHandshake},
        tls::{
            provider::Provider,
            trust::{Trust, client_config},
        },
    },
};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

async fn asking(authority: &Authority, optional: bool) -> Running {
    let file = authority.file();
    let optional = if optional { "true" } else { "false" };
    Running::start(&[
        ("tls.client_ca", file.to_str().unwrap()),
        ("tls.client_certificate_optional", optional),
    ])
    .await
}

fn connector(address: &str, certificate: &Certificate, identity: Option<Identity>) -> Connector {
    Connector::with_identity(address, certificate.trust(), identity).unwrap()
}

/// What a client hears that is not let in. With TLS 1.3 it believes to be connected until it reads.
async fn refusal(connector: &Connector) -> String {
    let refused = async {
        let mut stream = match connector.tls().await {
            Ok(stream) => stream,
            Err(error) => return error.to_string(),
        };
        // As HTTP/2 clients do. These bytes must not turn the alert into a reset.
        let _ = stream.write_all(raw::PREFACE).await;
        let _ = stream.flush().await;
        match stream.read(&mut [0; 64]).await {
            Ok(count) => format!("no refusal: {count} bytes"),
            Err(error) => error.to_string(),
        }
    };
    within("a refusal", refused).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_of_the_authority_streams_pair_and_its_subject_is_known() {
    let authority = Authority::new("lab");
    let router = asking(&authority, false).await;
    let identity = authority.identity("lab-7");
    let connector = connector(&router.endpoint(), &router.certificate, Some(identity));
    let mut pair = Pair::open(&connector, "certified").await;
    pair.ping_pong().await;
    let mut seen = Vec::new();
    let live = router.server.router();
    live.streams
        .for_each(|live| seen.push(live.certificate.clone().unwrap()));
    assert_eq!(seen, [Arc::from("CN=lab-7"), Arc::from("CN=lab-7")]);
    let handshakes = &router.metrics().tls_handshakes;
    assert_eq!(handshakes.count(TlsHandshake::Ok), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_refused_with_an_alert_and_counted_by_cause() {
    let authority = Authority::new("lab");
    // Of the same name, with another key.
    let stranger = Authority::new("lab");
    let router = asking(&authority, false).await;
    let own = connector(
        &router.endpoint(),
        &router.certificate,
        Some(authority.identity("innocent")),
    );
    let mut pair = Pair::open(&own, "innocent").await;
    let server = authority.signed("server", ExtendedKeyUsagePurpose::ServerAuth, |_| {});
    let itself = [router.certificate.certificate(), router.certificate.key()];
    let metrics = router.metrics();
    let mut expected = [0, 0];
    for (identity, cause, alert) in [
        (None, TlsHandshake::NoCertificate, "CertificateRequired"),
        (
            Some(stranger.identity("stranger")),
            TlsHandshake::BadCertificate,
            "",
        ),
        (
            Some(authority.expired()),
            TlsHandshake::BadCertificate,
            "CertificateExpired",
        ),
        (
            Some(authority::read(&server)),
            TlsHandshake::BadCertificate,
            "",
        ),
        (
            Some(authority::read(&itself)),
            TlsHandshake::BadCertificate,
            "",
        ),
    ] {
        let connector = connector(&router.endpoint(), &router.certificate, identity);
        let said = pair.while_doing(refusal(&connector)).await;
        assert!(said.contains("fatal alert"), "{said}");
        assert!(said.contains(alert), "{alert}: {said}");
        expected[usize::from(cause == TlsHandshake::BadCertificate)] += 1;
        until("counted", || {
            let counted = [TlsHandshake::NoCertificate, TlsHandshake::BadCertificate]
                .map(|cause| metrics.tls_handshakes.count(cause));
            counted == expected
        })
        .await;
    }
    router.closed(ConnectionEnd::NotHttp2, 5).await;
    assert_eq!(metrics.tls_handshakes.count(TlsHandshake::Failed), 0);
    assert_eq!(metrics.streams.get(), 2, "nobody else has come in");
}

/// As stock clients look at the certificate before they connect.
async fn look(router: &Running, version: &'static rustls::SupportedProtocolVersion) {
    let mut roots = RootCertStore::empty();
    roots.add(router.certificate.der.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Provider::Auto.crypto())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    for _ in 0..2 {
        let socket = TcpStream::connect(router.server.address).await.unwrap();
        let name = "127.0.0.1".try_into().unwrap();
        let connected = connector.connect(name, socket);
        let mut stream = within("a handshake", connected).await.unwrap();
        let kind = stream.get_ref().1.handshake_kind();
        assert_ne!(kind, Some(HandshakeKind::Resumed));
        // HTTP/2 without having agreed on it is no way in.
        let _ = stream.write_all(raw::PREFACE).await;
        let mut answer = Vec::new();
        let _ = within("the end", stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_the_certificate_needs_none_and_leads_nowhere() {
    let authority = Authority::new("lab");
    let router = asking(&authority, false).await;
    look(&router, &TLS13).await;
    look(&router, &TLS12).await;
    let handshakes = &router.metrics().tls_handshakes;
    until("counted", || handshakes.count(TlsHandshake::NoAlpn) == 4).await;
    assert_eq!(handshakes.count(TlsHandshake::NoCertificate), 0);
    assert_eq!(handshakes.count(TlsHandshake::Ok), 0);
}

/// Peers that may stay without ALPN are asked like all others.
#[tokio::test(flavor = "multi_thread")]
async fn without_alpn_nobody_stays_who_shows_no_certificate() {
    let authority = Authority::new("lab");
    let file = authority.file();
    let router = Running::start(&[
        ("tls.client_ca", file.to_str().unwrap()),
        ("tls.allow_missing_alpn", "true"),
    ])
    .await;
    let mut config = client_config(Trust::Any, None).unwrap();
    config.alpn_protocols.clear();
    let socket = TcpStream::connect(router.server.address).await.unwrap();
    let name = "127.0.0.1".try_into().unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, socket);
    let mut stream = within("a handshake", connected).await.unwrap();
    let _ = stream.write_all(raw::PREFACE).await;
    assert!(within("refusal", stream.read(&mut [0; 1])).await.is_err());
    let handshakes = &router.metrics().tls_handshakes;
    until("counted", || {
        handshakes.count(TlsHandshake::NoCertificate) == 1
    })
    .await;
    assert_eq!(handshakes.count(TlsHandshake::NoAlpn), 0);
}

/// A hello that comes in pieces, and garbage in its place.
#[tokio::test(flavor = "multi_thread")]
async fn first_messages_are_taken_as_they_come() {
    let authority = Authority::new("lab");
    let router = asking(&authority, false).await;
    for bytes in [&[0x16, 3, 1, 0x3f, 0xff][..], &[0x16; 600]] {
        let mut socket = TcpStream::connect(router.server.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        socket.write_all(&vec![0xa5; 20_000]).await.unwrap();
        let _ = within("the end", socket.read_to_end(&mut Vec::new())).await;
    }
    let handshakes = &router.metrics().tls_handshakes;
    until("counted", || handshakes.count(TlsHandshake::Failed) == 2).await;

    // One byte after the other, through a relay.
    let relay = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = relay.local_addr().unwrap();
    let target = router.server.address;
    tokio::spawn(async move {
        let (mut client, _) = relay.accept().await.unwrap();
        let mut server = TcpStream::connect(target).await.unwrap();
        server.set_nodelay(true).unwrap();
        for _ in 0..200 {
            let byte = client.read_u8().await.unwrap();
            server.write_u8(byte).await.unwrap();
            tokio::task::yield_now().await;
        }
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    let identity = authority.identity("slow");
    let slow = connector(&router.endpoint(), &router.certificate, Some(identity)).via(address);
    within("a handshake", slow.tls()).await.unwrap();
    until("counted", || handshakes.count(TlsHandshake::Ok) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn optional_certificates_must_be_good_if_they_are_shown() {
    let authority = Authority::new("lab");
    let router = asking(&authority, true).await;
    let with = |identity| connector(&router.endpoint(), &router.certificate, identity);
    Pair::open(&with(None), "without").await.ping_pong().await;
    let identity = authority.identity("lab-7");
    Pair::open(&with(Some(identity)), "with")
        .await
        .ping_pong()
        .await;
    let stranger = Authority::new("elsewhere").identity("stranger");
    let said = refusal(&with(Some(stranger))).await;
    assert!(said.contains("fatal alert"), "{said}");
    let handshakes = &router.metrics().tls_handshakes;
    until("counted", || {
        handshakes.count(TlsHandshake::BadCertificate) == 1
    })
    .await;
}

/// How a new connection of a client begins that may have a session left.
async fn kind(connector: &Connector) -> HandshakeKind {
    let stream = within("a handshake", connector.tls()).await.unwrap();
    stream.get_ref().1.handshake_kind().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_holds_at_once_and_sessions_from_before_do_not() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let certificate = Certificate::new();
    let (crt, key) = (certificate.certificate(), certificate.key());
    let tls = format!("[tls]\ncertificate = {crt:?}\nkey = {key:?}\n");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.crt");
    let asking = format!("{tls}client_ca = {file:?}\n");
    let auth = format!("[auth]\nkey = \"{KEY}\"\n");
    let mut operated = Operated::start(&format!("{auth}{tls}"));
    let with = |identity| connector(&operated.address, &certificate, identity);

    // Nobody is asked yet, and sessions are resumed.
    let nobody = with(None);
    drop(Pair::open(&nobody, "before").await);
    assert_eq!(kind(&nobody).await, HandshakeKind::Resumed);
    drop(Pair::open(&nobody, "again").await);

    // Now everybody is. What was agreed on before is not gone on with.
    fs::write(&file, &old.pem).unwrap();
    operated.rewrite(&format!("{auth}{asking}"));
    let line = operated.process.line("configuration reloaded");
    assert_eq!(line["changed"], "tls.client_ca");
    for _ in 0..2 {
        let said = refusal(&nobody).await;
        assert!(said.contains("CertificateRequired"), "{said}");
    }
    let line = operated.process.line("TLS handshake failed");
    assert_eq!(line["cause"], "no_certificate");
    let one = with(Some(old.identity("one")));
    let traffic = Traffic::on(Pair::open(&one, "traffic").await);
    assert_ne!(kind(&one).await, HandshakeKind::Resumed, "always verified");

    // Another authority: streams that are open go on, new connections are refused, sessions or not.
    replace(&file, &new.pem);
    let line = operated.process.line("configuration reloaded");
    assert_eq!(line["changed"], "tls.client_ca");
    for _ in 0..2 {
        let said = refusal(&one).await;
        assert!(said.contains("fatal alert"), "{said}");
    }
    let other = with(Some(new.identity("other")));
    Pair::open(&other, "other").await.ping_pong().await;
    traffic.goes_on().await;

    // A bad file changes nothing.
    for (text, said) in [
        (&new.pem[..new.pem.len() / 2], "ca.crt"),
        ("", "it is empty"),
    ] {
        replace(&file, text);
        let line = operated
            .process
            .line("configuration refused; the one before stays in force");
        let error = line["error"].as_str().unwrap();
        assert!(error.contains(said), "{error}");
        Pair::open(&other, "still").await.ping_pong().await;
        assert!(refusal(&one).await.contains("fatal alert"));
    }
    // Both, as while authorities are being changed.
    replace(&file, format!("{}{}", old.pem, new.pem));
    operated.process.line("configuration reloaded");
    for connector in [&one, &other] {
        Pair::open(connector, "both").await.ping_pong().await;
    }
    drop(traffic.finish().await);
    let line = operated.process.line("stream ended");
    assert!(line["certificate"].is_null(), "the first had none: {line}");
    let shown = |line: &String| line.contains(r#""certificate":"CN=one""#);
    while !operated.process.lines.iter().any(shown) {
        operated.process.line("stream ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_show_a_certificate() {
    let authority = Authority::new("lab");
    let router = asking(&authority, false).await;
    let run = |more: Vec<String>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jumpstarter-router"));
        command
            .args(["probe", "--router", &router.endpoint(), "--ca"])
            .arg(router.certificate.certificate())
            .args(more)
            .env("ROUTER_KEY", KEY);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let [certificate, key] = authority
        .files_for("probe")
        .map(|path| path.display().to_string());
    let options = ["--client-certificate", &certificate, "--client-key", &key];
    let good = run(options.map(ToOwned::to_owned).to_vec()).await.unwrap();
    assert!(good.status.success(), "{good:?}");
    let bad = run(vec![]).await.unwrap();
    let said = String::from_utf8_lossy(&bad.stderr);
    assert_eq!(bad.status.code(), Some(3), "{said}");
    assert!(said.contains("--client-certificate"), "{said}");
    let options = ["--client-certificate", &key, "--client-key", &certificate];
    let swapped = run(options.map(ToOwned::to_owned).to_vec()).await.unwrap();
    let said = String::from_utf8_lossy(&swapped.stderr);
    assert_eq!(swapped.status.code(), Some(78), "{said}");
    assert!(said.contains(&key), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_shows_a_certificate() {
    let authority = Authority::new("lab");
    let router = asking(&authority, false).await;
    let run = |more: Vec<String>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jumpstarter-router"));
        command
            .args(["load", "--router", &router.endpoint(), "--key", KEY])
            .args(["--quiet", "--workload", "pingpong", "--messages", "20"])
            .args(["--warmup", "0s", "--ca"])
            .arg(router.certificate.certificate())
            .args(more);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let [certificate, key] = authority
        .files_for("load")
        .map(|path| path.display().to_string());
    let options = ["--client-certificate", &certificate, "--client-key", &key];
    let good = run(options.map(ToOwned::to_owned).to_vec()).await.unwrap();
    assert!(good.status.success(), "{good:?}");
    let bad = run(vec![]).await.unwrap();
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
    let wrong = ["--client-certificate", &certificate];
    let wrong = run(wrong.map(ToOwned::to_owned).to_vec()).await.unwrap();
    assert_eq!(wrong.status.code(), Some(2), "the key is missing");
}
