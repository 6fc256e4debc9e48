//! What is taken for granted of memory, measured: an update of h2 or rustls that makes it untrue fails here.
//!
//! The heap that is counted is that of the process, so each test has one of its own.

use std::future::Future;

use crate::helpers::{Running, alone::alone, within};
use bytes::Bytes;
use h2::{Ping, client, server};
use http::Request;
use jumpstarter_router::inside::transport::limits::calls;
use jumpstarter_router_system::heap;
use tokio::io::duplex;

const BATCHES: usize = 10;
const FRAMES: usize = 100;
const CONNECTIONS: usize = 8;
/// Fewer than one connection may have, one after the other of two kinds.
const CALLS: usize = 7;

/// By how much the heap has grown when it is over.
async fn growth<T>(what: impl Future<Output = T>) -> (u64, T) {
    let before = heap::live();
    let output = what.await;
    (heap::live().saturating_sub(before), output)
}

/// The reason why small frames are read about a hundred at a time (`transport::memory::read_budget`).
#[tokio::test]
async fn h2_notes_some_250_bytes_for_each_frame_that_waits() {
    if !alone!() {
        return;
    }
    let (near, far) = duplex(1 << 20);
    tokio::spawn(async move {
        let mut builder = server::Builder::new();
        builder.initial_window_size(1 << 20);
        builder.initial_connection_window_size(1 << 20);
        let mut connection = builder.handshake::<_, Bytes>(far).await.unwrap();
        let mut unread = Vec::new();
        while let Some(call) = connection.accept().await {
            unread.push(call.unwrap());
        }
    });
    let (client, mut connection) = client::handshake(near).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = Request::post("https://router.test/").body(()).unwrap();
    let (_response, mut send) = client.send_request(request, false).unwrap();
    within("settings", pings.ping(Ping::opaque()))
        .await
        .unwrap();
    let frames = async {
        for _ in 0..BATCHES {
            for _ in 0..FRAMES {
                send.send_data(Bytes::from_static(&[7; 20]), false).unwrap();
            }
            // Its answer comes after all before it was taken in.
            within("an answer", pings.ping(Ping::opaque()))
                .await
                .unwrap();
        }
    };
    let (grown, ()) = growth(frames).await;
    let each = grown / (BATCHES * FRAMES) as u64;
    assert!((150..=350).contains(&each), "{each} bytes a frame");
}

/// The share of the memory that calls without a token may have is divided by this (`transport::limits::calls`).
#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_token_costs_no_more_than_is_reckoned() {
    if !alone!() {
        return;
    }
    // What ends would be counted against what comes.
    let mut kept = Vec::new();
    // An empty message; one whose bytes have not come.
    for (path, message) in [("Watch", [0, 0, 0, 0, 0]), ("Check", [0, 0, 0, 0, 9])] {
        let router = Running::start(&[]).await;
        let mut peers = Vec::new();
        for _ in 0..CONNECTIONS {
            let io = within("TLS", router.connector().tls()).await.unwrap();
            let (send, mut connection) = within("HTTP/2", client::handshake(io)).await.unwrap();
            let mut pings = connection.ping_pong().unwrap();
            tokio::spawn(connection);
            within("settings", pings.ping(Ping::opaque()))
                .await
                .unwrap();
            peers.push((send, pings));
        }
        let calls = async {
            let mut open = Vec::new();
            for (peer, pings) in &mut peers {
                for _ in 0..CALLS {
                    let request =
                        Request::post(format!("https://router.test/grpc.health.v1.Health/{path}"))
                            .header("content-type", "application/grpc")
                            .header("te", "trailers");
                    let mut peer = within("a stream", peer.clone().ready()).await.unwrap();
                    let (response, mut send) =
                        peer.send_request(request.body(()).unwrap(), false).unwrap();
                    send.send_data(Bytes::copy_from_slice(&message), path == "Watch")
                        .unwrap();
                    open.push((send, response));
                }
                // Its answer comes after all before it was taken in.
                within("an answer", pings.ping(Ping::opaque()))
                    .await
                    .unwrap();
            }
            open
        };
        let (grown, open) = growth(calls).await;
        let each = grown / open.len() as u64;
        assert!(
            (1..=calls::CALL).contains(&each),
            "{path}: {each} bytes a call"
        );
        kept.push((router, peers, open));
    }
}
