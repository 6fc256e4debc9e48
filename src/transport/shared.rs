//! Holds what all connections and streams share.

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use sync_wrapper::SyncWrapper;
use tokio::sync::oneshot;
use tonic::service::Routes;

use crate::transport::{
    forwarding::Forwarding,
    limits::{
        addresses::Addresses,
        calls::Calls,
        count::{Count, Counted},
        spares::Spares,
    },
    memory::{budget::Budget, level::Memory},
    phase::{Life, Phase},
    settings::Settings,
    streams::{StreamEntry, Streams},
};
use crate::{
    auth::Rules,
    grpc::headers::Encodings,
    observe::metrics::Metrics,
    pairing::table::Table,
    splice::{
        ending::Cause,
        lane::{LaneReceiver, LaneSender},
    },
};

/// Pairs a side's ends of both lanes.
pub(crate) type Lanes = (LaneSender, LaneReceiver);

/// Holds what a waiting stream leaves for its partner: the other ends of both lanes, and how to reach it.
#[derive(Debug)]
pub struct Offer {
    /// The table is shared between threads, though an offer is only ever moved.
    pub(crate) lanes: SyncWrapper<Lanes>,
    pub(crate) seat: Counted,
    pub(crate) joined: oneshot::Sender<Partner>,
    pub(crate) entry: Arc<StreamEntry>,
    pub(crate) encodings: Encodings,
}

/// Tells a waiting stream what it needs to know of the partner that came.
#[derive(Debug)]
pub(crate) struct Partner {
    pub(crate) peer: IpAddr,
    pub(crate) encodings: Encodings,
}

/// Holds the state that all connections share.
#[derive(Debug)]
pub struct Shared {
    /// Who may come in.
    pub rules: ArcSwap<Rules>,
    /// Who waits for whom.
    pub table: Arc<Table<Offer>>,
    /// Limits and deadlines; new connections and streams take the newest. Connections keep what they were opened with.
    pub settings: ArcSwap<Settings>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where the process is in its life.
    pub life: Life,
    /// Where streams that wait in vain for a partner go when the router stops.
    pub forwarding: Forwarding,
    /// Streams now served.
    pub streams: Arc<Streams>,
    /// What memory is in use.
    pub memory: Arc<Memory>,
    /// How many there may be.
    pub limits: Limits,
    /// Services other than the router's own.
    pub(crate) routes: Routes,
}

/// Counts what there may be only so much of.
#[derive(Debug)]
pub struct Limits {
    /// Where connections come from.
    pub addresses: Arc<Addresses>,
    /// Connections without a stream.
    pub spares: Arc<Spares>,
    /// What windows may grow by, all together.
    pub windows: Arc<Budget>,
    /// Streams. One that has to wait takes two seats, its own and its partner's: so a partner always finds room, and
    /// waiting streams cannot fill the router in such a way that nobody is left to pair.
    pub(crate) seats: Count,
    /// Calls that ask for no token.
    pub(crate) calls: Arc<Calls>,
}

impl Shared {
    /// Makes what a router begins with. `routes` serves every path but `RouterService/Stream`.
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
            life: Life::default(),
            forwarding: Forwarding::default(),
            streams: Arc::default(),
            memory: Arc::default(),
            limits: Limits {
                addresses: Arc::default(),
                spares: Arc::default(),
                windows,
                seats: Count::default(),
                calls: Arc::default(),
            },
            routes: routes.prepare(),
        })
    }

    /// Says that the router is about to stop, but serves on: streams that wait are forwarded now if that is configured, and
    /// none are taken that other routers forward.
    pub fn leave(&self) {
        let successor = self.forwarding.successor.load();
        let forwarding = successor.early && successor.to.is_some();
        self.life.advance(Phase::Leaving { forwarding });
    }

    /// Begins the drain: no connection is accepted, the others are told. Pairs go on. Streams that wait, and those that
    /// still come, find their partner at the successor; without one they are told, and nobody new is let in.
    pub fn drain(&self) {
        let forwarding = self.forwarding.successor.load().to.is_some();
        self.life.advance(Phase::Draining { forwarding });
        if forwarding {
            return;
        }
        self.streams.for_each(|entry| {
            if !entry.control.is_paired() {
                entry.control.end(Cause::Draining);
            }
        });
    }

    /// Ends every stream that is left, with the drain as the cause.
    pub fn end_all(&self) {
        let end = |entry: &Arc<StreamEntry>| entry.control.end(Cause::Draining);
        self.streams.for_each(end);
    }

    /// Ends what is left at the successor, and waits for it.
    pub async fn close(&self) {
        self.life.advance(Phase::Stopped);
        self.forwarding.tasks.close();
        self.forwarding.tasks.wait().await;
    }
}
