//! Who says that it is a router and does not prove it is served as any peer, and not believed.

use std::time::Duration;

use crate::helpers::{Call, Running, call, data, last_words, token, until, within};
use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use jumpstarter_router::inside::{
    grpc::call::PATH, observe::metrics::RouterProof, splice::ending::GOAWAY_MESSAGE,
};
use prost::Message as _;
use tokio::net::TcpListener;
use tonic::{Code, Status};

const FORWARDED_BY: &str = "jumpstarter-router-forwarded-by";
const PROOF: &str = "jumpstarter-router-proof";
const ENDING: &str = "jumpstarter-router-ending";

/// A message as it is on the wire.
fn message(text: &'static str) -> Bytes {
    let message = data(text).encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message);
    bytes.into()
}

/// A peer with a good token, which claims more.
struct Forger {
    send: SendStream<Bytes>,
    head: HeaderMap,
    receive: RecvStream,
}

impl Forger {
    /// Meets an ordinary peer, which waits for it.
    async fn meets(router: &Running, subject: &str, claims: &[(&str, &str)]) -> (Self, Call) {
        let token = token(subject);
        let channel = router.connector().channel().await.unwrap();
        let bearer = format!("Bearer {token}");
        let peer = tokio::spawn(async move { call(channel, &token, vec![]).await });
        until("it waits", || router.metrics().streams_waiting.get() == 1).await;
        let io = within("TLS", router.connector().tls()).await.unwrap();
        let (mut client, connection) = h2::client::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::post(format!("https://router.test{PATH}"))
            .header("content-type", "application/grpc")
            .header("authorization", bearer);
        for (name, value) in claims {
            request = request.header(*name, *value);
        }
        let (response, send) = client
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        let (head, receive) = within("a head", response).await.unwrap().into_parts();
        let forger = Self {
            send,
            head: head.headers,
            receive,
        };
        (forger, within("the peer", peer).await.unwrap().unwrap())
    }

    /// The bytes it gets to the end, and the trailers.
    async fn rest(&mut self) -> (Vec<u8>, HeaderMap) {
        within("the end", async {
            let mut bytes = Vec::new();
            while let Some(chunk) = self.receive.data().await {
                bytes.extend(chunk.unwrap());
            }
            let trailers = self.receive.trailers().await.unwrap();
            (bytes, trailers.unwrap_or_default())
        })
        .await
    }
}

/// All three with a good token of its own: nothing, a proof of nothing, and one that has the form.
fn claims() -> [Vec<(&'static str, &'static str)>; 3] {
    let process = (FORWARDED_BY, "d2a4c8e0-0000-4000-8000-000000000000");
    let formed = "4102444800.0.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    [
        vec![process],
        vec![process, (PROOF, "trust me")],
        vec![process, (PROOF, formed)],
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_holder_cannot_say_how_its_stream_ended() {
    let router = Running::start(&[]).await;
    for text in [
        "this administrator",
        "this panicked",
        "this memory",
        "other memory",
        "other lost",
    ] {
        for claims in claims() {
            let (mut forger, mut peer) = Forger::meets(&router, text, &claims).await;
            assert!(!forger.head.contains_key(PROOF));
            for _ in 0..3 {
                forger.send.send_data(message("accepted"), false).unwrap();
            }
            let mut last = HeaderMap::new();
            last.insert(ENDING, HeaderValue::from_static(text));
            forger.send.send_trailers(last).unwrap();
            // What was accepted arrives, and the end is a half-close like any other.
            for _ in 0..3 {
                let got = within("a message", peer.receive.message()).await;
                assert_eq!(got.unwrap().unwrap().payload, "accepted", "{text}");
            }
            let Call { send, receive, .. } = &mut peer;
            drop(std::mem::replace(send, tokio::sync::mpsc::channel(1).0));
            let end = within("OK", receive.message()).await;
            assert_eq!(end.unwrap(), None, "{text}");
            let (_, trailers) = forger.rest().await;
            assert!(!trailers.contains_key(ENDING), "{trailers:?}");
        }
    }
    let ends = &router.metrics().stream_ends;
    until("all have ended", || ends.sum() == 30).await;
    assert_eq!(ends.get("completed").get(), 30);
    let proofs = &router.metrics().router_proofs;
    assert_eq!(proofs.count(RouterProof::CallerMissing), 5);
    assert_eq!(proofs.count(RouterProof::CallerWrong), 10);
}

/// As is a router of an older version, whose stream pairs all the same.
#[tokio::test(flavor = "multi_thread")]
async fn who_proves_nothing_is_told_what_a_peer_is_told() {
    let router = Running::start(&[]).await;
    let [claims, ..] = claims();
    let (mut forger, peer) = Forger::meets(&router, "told", &claims).await;
    drop(peer);
    let (bytes, trailers) = forger.rest().await;
    assert_eq!(bytes, GOAWAY_MESSAGE);
    let status = Status::from_header_map(&trailers).unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "the other side cancelled its stream");
    // As a peer sees it; a router would be told what happened to the other router's peer.
    assert_eq!(trailers[ENDING], "other cancelled");
}

/// Answers one call as a successor does whose stream has met its partner, and ends it as it is told to.
async fn successor(trailers: HeaderMap) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        assert!(request.headers().contains_key(FORWARDED_BY));
        assert!(request.headers().contains_key(PROOF));
        let head = Response::builder().header("content-type", "application/grpc");
        // Its own proof back is none.
        let head = head.header(PROOF, request.headers()[PROOF].clone());
        let mut body = respond
            .send_response(head.body(()).unwrap(), false)
            .unwrap();
        body.send_data(message("accepted"), false).unwrap();
        body.send_trailers(trailers).unwrap();
        while connection.accept().await.is_some() {}
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_proves_nothing_is_not_believed_either() {
    let lost = (true, Code::Unavailable);
    for (text, status, told) in [
        ("this administrator", "10", lost),
        ("other memory", "8", lost),
        ("this panicked", "0", (false, Code::Ok)),
    ] {
        let mut trailers = HeaderMap::new();
        trailers.insert(ENDING, HeaderValue::from_static(text));
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        let settings = [
            ("tls.plaintext", "true"),
            ("drain.forward_to", &*successor(trailers).await),
        ];
        let router = Running::start(&settings).await;
        let channel = router.connector().channel().await.unwrap();
        let call = tokio::spawn(async move { call(channel, &token("x"), vec![]).await });
        until("it waits", || router.metrics().streams_waiting.get() == 1).await;
        let metrics = router.server.router().metrics.clone();
        let drained = tokio::spawn(router.server.drain(Duration::from_secs(60)));
        let mut call = within("the other side", call).await.unwrap().unwrap();
        let got = within("a message", call.receive.message()).await;
        assert_eq!(got.unwrap().unwrap().payload, "accepted", "{text}");
        if told.1 == Code::Ok {
            drop(std::mem::replace(
                &mut call.send,
                tokio::sync::mpsc::channel(1).0,
            ));
        }
        let (goaway, code, words) = last_words(&mut call).await;
        assert_eq!((goaway, code), told, "{text}: {words}");
        assert!(!words.contains("administrator"), "{words}");
        drop(call);
        within("the drain", drained).await.unwrap();
        let wrong = metrics.router_proofs.count(RouterProof::SuccessorWrong);
        assert_eq!(wrong, 1, "{text}");
    }
}
