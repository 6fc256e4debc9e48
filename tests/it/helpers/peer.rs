//! Two kinds of peers behind one interface: tonic's, and a raw one that speaks HTTP/2 as it likes.

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};
use jumpstarter_router::{client::Connector, protocol::v1::StreamRequest};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tonic::{Code, Status};

use super::{
    encode,
    line::{Cut, Line},
    wire::{raw_peer, tonic_peer},
    within,
};

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

pub(super) enum Event {
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
        self.send(super::data(payload.to_vec())).await;
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

    /// Like [`Peer::send_data`], but gives up after `patience`, and says whether it worked.
    pub async fn try_send(&mut self, payload: &[u8], patience: Duration) -> bool {
        match &mut self.way {
            Way::Tonic(Some(way)) => {
                let request = super::data(payload.to_vec());
                way.send_timeout(request, patience).await.is_ok()
            }
            Way::Tonic(None) => false,
            Way::Raw(_) => self.try_send_bytes(super::message(payload), patience).await,
        }
    }

    /// Like [`Peer::send_bytes`], but gives up after `patience`, and says whether it worked.
    pub async fn try_send_bytes(&mut self, bytes: impl Into<Bytes>, patience: Duration) -> bool {
        let mut bytes = bytes.into();
        let way = self.raw();
        while !bytes.is_empty() {
            way.reserve_capacity(bytes.len());
            let room = tokio::time::timeout(patience, poll_fn(|cx| way.poll_capacity(cx))).await;
            let Ok(Some(Ok(room))) = room else {
                return false;
            };
            let chunk = bytes.split_to(room.min(bytes.len()));
            if way.send_data(chunk, false).is_err() {
                return false;
            }
        }
        true
    }

    /// Sends noise until nothing more is taken for `quiet`, and says how many bytes were.
    ///
    /// `least`: before so many were taken, it does not count as quiet. `cut`: the longest DATA frame.
    pub async fn send_until_stalled(
        &mut self,
        source: &[u8],
        least: usize,
        cut: usize,
        quiet: Duration,
    ) -> usize {
        let way = self.raw();
        let mut sent = 0;
        while sent < source.len() {
            way.reserve_capacity(cut.min(source.len() - sent));
            let patience = if sent < least { super::LONG } else { quiet };
            let room = poll_fn(|cx| way.poll_capacity(cx));
            let Ok(room) = tokio::time::timeout(patience, room).await else {
                assert!(sent >= least, "only {sent} bytes were taken, not {least}");
                break;
            };
            let room = room.unwrap().unwrap().min(source.len() - sent).min(cut);
            let chunk = Bytes::copy_from_slice(&source[sent..sent + room]);
            way.send_data(chunk, false).unwrap();
            sent += room;
        }
        sent
    }

    pub fn half_close(&mut self) {
        match &mut self.way {
            Way::Tonic(way) => *way = None,
            // An error means that the stream has ended, which the reader tells.
            Way::Raw(way) => drop(way.send_data(Bytes::new(), true)),
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
