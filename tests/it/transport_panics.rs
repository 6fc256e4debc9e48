//! A defect in one stream's task, or in its connection's: that ends, and nothing else does. One in the accept loop ends
//! everything.
//!
//! The defect in a stream is a service of the test's own, passed in where health and reflection are: all streams of a
//! connection, whatever their service, run under the same guard. That in a connection is a subscriber of the test's own,
//! which does not bear some log lines; so does that in the accept loop.

use std::sync::Arc;

use crate::helpers::{
    KEY, Pair, alone::alone, call, config, data, last_words, raw, token, until, within,
};
use jumpstarter_router::{
    client::{Connector, Trust},
    inside::{
        auth::{Key, KeyRing, Rules},
        observe::metrics::{ConnectionEnd, Metrics},
        pairing::table::Table,
        server::Server,
        transport::{
            accept::{self, Who},
            memory::budget::Budget,
            phase::Phase,
            settings::Settings,
            shared::Shared,
        },
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tonic::service::Routes;
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

fn faulty() -> Routes {
    async fn fail() -> &'static str {
        panic!("on purpose, for a test")
    }
    let faulty = axum::routing::any(fail);
    Routes::from(axum::Router::<()>::new().route("/test.Faulty/Call", faulty))
}

/// Panics in the task of a connection that ends with an error, and in an accept loop that refuses a connection.
struct Fragile;

impl Subscriber for Fragile {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        target.ends_with("http2::connection") || target.ends_with("transport::accept")
    }

    fn event(&self, event: &Event<'_>) {
        let said = format!("{event:?}");
        for unbearable in ["connection ended with an error", "connections.max"] {
            assert!(!said.contains(unbearable), "on purpose");
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A router on a free port, without TLS.
async fn start() -> (Arc<Shared>, Connector, JoinHandle<()>) {
    let keys = KeyRing::new([Key::new("key", KEY.as_bytes())]).unwrap();
    let router = Shared::new(
        Rules::new(keys),
        Table::new(100, false),
        Settings::default(),
        Arc::new(Metrics::new(&[], &[])),
        Budget::new(0),
        faulty(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let running = tokio::spawn(accept::run(
        router.clone(),
        listener,
        None,
        false,
        Who::Peers,
    ));
    let connector = Connector::new(&address.to_string(), Trust::Plaintext).unwrap();
    (router, connector, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_a_connection_ends_its_own_streams_only() {
    if !alone!() {
        return;
    }
    tracing::subscriber::set_global_default(Fragile).unwrap();
    let (router, connector, running) = start().await;
    let metrics = &router.metrics;
    let mut innocent = Pair::open(&connector, "elsewhere").await;
    for panics in 1..=3 {
        let mut raw = raw::Raw::open(connector.tcp().await.unwrap()).await;
        let token = token("meets a defect");
        let headers = raw::call_headers(&token);
        raw.send(&raw::frame(raw::HEADERS, raw::END_HEADERS, 1, &headers))
            .await;
        until("it waits", || metrics.streams_waiting.get() == 1).await;
        let channel = connector.channel().await.unwrap();
        let partner = within("a partner", call(channel, &token, vec![])).await;
        // DATA on stream 0 is an error of the whole connection (RFC 9113 section 6.1).
        raw.send(&raw::frame(raw::DATA, 0, 0, &[])).await;
        let (told, code, text) = last_words(&mut partner.unwrap()).await;
        assert!(told && code != tonic::Code::Ok, "{code}: {text}");
        assert_eq!(metrics.panics.get(), panics);
        until("counted", || {
            metrics.connections_closed.count(ConnectionEnd::Panicked) == panics
        })
        .await;
        innocent.ping_pong().await;
    }
    until("all is given back", || metrics.connections_open.get() == 2).await;
    assert_eq!(metrics.connections_with_streams.get(), 2);
    Pair::open(&connector, "later").await.ping_pong().await;
    innocent.ping_pong().await;
    router.life.advance(Phase::Stopped);
    within("the end", running).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_its_own_stream_only() {
    let (router, connector, running) = start().await;
    let (life, metrics) = (&router.life, &router.metrics);
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
    let said = data("still here");
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

    life.advance(Phase::Stopped);
    within("the end", running).await.unwrap();
}

/// Nothing accepts connections any more, so nothing else may look as if all were well.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_accept_loop_stops_the_router() {
    if !alone!() {
        return;
    }
    tracing::subscriber::set_global_default(Fragile).unwrap();
    let settings = [("tls.plaintext", "true"), ("connections.max", "1")];
    let server = Server::start(&config(&settings)).await.unwrap();
    let metrics = server.router().metrics.clone();
    let _first = TcpStream::connect(server.address).await.unwrap();
    until("it is in", || metrics.connections_open.get() == 1).await;
    let _second = TcpStream::connect(server.address).await.unwrap();
    within("the end", server.failed()).await;
    assert_eq!(metrics.panics.get(), 1);
    until("the first is closed", || {
        metrics.connections_open.get() == 0
    })
    .await;
}
