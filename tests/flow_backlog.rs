//! What HTTP/2 keeps of bytes that nobody reads counts against the memory limit.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream, client};
use http::Request;
use jumpstarter_router::transport::{memory::Memory, stream::PATH};
use support::{Harness, Kind, Options, WINDOW, message, until, within};
use tokio::{net::TcpStream, sync::watch, task::JoinHandle};
use tokio_rustls::client::TlsStream;

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
        let token = harness.token(&format!("pair-{number}"));
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
    let harness = Harness::start(|config| config.streams.max_per_connection = 100).await;
    let memory = &harness.router.memory;
    let readers = open(&harness).await;
    until("all wait", || harness.router.streams() == STREAMS).await;
    let mut senders = open(&harness).await;
    until("all are paired", || harness.router.streams() == 2 * STREAMS).await;
    readers.reading.send_replace(false);
    let before = memory.used();

    let bytes = message(&vec![7; EACH]);
    for (send, _) in &mut senders.calls {
        send.send_data(bytes.clone(), true).unwrap();
    }
    // Credit for the last third comes back only when all of it was taken.
    let full = (STREAMS * WINDOW * 2 / 3) as u64;
    until("lanes are full", || memory.lanes().bytes() > full).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let kept = memory.used() - before - Memory::needed_for(memory.lanes().bytes());
    let send_buffers = 60 * 1024 * STREAMS as u64;
    assert!(kept > send_buffers, "{kept} of {send_buffers}");

    readers.reading.send_replace(true);
    for (mut send, response) in readers.calls {
        send.send_data(Bytes::new(), true).unwrap();
        let body = within("the head", response).await.unwrap().into_body();
        assert_eq!(within("the bytes", read_all(body)).await, bytes.len());
    }
    until("nothing is held", || {
        memory.used() < before + send_buffers / 10
    })
    .await;
    readers.driver.abort();
    senders.driver.abort();
}

/// HTTP/2 reads into blocks of 8 KiB, and a frame of a little more than half of one keeps it whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_leave_half_of_a_block_count_as_the_block() {
    let harness = Harness::start(|_| {}).await;
    let memory = &harness.router.memory;
    let options = (Options::default(), Options::stopped(1_000));
    let kinds = (Kind::Raw, Kind::Raw);
    let (mut sender, _reader) = harness.pair_with(kinds, "half blocks", options).await;
    let before = memory.used();
    let bytes = message(&vec![7; 2 * WINDOW]);
    let quiet = Duration::from_millis(500);
    sender
        .send_until_stalled(&bytes, WINDOW, 4_100, quiet)
        .await;
    let held = memory.lanes().bytes();
    assert!(held > WINDOW as u64 / 2, "{held}");
    let used = memory.used() - before;
    assert!(used > held * 9 / 5, "{used} for {held} bytes in lanes");
}
