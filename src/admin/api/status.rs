//! What runs, since when, and what it does.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Admin;
use crate::cluster::halves::Halves;

/// The body of `GET /api/status`. Bytes are those of messages with their prefixes, both directions together.
#[derive(Debug, Deserialize, Serialize)]
pub struct Status {
    /// The package's version.
    pub version: Cow<'static, str>,
    /// The commit it was built from.
    pub commit: Cow<'static, str>,
    /// The TLS provider in use.
    pub tls_provider: String,
    /// How it finds other routers; `None` if it is alone.
    pub cluster: Option<Cluster>,
    /// `starting`, `ready`, `lame_duck` or `draining`.
    pub phase: Cow<'static, str>,
    /// Since the start, seconds.
    pub uptime_seconds: f64,
    /// The name of the memory's [level](crate::transport::memory::level::Level).
    pub memory_pressure: Cow<'static, str>,
    /// Bytes that wait for peers to take them.
    pub held_bytes: i64,
    /// Bytes by which windows have grown.
    pub windows_granted_bytes: i64,
    /// Connections open now.
    pub connections: i64,
    /// Streams without a partner now.
    pub waiting: i64,
    /// Pairs now, those with one half at another router too.
    pub pairs: i64,
    /// Streams whose peer has left bytes waiting for a while.
    pub stalled: i64,
    /// Bytes a second passed on, over the last second.
    pub forwarded_rate: u64,
    /// Since the start.
    pub totals: Totals,
}

/// What other routers know of this one, and whether they hear of it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Cluster {
    /// Its name, made anew at each start; the other routers' logs have it.
    pub router: String,
    /// host:port where they reach it; `None` as long as that is not known.
    pub address: Option<String>,
    /// Whether the message bus is connected.
    pub bus_connected: bool,
    /// For how long that has been so, seconds.
    pub bus_seconds: f64,
}

impl Cluster {
    fn of(halves: &Halves) -> Self {
        let own = halves.own();
        Self {
            router: own.id.to_string(),
            address: own.advertised.get().cloned(),
            bus_connected: halves.is_connected(),
            bus_seconds: halves.since().as_secs_f64(),
        }
    }
}

/// What was counted since the start.
#[derive(Debug, Deserialize, Serialize)]
pub struct Totals {
    /// Streams admitted.
    pub streams: u64,
    /// Pairs made.
    pub pairs: u64,
    /// Streams refused.
    pub refusals: u64,
    /// Bytes passed on.
    pub forwarded_bytes: u64,
    /// Messages passed on.
    pub forwarded_messages: u64,
}

impl Status {
    /// Looks at everything now.
    pub fn of(admin: &Admin) -> Self {
        let (router, metrics) = (&admin.shared, &admin.shared.metrics);
        Self {
            version: crate::VERSION.into(),
            commit: crate::COMMIT.into(),
            tls_provider: admin.provider.to_string(),
            cluster: router
                .cluster
                .get()
                .map(|cluster| Cluster::of(&cluster.halves)),
            phase: router.life.phase().as_str().into(),
            uptime_seconds: admin.started.elapsed().as_secs_f64(),
            memory_pressure: router.memory.level().as_str().into(),
            held_bytes: metrics.held_bytes.get(),
            windows_granted_bytes: metrics.windows_granted_bytes.get(),
            connections: metrics.connections_open.get(),
            waiting: metrics.streams_waiting.get(),
            pairs: metrics.pairs_here(),
            stalled: metrics.streams_stalled.get(),
            forwarded_rate: router.streams.forwarded.per_second(),
            totals: Totals {
                streams: metrics.streams.get(),
                pairs: metrics.pairs.get(),
                refusals: metrics.stream_refusals.sum(),
                forwarded_bytes: metrics.forwarded_bytes.get(),
                forwarded_messages: metrics.forwarded_messages.get(),
            },
        }
    }
}
