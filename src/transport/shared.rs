//! Holds what all connections and streams share.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use sync_wrapper::SyncWrapper;
use tokio::sync::oneshot;
use tonic::service::Routes;

use crate::transport::{
    forwarding::Forwarding,
    history::History,
    limits::{
        addresses::Addresses,
        calls::Calls,
        count::{Count, Counted},
        spares::Spares,
    },
    memory::{budget::Budget, level::Memory},
    outbound::{Connected, Means, Pool},
    past::Past,
    phase::{Life, Phase},
    settings::Settings,
    streams::{StreamEntry, Streams},
};
use crate::{
    auth::Rules,
    cluster::{halves::Halves, meet::RouterId},
    grpc::headers::Encodings,
    observe::{metrics::Metrics, names::Names},
    pairing::table::Table,
    splice::{
        ending::Cause,
        lane::{LaneReceiver, LaneSender},
    },
};

/// Finds halves at other routers, and calls these.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub halves: Arc<Halves>,
    pub pool: Pool,
}

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
    /// Finds partners that wait at other routers; set at the start if there may be any.
    pub(crate) cluster: OnceLock<Cluster>,
    /// Where streams that wait in vain for a partner go when the router stops.
    pub forwarding: Forwarding,
    /// Streams now served.
    pub streams: Arc<Streams>,
    /// Streams that have ended or were refused.
    pub(crate) past: Past,
    /// What the last minutes were like.
    pub(crate) history: History,
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
    /// Where other routers call from, which have no limits of their own.
    pub(crate) routers: Arc<Addresses>,
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
            cluster: OnceLock::new(),
            forwarding: Forwarding::default(),
            streams: Arc::default(),
            past: Past::default(),
            history: History::default(),
            memory: Arc::default(),
            limits: Limits {
                addresses: Arc::default(),
                routers: Arc::default(),
                spares: Arc::default(),
                windows,
                seats: Count::default(),
                calls: Arc::default(),
            },
            routes: routes.prepare(),
        })
    }

    /// Gives what connections to other routers take from this process.
    pub(crate) fn means(&self) -> Means {
        Means {
            settings: self.settings.load_full(),
            windows: self.limits.windows.clone(),
            memory: self.memory.clone(),
        }
    }

    /// Keeps a connection to another router for the next call there.
    pub(crate) fn keep(&self, router: RouterId, connected: Connected) {
        let cluster = self.cluster.get();
        let Some(kept) = cluster.and_then(|cluster| cluster.pool.put(router, connected)) else {
            return;
        };
        let stop = self.life.until(Phase::is_stopped);
        self.forwarding.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop => {}
                () = kept => {}
            }
        });
    }

    /// Takes in who takes part in the streams with this subject: those that are served, those that have ended, and those
    /// that are still to come. `None` takes the names away.
    pub(crate) fn name(&self, subject: &str, names: Option<&Arc<Names>>) {
        self.streams.name(subject, names);
        self.past.name(subject, names);
    }

    /// Tells whether streams that wait are found by other routers: then none has to leave because this one stops.
    pub(crate) fn is_met_elsewhere(&self) -> bool {
        let cluster = self.cluster.get();
        cluster.is_some_and(|cluster| cluster.halves.is_connected())
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
        let meeting = self.is_met_elsewhere();
        self.life.advance(Phase::Draining {
            forwarding: forwarding || meeting,
        });
        if forwarding || meeting {
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
