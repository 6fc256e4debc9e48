//! Streams that end because of what a peer sends, or inside a message.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use crate::helpers::{
    self, End, Harness, Kind, Options, assert_bytes, assert_told, line::Cut, message, noise,
    prefixed, token,
};
use jumpstarter_router::inside::{
    config::Size,
    grpc::call::PATH,
    observe::metrics::ConnectionEnd,
    splice::ending::GOAWAY_MESSAGE,
    transport::http2::{
        connection,
        wire::{Gather, Wire},
    },
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tonic::Code;

const PARTNERS: [Kind; 2] = [Kind::Tonic, Kind::Raw];

/// A raw peer and its partner, whichever of them is first.
async fn raw_and_partner(
    harness: &Harness,
    partner: Kind,
    raw_first: bool,
    case: &str,
) -> (helpers::Peer, helpers::Peer) {
    if raw_first {
        harness.pair((Kind::Raw, partner), case).await
    } else {
        let (partner, raw) = harness.pair((partner, Kind::Raw), case).await;
        (raw, partner)
    }
}

struct Malformed {
    name: &'static str,
    bytes: Vec<u8>,
    half_close: bool,
    code: Code,
    text: &'static str,
}

fn malformed() -> Vec<Malformed> {
    let case = |name, bytes: Vec<u8>, code, text| Malformed {
        name,
        bytes,
        half_close: false,
        code,
        text,
    };
    let truncated = |name, bytes: Vec<u8>, text| Malformed {
        name,
        bytes,
        half_close: true,
        code: Code::Internal,
        text,
    };
    vec![
        case(
            "unknown flag",
            vec![2, 0, 0, 0, 1, 7],
            Code::Internal,
            "message prefix starts with 0x02, expected 0 or 1",
        ),
        case(
            "no gRPC at all",
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            Code::Internal,
            "message prefix starts with 0x47, expected 0 or 1",
        ),
        case(
            "undeclared compression",
            prefixed(1, b"zip").to_vec(),
            Code::Internal,
            "message has the compression flag set, but the call declared no grpc-encoding",
        ),
        case(
            "one byte too large",
            vec![0, 0, 4, 0, 1],
            Code::ResourceExhausted,
            "received message larger than max (262145 vs. 262144 bytes, \
             streams.max_message_size); send smaller ones",
        ),
        case(
            "4 GiB",
            vec![0, 255, 255, 255, 255],
            Code::ResourceExhausted,
            "received message larger than max (4294967295 vs. 262144 bytes, \
             streams.max_message_size); send smaller ones",
        ),
        truncated(
            "half-close inside a prefix",
            vec![0, 0],
            "the stream was half-closed inside a message, 3 bytes short",
        ),
        truncated(
            "half-close behind a prefix",
            vec![0, 0, 0, 0, 9],
            "the stream was half-closed inside a message, 9 bytes short",
        ),
        truncated(
            "half-close inside a message",
            vec![0, 0, 0, 0, 9, 1, 2],
            "the stream was half-closed inside a message, 7 bytes short",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_messages() {
    let limit = |config: &mut jumpstarter_router::inside::config::Config| {
        config.streams.max_message_size = Size::new(256 * 1024);
    };
    let harness = Harness::start(limit).await;
    for bad in malformed() {
        for (partner, raw_first) in PARTNERS.into_iter().flat_map(|p| [(p, true), (p, false)]) {
            let case = format!("{}, {partner:?}, raw first: {raw_first}", bad.name);
            let (mut raw, mut other) = raw_and_partner(&harness, partner, raw_first, &case).await;
            other.send_data(b"to the sender").await;
            raw.arrived(message(b"to the sender").len()).await;
            // What is right before the fault arrives, though both come at once.
            let good = message(b"good");
            raw.send_bytes([&good[..], &bad.bytes].concat()).await;
            if bad.half_close {
                raw.half_close();
            }
            let got = raw.collect().await;
            let before = message(b"to the sender");
            assert_told(&case, &got, &before, bad.code, bad.text);
            let text = format!("the other side's stream was ended: {}", bad.text);
            let got = other.collect().await;
            assert_told(&case, &got, &good, Code::Unavailable, &text);
            drop((raw, other));
            harness.idle(&case).await;
        }
    }
}

/// A waiter has no partner yet that could be told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_messages_of_a_waiter() {
    let limit = |config: &mut jumpstarter_router::inside::config::Config| {
        config.streams.max_message_size = Size::new(256 * 1024);
    };
    let harness = Harness::start(limit).await;
    for bad in malformed() {
        let case = format!("waiter: {}", bad.name);
        let mut raw = harness.peer(Kind::Raw, &case).await;
        raw.send_bytes(bad.bytes).await;
        if bad.half_close {
            raw.half_close();
        }
        assert_told(&case, &raw.collect().await, &[], bad.code, bad.text);
        drop(raw);
        harness.idle(&case).await;
    }
}

#[derive(Clone, Copy, Debug)]
enum Death {
    Reset,
    Lost(Cut),
}

const DEATHS: [(Death, Code, &str); 3] = [
    (
        Death::Reset,
        Code::Unavailable,
        "the other side cancelled its stream",
    ),
    (
        Death::Lost(Cut::Fin),
        Code::Unavailable,
        "the other side's connection was lost",
    ),
    (
        Death::Lost(Cut::Rst),
        Code::Unavailable,
        "the other side's connection was lost",
    ),
];

fn die(peer: &mut helpers::Peer, death: Death) {
    match death {
        Death::Reset => peer.reset(h2::Reason::CANCEL),
        Death::Lost(how) => peer.cut(how),
    }
}

/// Messages that stock peers send are forwarded whole or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_inside_a_stock_message() {
    let harness = Harness::start(|_| {}).await;
    for (death, code, text) in DEATHS {
        for (partner, raw_first) in PARTNERS.into_iter().flat_map(|p| [(p, true), (p, false)]) {
            let case = format!("inside 60 KiB: {death:?}, {partner:?}, raw first: {raw_first}");
            let (mut raw, mut other) = raw_and_partner(&harness, partner, raw_first, &case).await;
            let whole = message(&noise(1, 100));
            let half = message(&noise(2, 60 * 1024)).slice(..40_000);
            raw.send_bytes([&whole[..], &half].concat()).await;
            raw.written(whole.len() + half.len()).await;
            other.arrived(whole.len()).await;
            die(&mut raw, death);
            assert_told(&case, &other.collect().await, &whole, code, text);
            drop((raw, other));
            harness.idle(&case).await;
        }
    }
}

/// A longer message is passed on piece by piece, so nothing can be put behind an unfinished one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_inside_a_long_message() {
    let harness = Harness::start(|_| {}).await;
    for (death, code, text) in DEATHS {
        for raw_first in [true, false] {
            let case = format!("inside 1 MiB: {death:?}, raw first: {raw_first}");
            let (mut raw, mut other) = raw_and_partner(&harness, Kind::Raw, raw_first, &case).await;
            let part = message(&noise(3, 1024 * 1024)).slice(..300_000);
            raw.send_bytes(part.clone()).await;
            other.arrived(part.len()).await;
            die(&mut raw, death);
            let got = other.collect().await;
            assert_bytes(&case, &got.bytes, &part);
            assert_eq!(got.end, End::Status(code, text.to_owned()), "{case}");
            drop((raw, other));
            harness.idle(&case).await;
        }
        // tonic cannot decode what it has, but it learns of the end.
        let case = format!("inside 1 MiB: {death:?}, tonic");
        let (mut raw, mut other) = raw_and_partner(&harness, Kind::Tonic, true, &case).await;
        let part = message(&noise(3, 1024 * 1024)).slice(..300_000);
        raw.send_bytes(part.clone()).await;
        other
            .line
            .until("some of the message", |seen| seen.data_read >= 300_000)
            .await;
        die(&mut raw, death);
        let got = other.collect().await;
        assert!(
            matches!(got.end, End::Status(status, _) if status != Code::Ok),
            "{case}: {got:?}"
        );
        drop((raw, other));
        harness.idle(&case).await;
    }
}

/// The survivor is inside a long message itself: that is its own affair and does not change what it gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_while_the_survivor_sends_a_long_message() {
    let harness = Harness::start(|_| {}).await;
    for (death, code, text) in DEATHS {
        let case = format!("survivor inside 1 MiB: {death:?}");
        let (mut raw, mut other) = raw_and_partner(&harness, Kind::Raw, true, &case).await;
        let part = message(&noise(4, 1024 * 1024)).slice(..200_000);
        other.send_bytes(part.clone()).await;
        raw.arrived(part.len()).await;
        die(&mut raw, death);
        assert_told(&case, &other.collect().await, &[], code, text);
        drop((raw, other));
        harness.idle(&case).await;
    }
}

/// Compressed messages pass as they are where the partner accepts them; the head declares the encoding.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encodings() {
    let harness = Harness::start(|_| {}).await;
    for gzip_first in [true, false] {
        let case = format!("gzip passes, sender first: {gzip_first}");
        let sends = Options::header("grpc-encoding", "gzip");
        let accepts = Options::header("grpc-accept-encoding", "identity,deflate, gzip");
        let (mut sender, mut reader) = if gzip_first {
            let options = (sends, accepts);
            harness
                .pair_with((Kind::Raw, Kind::Raw), &case, options)
                .await
        } else {
            let options = (accepts, sends);
            let kinds = (Kind::Raw, Kind::Raw);
            let (reader, sender) = harness.pair_with(kinds, &case, options).await;
            (sender, reader)
        };
        assert_eq!(reader.head().await["grpc-encoding"], "gzip", "{case}");
        let head = sender.head().await;
        assert!(!head.contains_key("grpc-encoding"), "{case}");
        assert_eq!(
            head["grpc-accept-encoding"], "identity,deflate, gzip",
            "{case}"
        );
        let compressed = prefixed(1, &noise(5, 5_000));
        sender.send_bytes(compressed.clone()).await;
        reader.arrived(compressed.len()).await;
        sender.half_close();
        reader.half_close();
        helpers::assert_completed(&case, &reader.collect().await, &compressed);
        helpers::assert_completed(&case, &sender.collect().await, &[]);
        drop((sender, reader));
        harness.idle(&case).await;
    }
    for (kinds, gzip_first) in helpers::peer::KINDS
        .into_iter()
        .flat_map(|kinds| [(kinds, true), (kinds, false)])
    {
        let case = format!("gzip refused, {kinds:?}, sender first: {gzip_first}");
        let sends = Options::header("grpc-encoding", "gzip");
        let plain = Options::default();
        let (one, two) = if gzip_first {
            (sends, plain)
        } else {
            (plain, sends)
        };
        let mut first = harness.waiter(kinds.0, &case, one).await;
        let mut second = harness.peer_with(kinds.1, &case, two).await;
        let text = "one side compresses its messages in a way the other does not accept";
        for peer in [&mut first, &mut second] {
            let got = peer.collect().await;
            assert_bytes(&case, &got.bytes, GOAWAY_MESSAGE);
            let want = End::Status(Code::Unimplemented, text.to_owned());
            assert_eq!(got.end, want, "{case}");
        }
        drop((first, second));
        harness.idle(&case).await;
    }
    assert_eq!(harness.ends("encoding"), 16);
}

/// A byte stream that fails to send once it is told to, while reading goes on as if nothing had happened.
struct Unsendable {
    io: DuplexStream,
    fails: Arc<AtomicBool>,
}

impl Gather for Unsendable {
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.fails.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

impl AsyncRead for Unsendable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Unsendable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The connection's streams learn of it although HTTP/2 has not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_cannot_send_is_lost() {
    let harness = Harness::start(|_| {}).await;
    let (near, far) = tokio::io::duplex(64 * 1024);
    let fails = Arc::new(AtomicBool::new(false));
    let io = Unsendable {
        io: near,
        fails: fails.clone(),
    };
    let visit = harness
        .router
        .limits
        .addresses
        .enter([127, 0, 0, 1].into(), None);
    let visit = visit.unwrap();
    let serving = tokio::spawn(connection::serve(
        harness.router.clone(),
        visit.origin.clone(),
        Wire::new(io),
    ));
    let (client, h2) = h2::client::handshake(far).await.unwrap();
    tokio::spawn(h2);
    let request = http::Request::post(format!("https://router.test{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {}", token("x")))
        .body(())
        .unwrap();
    let mut client = client.ready().await.unwrap();
    let (_answer, _body) = client.send_request(request, false).unwrap();
    helpers::until("the first stream to wait", || harness.waiting() == 1).await;
    let mut partner = harness.peer(Kind::Raw, "x").await;
    partner.head().await;

    fails.store(true, Ordering::Relaxed);
    partner.send_data(b"cannot be sent").await;
    let got = partner.collect().await;
    let text = "the other side's connection was lost";
    assert_told("unsendable", &got, b"", Code::Unavailable, text);
    assert_eq!(serving.await.unwrap(), ConnectionEnd::TransportError);
    assert_eq!(harness.ends("lost"), 1);
    assert_eq!(harness.ends("peer_lost"), 1);
}
