//! `RouterStream` against a router: both orders, ends of all kinds, messages, backpressure, what is lost and what is not.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::helpers::{self, Certificate, Running, call, data, goaway, last_words, token, within};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use jumpstarter_router::{
    client::{
        ConnectError, Connector, EndedBy, Keepalive, RouterStream, StreamError, Trust,
        frame::{MAX_PAYLOAD, encode},
    },
    protocol::v1::FrameType,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::{sleep, timeout},
};
use tonic::Code;

/// Between two of our streams nothing takes longer than this on its own account.
const AT_ONCE: Duration = Duration::from_millis(700);

async fn open(router: &Running, subject: &str) -> RouterStream {
    let (connector, token) = (router.connector(), token(subject));
    let connected = RouterStream::connect(&connector, &token);
    within("connect", connected).await.unwrap()
}

async fn pair(router: &Running, subject: &str) -> (RouterStream, RouterStream) {
    let (mut one, mut other) = (open(router, subject).await, open(router, subject).await);
    within("pair", async {
        tokio::try_join!(one.answered(), other.answered())
    })
    .await
    .unwrap();
    (one, other)
}

fn why(error: &io::Error) -> &StreamError {
    StreamError::of(error).expect("the stream's own error")
}

#[tokio::test(flavor = "multi_thread")]
async fn half_close_lets_the_other_direction_go_on() {
    let router = Running::start(&[]).await;
    // What is written before the partner is there arrives, too.
    let mut one = open(&router, "half-close").await;
    one.write_all(b"question").await.unwrap();
    one.shutdown().await.unwrap();
    sleep(Duration::from_millis(50)).await;
    let mut other = open(&router, "half-close").await;

    let start = Instant::now();
    let mut heard = String::new();
    within("the question", other.read_to_string(&mut heard))
        .await
        .unwrap();
    assert_eq!(heard, "question");
    assert!(
        start.elapsed() < AT_ONCE,
        "an end is known at once: {:?}",
        start.elapsed()
    );

    other.write_all(&vec![7; 300_000]).await.unwrap();
    let mut answer = Vec::new();
    let (shut, read) = tokio::join!(other.shutdown(), one.read_to_end(&mut answer));
    shut.unwrap();
    read.unwrap();
    assert_eq!(answer, vec![7; 300_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accident_is_no_end_and_says_who() {
    let router = Running::start(&[]).await;
    for drop_it in [true, false] {
        let (mut one, mut other) = pair(&router, "accident").await;
        other.write_all(b"last words").await.unwrap();
        let mut first = [0; 10];
        one.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"last words");
        if drop_it {
            drop(other);
        } else {
            other.cancel().await;
        }
        let mut rest = Vec::new();
        let error = within("the accident", one.read_to_end(&mut rest))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        let why = why(&error);
        assert_eq!(why.by(), EndedBy::Partner);
        let status = why.status().unwrap();
        assert_eq!(status.code(), Code::Unavailable);
        let ending = status.metadata().get("jumpstarter-router-ending");
        assert_eq!(ending.unwrap(), "other cancelled");
        assert!(why.to_string().contains("cancelled"), "{why}");
        // It stays so.
        let again = one.read_to_end(&mut rest).await.unwrap_err();
        assert_eq!(again.to_string(), error.to_string());
        assert!(rest.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accident_after_this_side_has_closed_is_none_the_less_one() {
    let router = Running::start(&[]).await;
    let (mut one, other) = pair(&router, "closed first").await;
    one.shutdown().await.unwrap();
    drop(other);
    let mut rest = Vec::new();
    let error = within("the end", one.read_to_end(&mut rest))
        .await
        .unwrap_err();
    assert_eq!(why(&error).by(), EndedBy::Partner);

    // The other order: the partner has closed, and is lost before it has taken everything.
    let (mut one, mut other) = pair(&router, "closed last").await;
    other.shutdown().await.unwrap();
    assert_eq!(one.read(&mut [0; 1]).await.unwrap(), 0);
    let cancelled = || router.metrics().stream_ends.get("cancelled").get();
    let before = cancelled();
    drop(other);
    // Had this side closed first, the router might have had all it needs for a proper end.
    helpers::until("the router knows", || cancelled() > before).await;
    let error = within("the verdict", one.shutdown()).await.unwrap_err();
    assert_eq!(why(&error).by(), EndedBy::Partner);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_peers_half_close_is_an_end_after_a_moment_of_doubt() {
    let router = Running::start(&[]).await;
    let channel = router.connector().channel().await.unwrap();
    let subject = token("stock");
    let (mut stream, stock) = tokio::join!(
        open(&router, "stock"),
        call(channel, &subject, vec![data(&b"hello"[..]), goaway()])
    );
    let mut stock = stock.unwrap();
    drop(std::mem::replace(
        &mut stock.send,
        tokio::sync::mpsc::channel(1).0,
    ));
    let mut heard = String::new();
    within("the end", stream.read_to_string(&mut heard))
        .await
        .unwrap();
    assert_eq!(heard, "hello");
    // The other direction goes on, and ends as stock peers end it.
    stream.write_all(b"bye").await.unwrap();
    let ended = tokio::join!(stream.shutdown(), async {
        assert_eq!(
            stock.receive.message().await.unwrap().unwrap().payload,
            "bye"
        );
        last_words(&mut stock).await
    });
    ended.0.unwrap();
    assert_eq!((ended.1.0, ended.1.1), (true, Code::Ok), "GOAWAY, then OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_peer_that_is_lost_is_an_accident() {
    let router = Running::start(&[]).await;
    let channel = router.connector().channel().await.unwrap();
    let subject = token("stock is lost");
    let (mut stream, stock) = tokio::join!(
        open(&router, "stock is lost"),
        call(channel, &subject, vec![data(&b"hello"[..])])
    );
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await.unwrap();
    drop(stock);
    let error = within("the accident", stream.read_u8()).await.unwrap_err();
    assert_eq!(why(&error).by(), EndedBy::Partner);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_keep_their_boundaries() {
    let router = Running::start(&[]).await;
    let (one, mut other) = pair(&router, "messages").await;
    let lengths = [1, 0, MAX_PAYLOAD, 3];
    let messages: Vec<_> = lengths
        .iter()
        .map(|&n| Bytes::from(vec![n as u8; n]))
        .collect();
    let mut sink = one.into_messages();
    for message in &messages {
        sink.send(message.clone()).await.unwrap();
    }
    let long = sink
        .send(vec![0; MAX_PAYLOAD + 1].into())
        .await
        .unwrap_err();
    assert!(matches!(long, StreamError::TooLong(_)), "{long}");

    // Other kinds of frames are not in the way.
    other.write_frame(FrameType::Ping, b"ping").await.unwrap();
    for message in &messages[..2] {
        assert_eq!(other.read_message().await.unwrap().unwrap(), message);
    }
    // A message that is read in part is not lost, and an empty one is not the end.
    let mut part = [9; 1];
    other.read_exact(&mut part).await.unwrap();
    assert_eq!(
        other.read_message().await.unwrap().unwrap().len(),
        MAX_PAYLOAD - 1
    );
    assert_eq!(other.read_message().await.unwrap().unwrap(), messages[3]);

    other.write_message(b"back").await.unwrap();
    assert_eq!(sink.next().await.unwrap().unwrap(), "back");
    let (closed, ended) = tokio::join!(sink.close(), async {
        assert_eq!(other.read_message().await.unwrap(), None);
        other.shutdown().await
    });
    closed.unwrap();
    ended.unwrap();
    assert!(sink.next().await.is_none());
    let late = other.write_all(b"late").await.unwrap_err();
    assert!(matches!(why(&late), StreamError::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_that_does_not_read_holds_the_writer_up() {
    let router = Running::start(&[]).await;
    let mut connector = router.connector();
    connector.window = 65_535;
    let subject = token("pressure");
    let mut reader = RouterStream::connect(&connector, &subject).await.unwrap();
    let mut writer = RouterStream::connect(&connector, &subject).await.unwrap();
    let chunk: Vec<_> = (0..MAX_PAYLOAD).map(|at| (at % 251) as u8).collect();
    let mut written = 0;
    while timeout(Duration::from_millis(500), writer.write_all(&chunk))
        .await
        .is_ok()
    {
        written += 1;
        assert!(written < 64, "4 MiB are written, and nobody reads");
    }
    // `write_all` of one chunk is one message, which was not accepted, so nothing of it was sent.
    for _ in 0..written {
        let message = within("a message", reader.read_message())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(message, chunk);
    }
    writer.write_all(&chunk).await.unwrap();
    assert_eq!(reader.read_message().await.unwrap().unwrap(), chunk);
}

/// Not every router joins small messages, and h2 takes many small unread frames for an attack unless it is told.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_small_unread_messages_are_no_attack() {
    const COUNT: u32 = 20_000;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut server = h2::server::handshake(socket).await.unwrap();
        let (_request, mut respond) = server.accept().await.unwrap().unwrap();
        let running = tokio::spawn(async move { server.accept().await.is_none() });
        let head = http::Response::builder().header("content-type", "application/grpc");
        let mut send = respond
            .send_response(head.body(()).unwrap(), false)
            .unwrap();
        for number in 0..COUNT {
            send.send_data(encode(FrameType::Data, &number.to_be_bytes()), false)
                .unwrap();
            // So that each is written as a frame of its own.
            if number % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let mut ok = http::HeaderMap::new();
        ok.insert("grpc-status", http::HeaderValue::from_static("0"));
        send.send_trailers(ok).unwrap();
        running.await.unwrap()
    });
    let connector = Connector::new(&address, Trust::Plaintext).unwrap();
    let mut stream = RouterStream::connect(&connector, "x").await.unwrap();
    sleep(Duration::from_millis(500)).await;
    for number in 0..COUNT {
        let message = within("a message", stream.read_message()).await.unwrap();
        assert_eq!(message.unwrap(), &number.to_be_bytes()[..]);
    }
    assert_eq!(stream.read_message().await.unwrap(), None);
    drop(stream);
    within("the end", server).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_may_be_cancelled_at_any_point() {
    let router = Running::start(&[]).await;
    let (mut one, mut other) = pair(&router, "cancelled reads").await;
    let sent = tokio::spawn(async move {
        for number in 0..300_u32 {
            one.write_message(&number.to_be_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        one
    });
    let mut next = 0_u32;
    while next < 300 {
        tokio::select! {
            biased;
            message = other.read_message() => {
                assert_eq!(message.unwrap().unwrap(), &next.to_be_bytes()[..]);
                next += 1;
            }
            () = sleep(Duration::from_micros(200)) => {}
        }
    }
    drop(sent.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_to_write_loses_nothing_that_was_received() {
    let router = Running::start(&[]).await;
    let (mut one, mut other) = pair(&router, "unread").await;
    other.write_all(&vec![5; 100_000]).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    other.cancel().await;
    let error = within("a failure to write", async {
        loop {
            if let Err(error) = one.write_all(b"x").await {
                return error;
            }
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(why(&error).by(), EndedBy::Partner, "{error}");
    let mut received = vec![0; 100_000];
    one.read_exact(&mut received).await.unwrap();
    assert_eq!(received, vec![5; 100_000]);
    assert_eq!(
        why(&one.read_u8().await.unwrap_err()).by(),
        EndedBy::Partner
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_loneliness_are_the_routers() {
    let router = Running::start(&[("pairing.timeout", "300ms")]).await;
    let connector = router.connector();
    let mut refused = RouterStream::connect(&connector, "no token").await.unwrap();
    let error = within("the refusal", refused.answered()).await.unwrap_err();
    assert!(error.is_refusal(), "{error}");
    assert_eq!(error.by(), EndedBy::Router);
    assert_eq!(error.status().unwrap().message(), "invalid jwt token");
    let error = refused.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);

    let mut lonely = open(&router, "lonely").await;
    let error = within("the timeout", lonely.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(why(&error).by(), EndedBy::Router);
    assert!(why(&error).is_unpaired());
    assert!(error.to_string().contains("pairing.timeout"), "{error}");

    let bad = RouterStream::connect(&connector, "line\nbreak")
        .await
        .unwrap_err();
    assert!(matches!(bad, ConnectError::Token), "{bad}");
}

/// Its words may be anybody's: only the code counts.
#[tokio::test]
async fn a_router_that_sends_no_ending_is_read_by_its_code() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connector = Connector::new(&address, Trust::Plaintext).unwrap();
    for (code, words, unpaired) in [
        ("14", "the other side cancelled its stream", false),
        ("4", "nothing was sent either way", true),
    ] {
        let mut stream = RouterStream::connect(&connector, "x").await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let mut server = h2::server::handshake(socket).await.unwrap();
        let serving = tokio::spawn(async move {
            let (_, mut respond) = server.accept().await.unwrap().unwrap();
            let answer = http::Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", code)
                .header("grpc-message", words);
            respond
                .send_response(answer.body(()).unwrap(), true)
                .unwrap();
            while server.accept().await.is_some() {}
        });
        let error = within("the status", stream.read_u8()).await.unwrap_err();
        assert_eq!(why(&error).by(), EndedBy::Router, "{error}");
        assert_eq!(why(&error).is_unpaired(), unpaired, "{error}");
        serving.abort();
    }
}

#[tokio::test]
async fn a_silent_or_closed_connection_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut connector = Connector::new(&address, Trust::Plaintext).unwrap();
    connector.keepalive = Keepalive {
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(100),
    };
    let start = Instant::now();
    let mut silent = RouterStream::connect(&connector, "x").await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let error = within("the lost PING", silent.read_u8()).await.unwrap_err();
    assert_eq!(why(&error).by(), EndedBy::Connection);
    assert!(error.to_string().contains("no answer to a PING"), "{error}");
    assert!(matches!(why(&error), StreamError::NoRouter(_)), "{error}");
    assert!(start.elapsed() < 10 * AT_ONCE, "{:?}", start.elapsed());
    drop(socket);

    // It did answer once.
    let mut later = RouterStream::connect(&connector, "x").await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let mut server = h2::server::handshake(socket).await.unwrap();
    let one_call = async {
        let _call = server.accept().await;
        timeout(AT_ONCE / 10, server.accept()).await.unwrap_err()
    };
    within("a call", one_call).await;
    let error = within("the lost PING", later.read_u8()).await.unwrap_err();
    assert!(matches!(why(&error), StreamError::Lost(_)), "{error}");
    drop(server);

    connector.keepalive = Keepalive::STOCK;
    let mut cut = RouterStream::connect(&connector, "x").await.unwrap();
    drop(listener.accept().await.unwrap());
    let error = within("the cut", cut.read_u8()).await.unwrap_err();
    assert_eq!(why(&error).by(), EndedBy::Connection, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_trusted_is_connected_to() {
    let router = Running::start(&[]).await;
    let stranger = Connector::new(&router.endpoint(), Certificate::new().trust()).unwrap();
    let error = RouterStream::connect(&stranger, "x").await.unwrap_err();
    assert!(matches!(&error, ConnectError::Handshake { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    // What the system trusts has no certificate that a test has made, if it trusts anybody at all.
    if let Ok(system) = Connector::new(&router.endpoint(), Trust::System) {
        assert!(RouterStream::connect(&system, "x").await.is_err());
    }
    let pem = router.certificate.certificate();
    let ours = Connector::new(&router.endpoint(), Trust::from_pem_file(&pem).unwrap()).unwrap();
    RouterStream::connect(&ours, &token("ours"))
        .await
        .unwrap()
        .cancel()
        .await;
    for wrong in ["", "host", "host:", "host:0x1", "a b:1"] {
        assert!(
            Connector::new(wrong, Trust::Plaintext).is_err(),
            "{wrong:?}"
        );
    }
}
