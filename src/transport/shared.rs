//! What all connections and streams share.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use http::HeaderValue;
use sync_wrapper::SyncWrapper;
use tokio::sync::{oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;

use crate::transport::{
    call::{
        peer::Passage,
        successor::{Own, Successor},
    },
    http2::routes::places::Calls,
    limits::{
        addresses::Addresses,
        seats::{Seat, Seats},
        spares::Spares,
    },
    live::{Live, Rate},
    memory::{budget::Budget, level::Memory},
    settings::Settings,
};
use crate::{
    auth::Rules,
    grpc::headers::Encodings,
    observe::metrics::Metrics,
    pairing::table::Table,
    splice::{
        control::Control,
        ending::Cause,
        lane::{LaneReceiver, LaneSender},
    },
};

/// What a waiting stream leaves for its partner: the other ends of both lanes, and how to reach it.
#[derive(Debug)]
pub struct Offer {
    /// The table is shared between threads, though an offer is only ever moved.
    pub(crate) lanes: SyncWrapper<(LaneSender, LaneReceiver)>,
    pub(crate) seat: Seat,
    pub(crate) joined: oneshot::Sender<Partner>,
    pub(crate) live: Arc<Live>,
    pub(crate) encodings: Encodings,
}

/// What a waiting stream learns of the partner that came.
#[derive(Debug)]
pub struct Partner {
    pub(crate) peer: IpAddr,
    pub(crate) encodings: Encodings,
}

/// The state that all connections share.
#[derive(Debug)]
pub struct Router {
    /// Who may come in.
    pub rules: ArcSwap<Rules>,
    /// Who waits for whom.
    pub table: Arc<Table<Offer>>,
    /// Limits and deadlines; new connections and streams take the newest. Connections keep what they were opened with.
    pub settings: ArcSwap<Settings>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the router is asked to stop.
    pub leaving: CancellationToken,
    /// Cancelled when the drain begins: no connection is accepted from then on.
    pub draining: CancellationToken,
    /// Cancelled when everything ends.
    pub stop: CancellationToken,
    /// Whether connections can be accepted.
    pub accepting: watch::Sender<bool>,
    /// Where streams that wait in vain for a partner go when the router stops.
    pub successor: ArcSwap<Successor>,
    /// Where this process listens; set once it does.
    pub own: OnceLock<Own>,
    /// Tells this process from all others.
    pub(crate) process: HeaderValue,
    /// Cancelled when streams that wait are to be forwarded to the successor.
    pub(crate) forwarding: CancellationToken,
    /// Streams at the successor, which end with `stop`.
    pub(crate) forwards: TaskTracker,
    /// What windows may grow by, all together.
    pub windows: Arc<Budget>,
    /// What is in use.
    pub memory: Arc<Memory>,
    /// Where connections come from.
    pub addresses: Arc<Addresses>,
    /// Connections without a stream.
    pub spares: Arc<Spares>,
    /// How fast all streams together are forwarded. Zero unless [`sample`](crate::transport::live::sample) runs.
    pub forwarded: Rate,
    pub(crate) seats: Seats,
    /// Calls that ask for no token.
    pub(crate) calls: Arc<Calls>,
    /// Services other than the router's own.
    pub(crate) routes: Routes,
    streams: DashMap<u64, Arc<Live>>,
    next: AtomicU64,
}

impl Router {
    /// `routes` serves every path but `RouterService/Stream`.
    pub fn new(
        rules: Rules,
        table: Table<Offer>,
        settings: Settings,
        metrics: Arc<Metrics>,
        windows: Arc<Budget>,
        routes: Routes,
    ) -> Arc<Self> {
        Arc::new(Self {
            rules: ArcSwap::from_pointee(rules),
            table: Arc::new(table),
            settings: ArcSwap::from_pointee(settings),
            metrics,
            leaving: CancellationToken::new(),
            draining: CancellationToken::new(),
            stop: CancellationToken::new(),
            accepting: watch::Sender::new(true),
            successor: ArcSwap::default(),
            own: OnceLock::new(),
            process: process(),
            forwarding: CancellationToken::new(),
            forwards: TaskTracker::new(),
            windows,
            memory: Arc::default(),
            addresses: Arc::default(),
            spares: Arc::default(),
            forwarded: Rate::default(),
            seats: Seats::default(),
            calls: Arc::default(),
            routes: routes.prepare(),
            streams: DashMap::new(),
            next: AtomicU64::new(1),
        })
    }

    /// Makes the stream known to those who may look at it or end it, until the guard is dropped.
    pub(crate) fn register(
        self: &Arc<Self>,
        subject: Arc<str>,
        peer: IpAddr,
        certificate: Option<Arc<str>>,
        arrived: tokio::time::Instant,
        passage: Arc<Passage>,
    ) -> Registered {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let live = Arc::new(Live::new(id, subject, peer, certificate, arrived, passage));
        self.streams.insert(id, live.clone());
        Registered {
            router: self.clone(),
            live,
        }
    }

    /// The router is about to stop, but serves on: streams that wait are forwarded now if that is configured, and none
    /// are taken that other routers forward.
    pub fn leave(&self) {
        self.leaving.cancel();
        let successor = self.successor.load();
        if successor.early && successor.to.is_some() {
            self.forwarding.cancel();
        }
    }

    /// Begins the drain: no connection is accepted, the others are told. Pairs go on. Streams that wait, and those that
    /// still come, find their partner at the successor; without one they are told, and nobody new is let in.
    pub fn drain(&self) {
        self.leave();
        if self.successor.load().to.is_some() {
            self.forwarding.cancel();
            self.draining.cancel();
            return;
        }
        self.table.drain();
        self.draining.cancel();
        self.for_each_stream(|control| {
            if !control.is_paired() {
                control.end(Cause::Draining);
            }
        });
    }

    /// Ends every stream that is left, with the drain as the cause.
    pub fn end_all(&self) {
        self.for_each_stream(|control| control.end(Cause::Draining));
    }

    /// Calls `see` for every stream now served.
    pub(crate) fn for_each_stream(&self, mut see: impl FnMut(&Arc<Control>)) {
        self.for_each_live(|live| see(&live.control));
    }

    /// Calls `see` for every stream now served. It must be quick: streams that come and go wait for it.
    pub fn for_each_live(&self, mut see: impl FnMut(&Arc<Live>)) {
        for entry in &self.streams {
            see(&entry);
        }
    }

    /// Ends the pair of that number, or the stream that waits alone, as an administrator. False if there is none.
    pub fn end_pair(&self, pair: u64) -> bool {
        let mut found = false;
        self.for_each_live(|live| {
            if live.pair() == pair {
                live.control.end(Cause::Administrator);
                found = true;
            }
        });
        found
    }

    /// Ends what is left at the successor, and waits for it.
    pub async fn close(&self) {
        self.stop.cancel();
        self.forwards.close();
        self.forwards.wait().await;
    }

    /// Streams now served.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Shows whether connections can be accepted.
    pub(crate) fn set_accepting(&self, accepting: bool) {
        let change = |shown: &mut bool| std::mem::replace(shown, accepting) != accepting;
        self.accepting.send_if_modified(change);
    }
}

fn process() -> HeaderValue {
    let id = uuid::Uuid::new_v4().to_string();
    // Digits, letters and hyphens are allowed.
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static(""))
}

/// One stream's entry; removed on drop.
#[derive(Debug)]
pub(crate) struct Registered {
    router: Arc<Router>,
    pub(crate) live: Arc<Live>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.live.close();
        self.router.streams.remove(&self.live.id);
    }
}
