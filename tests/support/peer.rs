//! Two kinds of peers behind one interface: tonic's, and a raw one that speaks HTTP/2 as it likes.

use std::{convert::Infallible, future::poll_fn, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::{Reason, RecvStream, SendStream, client::ResponseFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use hyper_util::rt::TokioIo;
use jumpstarter_router::{
    client::Connector,
    grpc::v1::{StreamRequest, router_service_client::RouterServiceClient},
    transport::stream::PATH,
};
use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Endpoint};

use super::{encode, line::Cut, line::Line, within};

/// Whose HTTP/2 and gRPC the peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tonic,
    Raw,
}

/// Every combination of the two kinds.
pub const KINDS: [(Kind, Kind); 4] = [
    (Kind::Tonic, Kind::Tonic),
    (Kind::Tonic, Kind::Raw),
    (Kind::Raw, Kind::Tonic),
    (Kind::Raw, Kind::Raw),
];

/// What differs from a usual peer.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the router may send on the stream unread, bytes.
    pub window: u32,
    /// Starts reading at once.
    pub reading: bool,
    /// Further headers of the call.
    pub headers: Vec<(&'static str, &'static str)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: 65_535,
            reading: true,
            headers: Vec::new(),
        }
    }
}

impl Options {
    pub fn header(name: &'static str, value: &'static str) -> Self {
        Self {
            headers: vec![(name, value)],
            ..Self::default()
        }
    }

    pub fn stopped(window: u32) -> Self {
        Self {
            window,
            reading: false,
            headers: Vec::new(),
        }
    }
}

/// How a stream ended for a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Status(Code, String),
    Reset(Reason),
    Lost,
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Status(status.code(), status.message().to_owned())
    }
}

/// All that a peer got.
#[derive(Clone, Debug)]
pub struct Collected {
    /// `None`: the response had no body, only a status.
    pub head: Option<HeaderMap>,
    pub bytes: Vec<u8>,
    pub end: End,
}

enum Event {
    Head(HeaderMap),
    Data(Bytes),
    End(End),
}

enum Way {
    Tonic(Option<mpsc::Sender<StreamRequest>>),
    Raw(SendStream<Bytes>),
}

/// A peer with its own connection and one call. Dropping it closes both.
pub struct Peer {
    pub line: Line,
    way: Way,
    events: mpsc::UnboundedReceiver<Event>,
    reading: watch::Sender<bool>,
    reader: JoinHandle<()>,
    connection: Option<JoinHandle<()>>,
    got: Collected,
    ended: bool,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.reader.abort();
        if let Some(connection) = &self.connection {
            connection.abort();
        }
    }
}

impl Peer {
    pub async fn open(connector: &Connector, kind: Kind, token: &str, options: Options) -> Self {
        let line = Line::new(connector.tls().await.unwrap());
        let (sender, events) = mpsc::unbounded_channel();
        let (reading, gate) = watch::channel(options.reading);
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        headers.insert("authorization", bearer);
        for (name, value) in options.headers {
            let name = HeaderName::from_static(name);
            headers.insert(name, HeaderValue::from_static(value));
        }
        let (way, reader, connection) = match kind {
            Kind::Tonic => {
                let (way, reader) = tonic_peer(&line, options.window, headers, sender, gate).await;
                (Way::Tonic(Some(way)), reader, None)
            }
            Kind::Raw => {
                let (way, reader, connection) =
                    raw_peer(&line, options.window, headers, sender, gate).await;
                (Way::Raw(way), reader, Some(connection))
            }
        };
        Self {
            line,
            way,
            events,
            reading,
            reader,
            connection,
            got: Collected {
                head: None,
                bytes: Vec::new(),
                end: End::Lost,
            },
            ended: false,
        }
    }

    /// Sends one message.
    pub async fn send(&mut self, request: StreamRequest) {
        match &mut self.way {
            Way::Tonic(Some(way)) => within("room to send", way.send(request)).await.unwrap(),
            Way::Tonic(None) => panic!("half-closed already"),
            Way::Raw(_) => self.send_bytes(encode(&request)).await,
        }
    }

    /// Sends a frame with this payload.
    pub async fn send_data(&mut self, payload: &[u8]) {
        self.send(jumpstarter_router::client::stream::data(payload.to_vec()))
            .await;
    }

    fn raw(&mut self) -> &mut SendStream<Bytes> {
        match &mut self.way {
            Way::Raw(way) => way,
            Way::Tonic(_) => panic!("only a raw peer can do this"),
        }
    }

    /// Sends any bytes, as far as the router's window lets it.
    pub async fn send_bytes(&mut self, bytes: impl Into<Bytes>) {
        let mut bytes = bytes.into();
        let way = self.raw();
        while !bytes.is_empty() {
            way.reserve_capacity(bytes.len());
            let room = poll_fn(|cx| way.poll_capacity(cx));
            let room = within("room to send", room).await.unwrap().unwrap();
            let chunk = bytes.split_to(room.min(bytes.len()));
            way.send_data(chunk, false).unwrap();
        }
    }

    /// Sends noise until nothing more is taken for `quiet`, and says how many bytes were.
    ///
    /// `least`: before so many were taken, it does not count as quiet.
    pub async fn send_until_stalled(
        &mut self,
        source: &[u8],
        least: usize,
        quiet: Duration,
    ) -> usize {
        let way = self.raw();
        let mut sent = 0;
        while sent < source.len() {
            way.reserve_capacity(source.len() - sent);
            let patience = if sent < least { super::PATIENCE } else { quiet };
            let room = poll_fn(|cx| way.poll_capacity(cx));
            let Ok(room) = tokio::time::timeout(patience, room).await else {
                assert!(sent >= least, "only {sent} bytes were taken, not {least}");
                break;
            };
            let room = room.unwrap().unwrap().min(source.len() - sent);
            let chunk = Bytes::copy_from_slice(&source[sent..sent + room]);
            way.send_data(chunk, false).unwrap();
            sent += room;
        }
        sent
    }

    pub fn half_close(&mut self) {
        match &mut self.way {
            Way::Tonic(way) => *way = None,
            Way::Raw(way) => way.send_data(Bytes::new(), true).unwrap(),
        }
    }

    /// Cancels the call, as a user of the library would.
    pub fn cancel(&mut self) {
        match &mut self.way {
            Way::Tonic(way) => {
                *way = None;
                self.reader.abort();
            }
            Way::Raw(way) => way.send_reset(Reason::CANCEL),
        }
    }

    pub fn reset(&mut self, reason: Reason) {
        self.raw().send_reset(reason);
    }

    pub fn cut(&self, how: Cut) {
        self.line.cut(how);
    }

    /// Waits until so many bytes of messages are on their way.
    pub async fn written(&self, bytes: usize) {
        let done = |seen: &super::line::Seen| seen.data_written >= bytes as u64;
        self.line.until("the bytes to be written", done).await;
    }

    pub fn read(&self, on: bool) {
        self.reading.send_replace(on);
    }

    async fn step(&mut self) {
        match within("the router to send something", self.events.recv()).await {
            Some(Event::Head(head)) => self.got.head = Some(head),
            Some(Event::Data(bytes)) => self.got.bytes.extend_from_slice(&bytes),
            Some(Event::End(end)) => {
                self.got.end = end;
                self.ended = true;
            }
            None => panic!("the reader is gone"),
        }
    }

    /// Waits for the head of the response, which comes when the partner does.
    pub async fn head(&mut self) -> HeaderMap {
        while self.got.head.is_none() {
            assert!(!self.ended, "ended before its head: {:?}", self.got.end);
            self.step().await;
        }
        self.got.head.clone().unwrap()
    }

    /// Waits until at least so many bytes of messages have arrived in all.
    pub async fn arrived(&mut self, bytes: usize) -> &[u8] {
        while self.got.bytes.len() < bytes {
            assert!(
                !self.ended,
                "ended after {} bytes of {bytes}: {:?}",
                self.got.bytes.len(),
                self.got.end
            );
            self.step().await;
        }
        &self.got.bytes
    }

    /// Whether the stream is known to have ended, without waiting.
    pub fn has_ended(&mut self) -> bool {
        while !self.ended && !self.events.is_empty() {
            self.step().now_or_never().unwrap();
        }
        self.ended
    }

    /// Waits for the end.
    pub async fn collect(&mut self) -> Collected {
        while !self.ended {
            self.step().await;
        }
        self.got.clone()
    }
}

async fn opened(gate: &mut watch::Receiver<bool>) {
    // Fails only if the peer is gone, and then this task is, too.
    let _ = gate.wait_for(|on| *on).await;
}

async fn tonic_peer(
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

async fn raw_peer(
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
