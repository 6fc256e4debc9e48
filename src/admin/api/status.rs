//! What runs, since when, and what it does.

use std::{borrow::Cow, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::{Admin, guard::Access};
use crate::{cluster::halves::Halves, common::since_epoch};

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
    /// Which process this is.
    pub process: Process,
    /// Milliseconds since the epoch.
    pub now_unix_ms: u64,
    /// What whoever asks may do: `full`, or `read` if it may change nothing.
    pub access: Cow<'static, str>,
    /// Memory in use, bytes.
    pub memory_used_bytes: u64,
    /// Memory that may be used, bytes; `None` without a limit.
    pub memory_limit_bytes: Option<u64>,
    /// The certificates that peers are shown; none without TLS.
    pub certificates: Vec<Certificate>,
    /// Since the start.
    pub totals: Totals,
}

/// Tells a process from others.
#[derive(Debug, Deserialize, Serialize)]
pub struct Process {
    /// Made anew at each start; other routers of a cluster know it by this.
    pub id: String,
    /// The number that the system gave it.
    pub pid: u32,
    /// The machine's name, which in a container is that of the container.
    pub host: String,
    /// When it started, milliseconds since the epoch.
    pub started_unix_ms: u64,
}

/// A certificate that peers are shown.
#[derive(Debug, Deserialize, Serialize)]
pub struct Certificate {
    /// Where it is; `None` if the router has made it.
    pub file: Option<String>,
    /// Its subject.
    pub subject: String,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// When it expires, seconds since the epoch.
    pub not_after_unix_s: i64,
    /// Whole days until then; below zero once it has expired.
    pub days_left: i64,
}

impl Certificate {
    /// Describes the one in use.
    fn of(admin: &Admin, now: SystemTime) -> Option<Self> {
        let own = admin.shared.forwarding.own.get()?;
        let described = own.tls.as_ref()?.described()?;
        let left = described.not_after - since_epoch(now).as_secs().cast_signed();
        Some(Self {
            file: admin.shown.load().certificate.clone(),
            subject: described.subject,
            names: described.names,
            not_after_unix_s: described.not_after,
            days_left: left.div_euclid(86_400),
        })
    }
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
    pub(crate) fn of(admin: &Admin, access: Access) -> Self {
        let (router, metrics) = (&admin.shared, &admin.shared.metrics);
        let (started, started_at) = admin.started;
        let now = SystemTime::now();
        Self {
            version: crate::VERSION.into(),
            commit: crate::COMMIT.into(),
            tls_provider: admin.provider.to_string(),
            cluster: router
                .cluster
                .get()
                .map(|cluster| Cluster::of(&cluster.halves)),
            phase: router.life.phase().as_str().into(),
            uptime_seconds: started.elapsed().as_secs_f64(),
            memory_pressure: router.memory.level().as_str().into(),
            held_bytes: metrics.held_bytes.get(),
            windows_granted_bytes: metrics.windows_granted_bytes.get(),
            connections: metrics.connections_open.get(),
            waiting: metrics.streams_waiting.get(),
            pairs: metrics.pairs_here(),
            stalled: metrics.streams_stalled.get(),
            forwarded_rate: router.streams.forwarded.per_second(),
            process: Process {
                id: admin.process(),
                pid: std::process::id(),
                host: admin.host.to_string(),
                started_unix_ms: millis(started_at),
            },
            now_unix_ms: millis(now),
            access: access.as_str().into(),
            memory_used_bytes: router.memory.used(),
            memory_limit_bytes: router.memory.limit(),
            certificates: Certificate::of(admin, now).into_iter().collect(),
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

fn millis(time: SystemTime) -> u64 {
    u64::try_from(since_epoch(time).as_millis()).unwrap_or(u64::MAX)
}
