//! The two ways to speak HTTP/2: tonic's channel, and the h2 library by hand.

use std::convert::Infallible;

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::ResponseFuture};
use http::{HeaderMap, HeaderValue, Request};
use hyper_util::rt::TokioIo;
use jumpstarter_router::{
    inside::grpc::call::PATH,
    protocol::v1::{StreamRequest, router_service_client::RouterServiceClient},
};
use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Endpoint};

use super::{
    line::Line,
    peer::{End, Event},
};

async fn opened(gate: &mut watch::Receiver<bool>) {
    // Fails only if the peer is gone, and then this task is, too.
    let _ = gate.wait_for(|on| *on).await;
}

pub(super) async fn tonic_peer(
    line: &Line,
    window: u32,
    headers: HeaderMap,
    events: mpsc::UnboundedSender<Event>,
    mut gate: watch::Receiver<bool>,
) -> (mpsc::Sender<StreamRequest>, JoinHandle<()>) {
    let io = line.clone();
    let connect = move |_| {
        let io = io.clone();
        async move { Ok::<_, Infallible>(TokioIo::new(io)) }
    };
    let channel = Endpoint::from_static("http://router.test")
        .initial_stream_window_size(window)
        .connect_with_connector(tower::service_fn(connect))
        .await
        .unwrap();
    let (send, outgoing) = mpsc::channel(1);
    let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
    *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers);
    let reader = tokio::spawn(async move {
        let mut client = RouterServiceClient::new(channel);
        let response = match client.stream(request).await {
            Ok(response) => response,
            Err(status) => {
                let _ = events.send(Event::End(status.into()));
                return;
            }
        };
        let (head, mut body, _) = response.into_parts();
        let _ = events.send(Event::Head(head.into_headers()));
        let end = loop {
            opened(&mut gate).await;
            match body.message().await {
                Ok(Some(message)) => {
                    let bytes = super::prefixed(0, &message.encode_to_vec());
                    let _ = events.send(Event::Data(bytes));
                }
                Ok(None) => break End::Status(Code::Ok, String::new()),
                Err(status) => break status.into(),
            }
        };
        let _ = events.send(Event::End(end));
    });
    (send, reader)
}

pub(super) async fn raw_peer(
    line: &Line,
    window: u32,
    mut headers: HeaderMap,
    events: mpsc::UnboundedSender<Event>,
    gate: watch::Receiver<bool>,
) -> (SendStream<Bytes>, JoinHandle<()>, JoinHandle<()>) {
    let (mut client, connection) = h2::client::Builder::new()
        .initial_window_size(window)
        .initial_connection_window_size(window.max(65_535))
        // The peer may be slow to read small frames as long as it likes.
        .data_frame_budget(usize::MAX)
        .handshake::<_, Bytes>(line.clone())
        .await
        .unwrap();
    let connection = tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut request = Request::post(format!("https://router.test{PATH}"));
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    request.headers_mut().unwrap().extend(headers);
    client = client.ready().await.unwrap();
    let request = request.body(()).unwrap();
    let (response, send) = client.send_request(request, false).unwrap();
    let reader = tokio::spawn(async move {
        // Held, so that the connection stays while the peer does.
        let _client = client;
        let end = read_raw(response, &events, gate)
            .await
            .unwrap_or_else(|error| match error.reason() {
                Some(reason) if error.is_reset() => End::Reset(reason),
                _ => End::Lost,
            });
        let _ = events.send(Event::End(end));
    });
    (send, reader, connection)
}

async fn read_raw(
    response: ResponseFuture,
    events: &mpsc::UnboundedSender<Event>,
    mut gate: watch::Receiver<bool>,
) -> Result<End, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    if let Some(status) = Status::from_header_map(&head.headers) {
        return Ok(status.into());
    }
    let _ = events.send(Event::Head(head.headers));
    loop {
        opened(&mut gate).await;
        let Some(chunk) = body.data().await else {
            break;
        };
        let chunk = chunk?;
        release(&mut body, chunk.len());
        let _ = events.send(Event::Data(chunk));
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok(Status::from_header_map(&trailers).map_or(End::Lost, End::from))
}

fn release(body: &mut RecvStream, bytes: usize) {
    // Fails only once the stream is gone, which the next read tells.
    let _ = body.flow_control().release_capacity(bytes);
}
