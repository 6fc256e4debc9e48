//! Who speaks on the routers' bus, or to the port where routers call, and is no router: steers nothing and learns nothing.

use std::sync::Arc;

use crate::helpers::{
    cluster::{Cluster, Member, meets},
    nats::{ADDRESS, Announced, Nats, Tap},
    token, until, within,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use jumpstarter_router::inside::{
    auth::{Claims, mint},
    grpc::call::PATH,
    tls::trust::{Trust, client_config},
};
use rustls::{AlertDescription, ClientConfig, RootCertStore, crypto::aws_lc_rs, version::TLS12};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_of_nobody_or_a_changed_one_is_not_believed() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let member = cluster.member(&[]).await;
    let mut tap = Tap::new(&nats);
    // Would be called by any router that believes it.
    let lure = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = lure.local_addr().unwrap().to_string();
    let waiting = member.waits("victim").await;
    let own = tap.hear();
    let forged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut forged = own.clone();
        // Higher than any, so that it is to be called.
        forged.bytes[1..17].fill(0xff);
        forged.bytes.truncate(ADDRESS);
        forged.bytes.extend(address.as_bytes());
        change(&mut forged.bytes);
        forged
    };
    let random = |bytes: &mut Vec<u8>| bytes[65..ADDRESS].copy_from_slice(&own.bytes[17..49]);
    let elsewhere = forged(&|_| {});
    let proof = forged(&random);
    let mut readdressed = own.clone();
    readdressed.bytes[16] ^= 1;
    // Would end the half, as nobody reaches it.
    let mut farewell = own.clone();
    farewell.bytes[1..17].fill(0xff);
    farewell.bytes.truncate(ADDRESS);
    let all = [&elsewhere, &proof, &readdressed, &farewell];
    for (announced, count) in all.into_iter().zip(1..) {
        tap.say(announced);
        until("not believed", || member.announcements("unproven") == count).await;
    }
    let short = forged(&|bytes| bytes.truncate(ADDRESS - 1));
    let newer = forged(&|bytes| bytes[0] = 2);
    let nothing = forged(&Vec::clear);
    let long = forged(&|bytes| bytes.extend([b'a'; 1_000]));
    for (announced, count) in [(&short, 1), (&newer, 2), (&nothing, 3), (&long, 4)] {
        tap.say(announced);
        until("not read", || member.announcements("unreadable") == count).await;
    }
    // Its own voice, as an echo.
    tap.say(&own);
    // Another half's, under this one's name: heard last, so all before has been heard.
    let other = member.waits("other").await;
    let mut others = tap.hear();
    while others.subject == own.subject {
        others = tap.hear();
    }
    others.subject.clone_from(&own.subject);
    others.bytes[1..17].fill(0xff);
    tap.say(&others);
    until("not believed", || member.announcements("unproven") == 5).await;
    assert_eq!(member.announcements("heard"), 0);
    for result in ["met", "nobody", "refused", "unreachable", "given_up"] {
        assert_eq!(member.calls(result), 0, "{result}");
    }
    let connected = lure.accept();
    assert!(futures_util::FutureExt::now_or_never(connected).is_none());
    for (half, subject) in [(waiting, "victim"), (other, "other")] {
        meets(half, member.half(subject).await).await;
    }
    member.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_that_is_repeated_later_finds_nobody() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let members: [Member; 2] = cluster.members().await;
    let [lower, higher] = &members;
    let mut tap = Tap::new(&nats);
    let early = higher.waits("again").await;
    let recorded = tap.hear_from(&higher.id);
    meets(early, lower.half("again").await).await;
    for member in &members {
        member.is_at_rest().await;
    }
    for count in 1..=3 {
        let waiting = lower.waits("again").await;
        tap.say(&recorded);
        lower.calls_are("nobody", count).await;
        assert!(!waiting.call.is_finished());
        meets(waiting, higher.half("again").await).await;
    }
    // To a half that came later at its own router, too.
    let waiting = higher.waits("again").await;
    tap.say(&recorded);
    meets(waiting, lower.half("again").await).await;
    for member in &members {
        member.is_at_rest().await;
    }
}

/// A call to the port of routers as anybody may make it: the status of gRPC, unless the stream is let in.
async fn call(address: &str, authorization: &str, ticket: Option<String>) -> Option<i32> {
    let socket = TcpStream::connect(address).await.unwrap();
    let tls = client_config(Trust::Any, None).unwrap();
    let name = "router".try_into().unwrap();
    let tls = TlsConnector::from(Arc::new(tls)).connect(name, socket);
    let tls = within("TLS", tls).await.unwrap();
    let (mut client, connection): (h2::client::SendRequest<Bytes>, _) =
        h2::client::handshake(tls).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = Request::post(format!("https://router.test{PATH}"))
        .header("content-type", "application/grpc")
        .header("authorization", authorization);
    if let Some(ticket) = ticket {
        request = request.header("jumpstarter-router-ticket", ticket);
    }
    let request = request.body(()).unwrap();
    let (response, _send) = client.send_request(request, false).unwrap();
    let head = within("an answer", response).await.unwrap();
    connection.abort();
    let status = head.headers().get("grpc-status")?;
    Some(status.to_str().unwrap().parse().unwrap())
}

const NOT_FOUND: Option<i32> = Some(5);
const UNAUTHENTICATED: Option<i32> = Some(16);

fn ticket(announced: &Announced) -> String {
    URL_SAFE_NO_PAD.encode(announced.ticket())
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_routers_port_only_who_has_token_and_ticket_gets_a_half() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let member = cluster.member(&[]).await;
    let mut tap = Tap::new(&nats);
    let waiting = member.waits("victim").await;
    let announced = tap.hear();
    let other = member.waits("other").await;
    let mut others = tap.hear();
    while others.subject == announced.subject {
        others = tap.hear();
    }
    let address = announced.address();
    let bearer = |token: &str| format!("Bearer {token}");
    let good = bearer(&token("victim"));
    let wrong_key = bearer(&mint(
        &[7; 32],
        &Claims::new("victim", std::time::SystemTime::now()),
    ));
    let long = URL_SAFE_NO_PAD.encode([7; 4_000]);
    let tickets = [
        None,
        Some(String::new()),
        Some("no ticket!".to_owned()),
        Some(URL_SAFE_NO_PAD.encode([7; 16])),
        Some(URL_SAFE_NO_PAD.encode([7; 15])),
        Some(long),
        // Of another half.
        Some(ticket(&others)),
    ];
    let count = i64::try_from(tickets.len()).unwrap();
    for ticket in tickets {
        assert_eq!(
            call(address, &good, ticket.clone()).await,
            NOT_FOUND,
            "{ticket:?}"
        );
    }
    for authorization in [&wrong_key, "Bearer x", ""] {
        let answer = call(address, authorization, Some(ticket(&announced))).await;
        assert_eq!(answer, UNAUTHENTICATED, "{authorization}");
    }
    let refusals = |cause: &str| {
        let name = format!("stream_refusals_total{{cause=\"{cause}\"}}");
        member.router.metric(&name)
    };
    assert_eq!(refusals("not_waiting"), count);
    assert_eq!(refusals("signature"), 1);
    assert!(!waiting.call.is_finished() && !other.call.is_finished());
    meets(waiting, member.half("victim").await).await;
    // A ticket is good for once.
    assert_eq!(
        call(address, &good, Some(ticket(&announced))).await,
        NOT_FOUND
    );
    // Whoever has both is as good as a router: the other half's token is all that there is to have.
    let good = bearer(&token("other"));
    assert_eq!(call(address, &good, Some(ticket(&others))).await, None);
    within("its end", other.call).await.unwrap().unwrap();
    member.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_routers_port_nothing_but_the_newest_tls_is_spoken() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let member = cluster.member(&[]).await;
    let waiting = member.waits("victim").await;
    let handshakes = |result: &str| {
        let name = format!("tls_handshakes_total{{result=\"{result}\"}}");
        member.router.metric(&name)
    };
    let before = [handshakes("failed"), handshakes("plaintext")];

    let provider = Arc::new(aws_lc_rs::default_provider());
    let old = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let socket = TcpStream::connect(&member.address).await.unwrap();
    let name = "router".try_into().unwrap();
    let refused = TlsConnector::from(Arc::new(old)).connect(name, socket);
    let refused = within("a refusal", refused).await.unwrap_err();
    let refused = refused.get_ref().unwrap().downcast_ref::<rustls::Error>();
    let version = rustls::Error::AlertReceived(AlertDescription::ProtocolVersion);
    assert_eq!(refused, Some(&version));
    until("counted", || handshakes("failed") == before[0] + 1).await;

    let mut socket = TcpStream::connect(&member.address).await.unwrap();
    socket
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = within("the end", socket.read_to_end(&mut answer)).await;
    until("counted", || handshakes("plaintext") == before[1] + 1).await;
    let text = String::from_utf8_lossy(&answer);
    assert!(!text.contains("victim"), "{text}");

    assert!(!waiting.call.is_finished());
    meets(waiting, member.half("victim").await).await;
    member.is_at_rest().await;
}
