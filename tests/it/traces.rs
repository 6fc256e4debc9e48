//! What a collector of traces gets.

use std::collections::BTreeMap;

use crate::helpers::{
    Pair,
    process::{Process, usual},
    web, within,
};
use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Response};
use jumpstarter_router::client::{Connector, Trust};
use prost::Message;
use tokio::{net::TcpListener, sync::mpsc};

/// The parts of `opentelemetry.proto.collector.trace.v1` that are looked at.
mod otlp {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub struct Request {
        #[prost(message, repeated, tag = "1")]
        pub resources: Vec<ResourceSpans>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        pub resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub scopes: Vec<ScopeSpans>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct ScopeSpans {
        #[prost(message, repeated, tag = "2")]
        pub spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Span {
        #[prost(string, tag = "5")]
        pub name: String,
        #[prost(fixed64, tag = "7")]
        pub start: u64,
        #[prost(fixed64, tag = "8")]
        pub end: u64,
        #[prost(message, repeated, tag = "9")]
        pub attributes: Vec<KeyValue>,
        #[prost(message, optional, tag = "15")]
        pub status: Option<Status>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Status {
        #[prost(string, tag = "2")]
        pub message: String,
        #[prost(int32, tag = "3")]
        pub code: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct KeyValue {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(message, optional, tag = "2")]
        pub value: Option<Value>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Value {
        #[prost(oneof = "Kind", tags = "1, 3")]
        pub kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(int64, tag = "3")]
        Whole(i64),
    }
}

fn attributes(all: &[otlp::KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &otlp::KeyValue| match value.value.as_ref()?.kind.as_ref()? {
        otlp::Kind::Text(text) => Some((value.key.clone(), text.clone())),
        otlp::Kind::Whole(whole) => Some((value.key.clone(), whole.to_string())),
    };
    all.iter().filter_map(text).collect()
}

/// Takes all that is sent, and says so.
async fn collector() -> (String, mpsc::UnboundedReceiver<otlp::ResourceSpans>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (send, spans) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(
                request.uri().path(),
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
            );
            let send = send.clone();
            tokio::spawn(async move {
                let mut body = request.into_body();
                let mut bytes = Vec::new();
                while let Some(Ok(part)) = body.data().await {
                    body.flow_control().release_capacity(part.len()).unwrap();
                    bytes.extend_from_slice(&part);
                }
                let mut message = &bytes[..];
                message.advance(5);
                for resource in otlp::Request::decode(message).unwrap().resources {
                    send.send(resource).unwrap();
                }
                let head = Response::builder().header("content-type", "application/grpc");
                let mut body = respond
                    .send_response(head.body(()).unwrap(), false)
                    .unwrap();
                // An empty message.
                body.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                body.send_trailers(trailers).unwrap();
            });
        }
    });
    (endpoint, spans)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_ended_stream_is_a_span() {
    let (endpoint, mut spans) = collector().await;
    let mut command = usual(&[]);
    // Only the end of the process sends them.
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_BSP_SCHEDULE_DELAY", "600000");
    let mut process = Process::start(command);
    let connector = Connector::new(&process.address(), Trust::Insecure).unwrap();
    let mut pair = Pair::open(&connector, "traced").await;
    pair.ping_pong().await;
    drop(pair);
    let records = [process.line("stream ended"), process.line("stream ended")];
    process.signal("TERM");
    let ended = web::aside(|| process.wait()).await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");

    let all = within("the spans", spans.recv()).await.unwrap();
    let resource = attributes(&all.resource.unwrap().attributes);
    assert_eq!(resource["service.name"], "jumpstarter-router");
    assert_eq!(resource["service.version"], jumpstarter_router::VERSION);
    let spans = &all.scopes[0].spans;
    assert_eq!(spans.len(), 2);
    for (span, record) in spans.iter().zip(records) {
        assert_eq!(span.name, "jumpstarter.v1.RouterService/Stream");
        let took = (span.end - span.start) / 1_000_000;
        assert!(took.abs_diff(record["duration_ms"].as_u64().unwrap()) <= 1);
        let shown = |name: &str| record[name].to_string().trim_matches('"').to_owned();
        let expected: BTreeMap<_, _> = [
            "id",
            "stream",
            "peer",
            "other_peer",
            "bytes_in",
            "bytes_out",
            "messages_in",
            "messages_out",
            "waited_ms",
            "ended_by",
            "reason",
            "status",
        ]
        .map(|name| (format!("router.{name}"), shown(name)))
        .into();
        assert_eq!(attributes(&span.attributes), expected);
        let status = span.status.clone().unwrap();
        // 2 is an error.
        assert_eq!((status.code, status.message), (2, shown("detail")));
    }
}

/// Nothing listens there; the router does not mind.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_holds_nothing_up() {
    let mut command = usual(&[]);
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let mut process = Process::start(command);
    let connector = Connector::new(&process.address(), Trust::Insecure).unwrap();
    for round in 0..3 {
        let mut pair = Pair::open(&connector, &format!("round {round}")).await;
        pair.ping_pong().await;
    }
    process.signal("TERM");
    let ended = web::aside(|| process.wait()).await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
}
