//! Calls that need no token: they are small, few and short, and what is refused leaves nothing behind.

use std::time::Duration;

use crate::helpers::{Running, raw, raw::Raw, raw::frame, token, until, within};
use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request};
use jumpstarter_router::inside::{
    grpc::call::PATH,
    observe::metrics::CallRefusal::{self, MadeRoom, TooLarge, TooMany, TooManyOnConnection},
};
use tonic::{Code, Status};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// An empty message: for health the process as a whole.
const EMPTY: &[u8] = &[0; 5];

/// A connection that does what gRPC's libraries do not.
struct Peer(SendRequest<Bytes>);

impl Peer {
    async fn of(router: &Running) -> Self {
        let io = within("TLS", router.connector().tls()).await.unwrap();
        let (send, connection) = within("HTTP/2", h2::client::handshake(io)).await.unwrap();
        tokio::spawn(connection);
        Self(send)
    }

    async fn call(&self, path: &str, headers: &[(&str, &str)]) -> OpenCall {
        let mut request = Request::post(format!("https://router.test{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut ready = within("a stream", self.0.clone().ready()).await.unwrap();
        let (response, body) = ready
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        OpenCall { response, body }
    }

    /// The call with a message, and perhaps more to come.
    async fn says(&self, path: &str, message: &[u8], end: bool) -> OpenCall {
        let mut call = self.call(path, &[]).await;
        call.send(message, end);
        call
    }

    /// Whether the router as a whole is said to serve.
    async fn check(&self) -> Status {
        self.says(CHECK, EMPTY, true).await.status().await
    }
}

struct OpenCall {
    response: ResponseFuture,
    body: SendStream<Bytes>,
}

impl OpenCall {
    fn send(&mut self, bytes: &[u8], end: bool) {
        self.body
            .send_data(Bytes::copy_from_slice(bytes), end)
            .unwrap();
    }

    /// The head of the answer.
    async fn answered(self) -> (HeaderMap, RecvStream, SendStream<Bytes>) {
        let response = within("the head of an answer", self.response)
            .await
            .unwrap();
        let (head, body) = response.into_parts();
        (head.headers, body, self.body)
    }

    /// How it ends.
    async fn status(self) -> Status {
        let (head, mut body, _send) = self.answered().await;
        if let Some(status) = Status::from_header_map(&head) {
            return status;
        }
        within("the end of an answer", async {
            while let Some(chunk) = body.data().await {
                body.flow_control()
                    .release_capacity(chunk.unwrap().len())
                    .unwrap();
            }
            let trailers = body.trailers().await.unwrap().unwrap();
            Status::from_header_map(&trailers).unwrap()
        })
        .await
    }
}

fn refused(router: &Running, cause: CallRefusal) -> u64 {
    router.metrics().call_refusals.count(cause)
}

/// So long a message is announced, and not more than its beginning comes.
fn announced(length: u32) -> Vec<u8> {
    let mut message = vec![0];
    message.extend(length.to_be_bytes());
    message.extend([7; 100]);
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_message_is_refused_when_it_is_announced() {
    let router = Running::start(&[]).await;
    let peer = Peer::of(&router).await;
    for path in [CHECK, WATCH, REFLECTION[0], REFLECTION[1]] {
        let call = peer.says(path, &announced(4 << 20), false).await;
        let status = call.status().await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{path}: {status:?}");
        assert!(status.message().contains("4096"), "{status:?}");
    }
    assert_eq!(refused(&router, TooLarge), 4);
    assert_eq!(peer.check().await.code(), Code::Ok);
}

/// Each chunk for itself is small, and nobody reads the answers.
#[tokio::test(flavor = "multi_thread")]
async fn questions_that_pile_up_are_refused() {
    let router = Running::start(&[]).await;
    let peer = Peer::of(&router).await;
    let mut call = peer.call(REFLECTION[0], &[]).await;
    // "List services", the name of the host padded.
    let host = vec![b'x'; 1000];
    let mut question = vec![0, 0, 0, 3, 0xed, 0x0a, 0xe8, 0x07];
    question.extend(host);
    question.extend([0x3a, 0]);
    assert_eq!(question.len(), 1005 + 5);
    question[3..5].copy_from_slice(&1005_u16.to_be_bytes());
    let status = within("a refusal", async {
        // More than the answers' window, so that the service waits for the peer.
        for _ in 0..400 {
            call.body.reserve_capacity(question.len());
            while call.body.capacity() < question.len() {
                let more = std::future::poll_fn(|cx| call.body.poll_capacity(cx)).await;
                if !matches!(more, Some(Ok(_))) {
                    break;
                }
            }
            let sent = call.body.send_data(question.clone().into(), false);
            if sent.is_err() {
                break;
            }
        }
        call.status().await
    })
    .await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(refused(&router, TooLarge), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_sixteen_calls_at_most() {
    let router = Running::start(&[]).await;
    let peer = Peer::of(&router).await;
    let mut open = Vec::new();
    for _ in 0..15 {
        open.push(peer.says(WATCH, EMPTY, true).await.answered().await);
    }
    // One that is not whole counts as well.
    let unfinished = peer.says(CHECK, &announced(100)[..50], false).await;
    let status = peer.check().await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let told = "16 calls of health and reflection are open on this connection already";
    assert!(status.message().starts_with(told), "{status:?}");
    let reflection = peer.call(REFLECTION[1], &[]).await;
    assert_eq!(reflection.status().await.code(), Code::ResourceExhausted);
    assert_eq!(refused(&router, TooManyOnConnection), 2);
    let another = Peer::of(&router).await;
    assert_eq!(another.check().await.code(), Code::Ok);
    drop(unfinished);
    within("a place", async {
        while peer.check().await.code() != Code::Ok {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_fill_the_places_and_probes_are_answered_still() {
    let router = Running::start(&[]).await;
    let mut peers = Vec::new();
    let mut open = Vec::new();
    while open.len() < 1_000 {
        let peer = Peer::of(&router).await;
        for _ in 0..16.min(1_000 - open.len()) {
            open.push(peer.says(WATCH, EMPTY, true).await.answered().await);
        }
        peers.push(peer);
    }
    let newcomer = Peer::of(&router).await;
    for path in [WATCH, REFLECTION[0]] {
        let status = newcomer.says(path, EMPTY, true).await.status().await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{path}: {status:?}");
    }
    assert_eq!(refused(&router, TooMany), 2);
    assert_eq!(newcomer.check().await.code(), Code::Ok);
    let (_, mut oldest, send) = open.remove(0);
    within("the oldest is told", async {
        while let Some(chunk) = oldest.data().await {
            chunk.unwrap();
        }
        let trailers = oldest.trailers().await.unwrap().unwrap();
        let status = Status::from_header_map(&trailers).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    })
    .await;
    assert_eq!(refused(&router, MadeRoom), 1);
    // A stream is no such call.
    router.pair("meanwhile").await.ping_pong().await;
    drop((open, peers, oldest, send));
    until("all are gone", || {
        router.metrics().connections_open.get() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_first_when_memory_is_short() {
    let router = Running::start(&[]).await;
    let peer = Peer::of(&router).await;
    let (_, mut watch, _send) = peer.says(WATCH, EMPTY, true).await.answered().await;
    let unfinished = peer.says(CHECK, &announced(200), false).await;
    let memory = &router.server.router().memory;
    memory.set_limit(Some(memory.used() / 2));
    let status = unfinished.status().await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    within("the watch is told", async {
        while let Some(chunk) = watch.data().await {
            chunk.unwrap();
        }
        let trailers = watch.trailers().await.unwrap().unwrap();
        let status = Status::from_header_map(&trailers).unwrap();
        assert!(status.message().contains("memory.limit"), "{status:?}");
    })
    .await;
    assert_eq!(refused(&router, CallRefusal::Memory), 2);
    memory.set_limit(None);
    assert_eq!(Peer::of(&router).await.check().await.code(), Code::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_deadline_ends_a_call_that_is_not_whole() {
    let router = Running::start(&[]).await;
    let peer = Peer::of(&router).await;
    for path in [CHECK, WATCH, REFLECTION[0]] {
        let mut call = peer.call(path, &[("grpc-timeout", "200m")]).await;
        call.send(&announced(200)[..50], false);
        assert_eq!(call.status().await.code(), Code::DeadlineExceeded, "{path}");
    }
    // And one that is.
    let mut call = peer.call(WATCH, &[("grpc-timeout", "200m")]).await;
    call.send(EMPTY, true);
    assert_eq!(call.status().await.code(), Code::DeadlineExceeded);
    assert_eq!(refused(&router, CallRefusal::Deadline), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_refused() {
    let router = Running::start(&[]).await;
    let peer = Peer::of(&router).await;
    for (case, bytes, end) in [
        ("another flag", &[9, 0, 0, 0, 0][..], false),
        ("compressed", &[1, 0, 0, 0, 1, 7], true),
        ("cut off", &[0, 0, 0, 0, 9, 7], true),
        ("nothing at all", &[], true),
    ] {
        let status = peer.says(CHECK, bytes, end).await.status().await;
        assert_eq!(status.code(), Code::Internal, "{case}: {status:?}");
    }
    let mut call = peer.call(CHECK, &[("grpc-encoding", "gzip")]).await;
    call.send(EMPTY, true);
    assert_eq!(call.status().await.code(), Code::Unimplemented);
}

/// As grpc-go 1.80 does it, whatever is called and whoever calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_that_cannot_be_read_is_refused() {
    let router = Running::start(&[]).await;
    let peer = Peer::of(&router).await;
    let bearer = format!("Bearer {}", token("timed"));
    for (text, problem) in [
        ("", "transport: timeout string is too short: \"\""),
        ("S", "transport: timeout string is too short: \"S\""),
        (
            "123456789m",
            "transport: timeout string is too long: \"123456789m\"",
        ),
        ("1s", "transport: timeout unit is not recognized: \"1s\""),
        ("-1S", "strconv.ParseUint: parsing \"-1\": invalid syntax"),
    ] {
        for path in [PATH, CHECK, WATCH, REFLECTION[0], "/nobody.knows.This/Call"] {
            let headers = [("grpc-timeout", text), ("authorization", &*bearer)];
            let call = peer.call(path, &headers).await;
            let response = within("an answer", call.response).await.unwrap();
            assert_eq!(response.status(), 400, "{path}: {text:?}");
            assert_eq!(response.headers()["content-type"], "application/grpc");
            let status = Status::from_header_map(response.headers()).unwrap();
            let expected = format!("malformed grpc-timeout: {problem}");
            assert_eq!(
                (status.code(), status.message()),
                (Code::Internal, &*expected)
            );
        }
    }
    let metrics = router.metrics();
    assert_eq!(metrics.streams.get(), 0);
    assert_eq!(metrics.stream_refusals.get("malformed_timeout").get(), 5);
    assert_eq!(refused(&router, CallRefusal::MalformedTimeout), 20);
}

/// The response is complete, and the rest of the request is not wanted (RFC 9113 section 8.1).
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_is_reset_though_its_body_keeps_coming() {
    let router = Running::start(&[]).await;
    let stranger = "not a token";
    let unknown = [
        raw::header(":method", "POST"),
        raw::header(":scheme", "https"),
        raw::header(":path", "/nobody.knows.This/Call"),
        raw::header("content-type", "application/grpc"),
    ]
    .concat();
    for (case, headers) in [
        ("a bad token", raw::call_headers(stranger)),
        ("an unknown path", unknown),
    ] {
        let io = within("TLS", router.connector().tls()).await.unwrap();
        let mut peer = Raw::open(io).await;
        for call in 0..20 {
            let stream = call * 2 + 1;
            let head = frame(raw::HEADERS, raw::END_HEADERS, stream, &headers);
            assert!(peer.send(&head).await, "{case}");
            // Four times what a stream may keep in all, were it kept.
            for _ in 0..4 {
                assert!(peer.send(&frame(raw::DATA, 0, stream, &[0; 16_384])).await);
            }
            let answer = peer.next_of(raw::HEADERS).await.expect(case);
            assert_eq!((answer.stream, answer.flags & raw::END_STREAM), (stream, 1));
            let reset = peer.next_of(raw::RST_STREAM).await.expect(case);
            let reason = u32::from_be_bytes(reset.payload[..].try_into().unwrap());
            let none = u32::from(Reason::NO_ERROR);
            assert_eq!((reset.stream, reason), (stream, none), "{case}");
        }
        assert_eq!(router.server.router().memory.lanes().bytes(), 0, "{case}");
    }
    // And one with a good token, where it is asked for, is a stream still.
    let peer = Peer::of(&router).await;
    let bearer = format!("Bearer {}", token("alone"));
    let waiting = peer.call(PATH, &[("authorization", &bearer)]).await;
    until("it waits", || router.metrics().streams_waiting.get() == 1).await;
    drop(waiting);
}
