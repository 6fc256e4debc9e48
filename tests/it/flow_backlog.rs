//! Whatever a stream keeps in memory counts for it, and when memory runs out it is found there, wherever it lies.
//!
//! The heap that is counted is that of the process, so each test has one of its own.

use crate::helpers::{
    Harness, Kind, WINDOW, alone::alone, assert_told, message, token, until, within,
};
use bytes::Bytes;
use h2::{RecvStream, SendStream, client};
use http::Request;
use jumpstarter_router::inside::{grpc::call::PATH, transport::shared::Shared};
use tokio::{net::TcpStream, sync::watch, task::JoinHandle};
use tokio_rustls::client::TlsStream;
use tonic::Code;

const STREAMS: usize = 50;

/// Each sender's bytes: more than the router and the sockets take while nobody reads.
const EACH: usize = 1024 * 1024;

type Driver = client::Connection<TlsStream<TcpStream>, Bytes>;

/// Many calls on one connection.
struct Many {
    calls: Vec<(SendStream<Bytes>, client::ResponseFuture)>,
    reading: watch::Sender<bool>,
    driver: JoinHandle<()>,
    _client: client::SendRequest<Bytes>,
}

/// Polls the connection, or lets its socket fill.
async fn drive(mut driver: Driver, mut reading: watch::Receiver<bool>) {
    loop {
        if reading.wait_for(|on| *on).await.is_err() {
            return;
        }
        tokio::select! {
            _ = &mut driver => return,
            _ = reading.wait_for(|on| !*on) => {}
        }
    }
}

async fn open(harness: &Harness) -> Many {
    let (mut client, driver) = client::Builder::new()
        .initial_window_size(16 << 20)
        .initial_connection_window_size(1 << 30)
        .handshake(harness.connector.tls().await.unwrap())
        .await
        .unwrap();
    let reading = watch::Sender::new(true);
    let driver = tokio::spawn(drive(driver, reading.subscribe()));
    let mut calls = Vec::new();
    for number in 0..STREAMS {
        let token = token(&format!("pair-{number}"));
        let request = Request::post(format!("https://router.test{PATH}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        client = client.ready().await.unwrap();
        let (response, send) = client
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        calls.push((send, response));
    }
    Many {
        calls,
        reading,
        driver,
        _client: client,
    }
}

async fn read_all(mut body: RecvStream) -> usize {
    let mut bytes = 0;
    while let Some(chunk) = body.data().await {
        let count = chunk.unwrap().len();
        bytes += count;
        body.flow_control().release_capacity(count).unwrap();
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_http2_keeps_for_a_connection_that_takes_nothing_counts() {
    if !alone!() {
        return;
    }
    let harness = Harness::start(|config| config.streams.max_per_connection = 100).await;
    let memory = &harness.router.memory;
    let readers = open(&harness).await;
    until("all wait", || harness.router.streams.count() == STREAMS).await;
    let mut senders = open(&harness).await;
    until("all are paired", || {
        harness.router.streams.count() == 2 * STREAMS
    })
    .await;
    readers.reading.send_replace(false);
    let before = memory.used();

    let bytes = message(&vec![7; EACH]);
    for (send, _) in &mut senders.calls {
        send.send_data(bytes.clone(), true).unwrap();
    }
    // Credit for the last third comes back only when all of it was taken.
    let full = (STREAMS * WINDOW * 2 / 3) as u64;
    let send_buffers = 60 * 1024 * STREAMS as u64;
    until("lanes and send buffers are full", || {
        memory.lanes().bytes() > full && kept(&harness.router) > full + send_buffers
    })
    .await;
    // The senders' own bytes are shared, and those in sockets the kernel's.
    assert!(memory.used() - before > full + send_buffers);

    readers.reading.send_replace(true);
    for (mut send, response) in readers.calls {
        send.send_data(Bytes::new(), true).unwrap();
        let body = within("the head", response).await.unwrap().into_body();
        assert_eq!(within("the bytes", read_all(body)).await, bytes.len());
    }
    until("nothing is kept", || kept(&harness.router) == 0).await;
    readers.driver.abort();
    senders.driver.abort();
}

/// What all streams keep.
fn kept(router: &Shared) -> u64 {
    let mut kept = 0;
    router.streams.for_each(|live| kept += live.control.kept());
    kept
}

/// Memory is short from now on.
fn press(router: &Shared) {
    router
        .memory
        .set_limit(Some(router.memory.used() * 100 / 65));
}

/// A message of 64 KiB whose last byte never comes is held back, and neither peer takes or owes anything else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_that_stop_inside_a_message_are_ended_and_a_pair_that_moves_is_not() {
    const PAIRS: usize = 20;
    if !alone!() {
        return;
    }
    let harness = Harness::start(|_| {}).await;
    let kinds = (Kind::Raw, Kind::Raw);
    let mut halves = Vec::new();
    for number in 0..PAIRS {
        let (mut sender, receiver) = harness.pair(kinds, &format!("half {number}")).await;
        let whole = message(b"whole");
        let half = message(&vec![7; 60 * 1024]);
        sender.send_bytes(whole.clone()).await;
        sender.send_bytes(half.slice(..half.len() - 1)).await;
        halves.push((sender, receiver));
    }
    let (mut one, mut other) = harness.pair(kinds, "moves").await;
    until("the halves are kept", || {
        kept(&harness.router) >= (PAIRS * 60 * 1024) as u64
    })
    .await;
    let mut bytes = 0;
    // Anew each time: those that are ended relieve it.
    until("all are ended", || {
        press(&harness.router);
        harness.ends("memory_idle") == 2 * PAIRS as u64
    })
    .await;
    for _ in 0..10 {
        one.send_data(b"moves").await;
        bytes += message(b"moves").len();
        other.arrived(bytes).await;
    }
    for (mut sender, mut receiver) in halves {
        let text = "the router is short of memory (memory.limit), and this pair moved nothing; connect again";
        let whole = message(b"whole");
        let case = "half a message";
        assert_told(
            case,
            &sender.collect().await,
            &[],
            Code::ResourceExhausted,
            text,
        );
        assert_told(
            case,
            &receiver.collect().await,
            &whole,
            Code::ResourceExhausted,
            text,
        );
    }
}

/// Pairs in which nothing waits cost memory, too, and one token pairs any number of times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_idle_pairs_gives_way_to_newcomers() {
    if !alone!() {
        return;
    }
    let harness = Harness::start(|config| config.streams.max_per_connection = 100).await;
    let kinds = (Kind::Raw, Kind::Raw);
    let (mut one, mut other) = harness.pair(kinds, "alone").await;
    let crowd = [open(&harness).await, open(&harness).await];
    until("all are paired", || {
        harness.router.streams.count() == 2 * STREAMS + 2
    })
    .await;
    press(&harness.router);
    until("some are ended", || harness.ends("memory_idle") > 0).await;
    harness.router.memory.set_limit(None);
    let (mut new, mut partner) = harness.pair(kinds, "newcomer").await;
    for (from, to) in [(&mut one, &mut other), (&mut new, &mut partner)] {
        from.send_data(b"still here").await;
        to.arrived(message(b"still here").len()).await;
    }
    for many in crowd {
        many.driver.abort();
    }
}

/// A connection that has a stream gets no other while memory is short; one that has none does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_stream_of_a_connection_waits_for_better_times() {
    if !alone!() {
        return;
    }
    // Beside it the first stream is nothing: on its own it could reach the next level.
    let ballast = vec![1_u8; 64 << 20];
    let harness = Harness::start(|_| {}).await;
    let limit = |percent: u64| {
        let memory = &harness.router.memory;
        memory.set_limit(Some(memory.used() * 100 / percent));
    };
    limit(65);
    let (mut client, driver) = client::handshake(harness.connector.tls().await.unwrap())
        .await
        .unwrap();
    let driver = tokio::spawn(driver);
    let mut statuses = Vec::new();
    for number in 0..2 {
        let token = token(&format!("stream-{number}"));
        let request = Request::post(format!("https://router.test{PATH}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        client = client.ready().await.unwrap();
        let call = client.send_request(request.body(()).unwrap(), false);
        let (response, send) = call.unwrap();
        if number == 0 {
            until("the first is in", || harness.waiting() == 1).await;
        }
        statuses.push((response, send));
    }
    let (response, _send) = statuses.pop().unwrap();
    let head = within("the refusal", response).await.unwrap();
    assert_eq!(head.headers()["grpc-status"], "8", "{head:?}");
    assert_eq!(harness.waiting(), 1);
    driver.abort();
    drop(ballast);
}
