//! A defect in one stream's task: that stream ends, and nothing else does.
//!
//! The defect is a service of the test's own, passed in where health and reflection are: all streams of a
//! connection, whatever their service, run under the same guard.
#![allow(clippy::unwrap_used)]

mod helpers;

use std::{sync::Arc, time::Duration};

use helpers::{KEY, Pair, raw, token, until, within};
use jumpstarter_router::{
    auth::{Key, KeyRing, Rules},
    client::{Connector, Trust, call},
    observe::metrics::Metrics,
    pairing::table::Table,
    transport::{
        accept,
        budget::Budget,
        pace::Rates,
        router::{ConnectionSettings, Router, Settings, StreamSettings},
    },
};
use tokio::net::TcpListener;
use tonic::service::Routes;

const LONG: Duration = Duration::from_secs(60);

fn settings() -> Settings {
    Settings {
        streams: StreamSettings {
            window: 256 * 1024,
            max_window: 256 * 1024,
            max_message: 4 << 20,
            max: None,
            max_per_address: None,
            new_per_second: None,
            refused_tokens_per_second: None,
            rates: Rates::default(),
            pairing_timeout: LONG,
            idle_timeout: None,
            stall_timeout: None,
            max_duration: None,
            linger: LONG,
        },
        connections: ConnectionSettings {
            max: 100,
            max_per_address: None,
            proxies: Arc::new([]),
            proxy_header_timeout: LONG,
            max_streams: 100,
            max_header_size: 16 * 1024,
            send_buffer: 64 * 1024,
            tls_handshake_timeout: LONG,
            preface_timeout: LONG,
            first_stream_timeout: LONG,
            idle_timeout: None,
            max_age: None,
            max_age_grace: None,
            keepalive_interval: None,
            keepalive_timeout: LONG,
            tcp_user_timeout: None,
            write_stall_timeout: None,
        },
    }
}

fn faulty() -> Routes {
    async fn fail() -> &'static str {
        panic!("on purpose, for a test")
    }
    let faulty = axum::routing::any(fail);
    Routes::from(axum::Router::<()>::new().route("/test.Faulty/Call", faulty))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_its_own_stream_only() {
    let keys = KeyRing::new([Key::new("key", KEY.as_bytes())]).unwrap();
    let metrics = Arc::new(Metrics::new(&[], &[]));
    let router = Router::new(
        Rules::new(keys),
        Table::new(100, false),
        settings(),
        metrics.clone(),
        Budget::new(0),
        faulty(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = router.stop.clone();
    let running = tokio::spawn(accept::run(router, listener, None, false));

    let connector = Connector::new(&address.to_string(), Trust::Plaintext).unwrap();
    let mut pair = Pair::open(&connector, "elsewhere").await;
    // Two calls on one connection, the same on which the faulty one is made.
    let channel = connector.channel().await.unwrap();
    let token = token("same connection");
    let waiting = tokio::spawn({
        let (channel, token) = (channel.clone(), token.clone());
        async move { call(channel, &token, vec![]).await }
    });
    until("one waits", || metrics.streams_waiting.get() == 1).await;

    let mut client = tonic::client::Grpc::new(channel.clone());
    for panics in 1..=20 {
        within("ready", client.ready()).await.unwrap();
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let path = "/test.Faulty/Call".parse().unwrap();
        let failed = client.unary(tonic::Request::new(()), path, codec);
        assert!(within("its end", failed).await.is_err());
        until("counted", || metrics.panics.get() == panics).await;
    }
    assert_eq!(metrics.streams_waiting.get(), 1, "its neighbour waits on");
    let partner = within("a partner", call(channel, &token, vec![])).await;
    let waiting = within("pairing", waiting).await.unwrap();
    let (mut one, mut other) = (waiting.unwrap(), partner.unwrap());
    let said = jumpstarter_router::client::stream::data("still here");
    one.send.send(said.clone()).await.unwrap();
    let heard = within("a message", other.receive.message()).await.unwrap();
    assert_eq!(heard.unwrap().payload, said.payload);
    other.send.send(said).await.unwrap();
    assert!(
        within("a message", one.receive.message())
            .await
            .unwrap()
            .is_some()
    );
    pair.ping_pong().await;
    assert_eq!(metrics.connections_open.get(), 3);

    // Of a stream whose task is gone the peer hears at once, not when its connection ends.
    let mut raw = raw::Raw::open(connector.tcp().await.unwrap()).await;
    let block = [
        raw::header(":method", "POST"),
        raw::header(":scheme", "http"),
        raw::header(":path", "/test.Faulty/Call"),
        raw::header("content-type", "application/grpc"),
    ];
    let headers = raw::frame(raw::HEADERS, raw::END_HEADERS, 1, &block.concat());
    raw.send(&headers).await;
    let reset = raw.next_of(raw::RST_STREAM).await;
    assert_eq!(reset.unwrap().stream, 1);

    stop.cancel();
    within("the end", running).await.unwrap();
}
