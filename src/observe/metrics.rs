//! The process's metrics, as text in one of two formats.
//!
//! Every series exists from the start with the value 0, so that rates and alerts work before the
//! first event. Handles are made once: changing a metric is one atomic operation and looks up
//! nothing, except that values of labels are found in a short list. No label takes a value that a
//! peer can choose.

mod format;
mod handles;
mod labels;
mod process;
#[cfg(test)]
mod tests;
mod token_keys;

use std::time::{Duration, SystemTime};

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry, Unit},
};

use self::process::Process;
pub(crate) use self::{
    format::Format,
    handles::{ByLabel, ByName, Held},
    labels::{ClusterAnnouncement, ClusterCall, Reload, SuccessorStream},
    token_keys::TokenKeys,
};
pub use self::{
    handles::Label,
    labels::{
        AdminAction, AdminRefusal, CallRefusal, ConnectionAccept, ConnectionEnd, PacedBy,
        RouterProof, TlsHandshake,
    },
};
use super::log;
use crate::common::since_epoch;

const PREFIX: &str = "jumpstarter_router";

type BuildLabels = [(&'static str, String); 3];

/// Registers the metric of one row.
macro_rules! row {
    ($registry:ident, $type:ty) => {
        <$type>::register($registry)
    };
    ($registry:ident, $type:ty, $name:literal $(in $unit:ident)?, $help:literal) => {
        row!($registry, $type, $name $(in $unit)?, $help, <$type>::default())
    };
    ($registry:ident, $type:ty, $name:literal, $help:literal, $metric:expr) => {
        registered($registry, $name, None, $help, $metric)
    };
    ($registry:ident, $type:ty, $name:literal in $unit:ident, $help:literal, $metric:expr) => {
        registered($registry, $name, Some(Unit::$unit), $help, $metric)
    };
}

/// Makes the struct from its rows: a field with its type, the name and the help of its series, and the metric itself if
/// that is not the type's default. What has only a type is a group that registers itself.
macro_rules! metrics {
    (
        $(#[$about:meta])*
        struct $group:ident($($given:ident: $values:ty),*) {
            $(
                $(#[$note:meta])*
                $vis:vis $field:ident: $type:ty
                $(= $name:literal $(in $unit:ident)?, $help:literal $(, $metric:expr)?)?;
            )+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug)]
        pub struct $group {
            registry: Registry,
            $($(#[$note])* $(#[doc = $help])? $vis $field: $type,)+
        }

        impl $group {
            /// Makes all series. Each list has the values of one label, to which `other` is added.
            pub fn new($($given: $values),*) -> Self {
                let mut registry = Registry::default();
                registry.register_collector(Box::new(Process::new()));
                let r = registry.sub_registry_with_prefix(PREFIX);
                $(let $field = row!(r, $type $(, $name $(in $unit)?, $help $(, $metric)?)?);)+
                Self { registry, $($field),+ }
            }
        }
    };
}

metrics! {
    /// Has all metrics. It is made once and shared in an `Arc`.
    struct Metrics(end_reasons: &[&'static str], refusal_causes: &[&'static str]) {
        build_info: Family<BuildLabels, Gauge> = "build_info", "What is running";

        pub connections_open: Gauge = "connections_open", "Connections now open";
        pub connections_with_streams: Gauge = "connections_with_streams", "Connections that carry a stream";
        pub connections_without_streams: Gauge =
            "connections_without_streams", "Connections past their handshakes without a stream";
        pub accept_failures: Counter = "accept_failures", "Times that no connection could be accepted";
        pub connections: ByLabel<ConnectionAccept> = "connections", "Connections that arrived, by result";
        pub tls_handshakes: ByLabel<TlsHandshake> = "tls_handshakes", "TLS handshakes that ended, by result";
        pub connections_closed: ByLabel<ConnectionEnd> =
            "connections_closed", "Accepted connections that ended, by reason";

        pub streams_waiting: Gauge = "streams_waiting", "Streams now waiting for their other side";
        pub streams_paired: Gauge = "streams_paired", "Pairs of streams now forwarding";
        pub streams_stalled: Gauge =
            "streams_stalled", "Streams whose peer has left bytes waiting for a while";
        pub held_bytes: Gauge = "held_bytes", "Bytes that wait for peers to take them";
        pub windows_granted_bytes: Gauge = "windows_granted_bytes", "Bytes by which windows have grown";
        pub memory_pressure: Gauge = "memory_pressure",
            "0 normal, 1 no window grows, 2 stalled streams are ended, 3 new ones are refused, 4 full";
        pub memory_used: Gauge = "memory_used_bytes", "Memory in use";
        pub memory_limit: Gauge = "memory_limit_bytes", "Memory that may be used; 0 is no limit";
        pub streams: Counter = "streams", "Streams admitted";
        pub pairs: Counter = "pairs", "Pairs of streams made";
        pub forwarded_bytes: Counter =
            "forwarded" in Bytes, "Bytes of messages passed on, with their prefixes, both directions";
        pub forwarded_messages: Counter = "forwarded_messages", "Messages passed on, both directions";
        pairing_wait: Histogram = "pairing_wait" in Seconds,
            "How long the first side of a pair waited for the second", Histogram::new(WAIT_BUCKETS);
        stream_duration: Histogram = "stream_duration" in Seconds,
            "How long streams lasted, from admission to end", Histogram::new(DURATION_BUCKETS);
        stream_bytes: Histogram = "stream" in Bytes,
            "Bytes of messages per stream, both directions", Histogram::new(byte_buckets());
        pub stream_ends: ByName = "stream_ends",
            "Admitted streams that ended, by reason", ByName::new("reason", end_reasons);
        pub stream_refusals: ByName = "stream_refusals",
            "Streams refused, by cause", ByName::new("cause", refusal_causes);
        pub call_refusals: ByLabel<CallRefusal> =
            "call_refusals", "Calls of health, reflection and other services refused, by cause";
        /// Counts accepted tokens, by the key that signed them.
        pub token_keys: TokenKeys;
        pub credit_held_back: ByLabel<PacedBy> =
            "credit_held_back", "Times that credit was held back to keep a byte rate, by limit";

        pub successor_streams: ByLabel<SuccessorStream> =
            "successor_streams", "Waiting streams that were to be forwarded to the successor, by result";
        pub successor_streams_open: Gauge =
            "successor_streams_open", "Pairs whose other side is at the successor now";
        pub router_proofs: ByLabel<RouterProof> = "router_proofs",
            "Proofs of being a router, at the other ends of forwarded streams, by result";

        pub cluster_configured: Gauge =
            "cluster_configured", "Whether the router is to find others over their message bus: 0 or 1";
        pub cluster_bus_connected: Gauge =
            "cluster_bus_connected", "Whether the routers' message bus is connected: 0 or 1";
        pub cluster_bus_connects: Counter =
            "cluster_bus_connects", "Times that the routers' message bus was connected";
        pub cluster_announcements: ByLabel<ClusterAnnouncement> =
            "cluster_announcements", "Announcements of waiting halves, by what became of them";
        pub cluster_calls: ByLabel<ClusterCall> =
            "cluster_calls", "Calls to other routers for a half that waits there, by result";
        pub cluster_pairs_called: Gauge =
            "cluster_pairs_called", "Pairs whose other side is at a router that this one called";
        pub cluster_pairs_taken: Gauge =
            "cluster_pairs_taken", "Pairs whose other side is at a router that called this one";
        cluster_meeting: Histogram = "cluster_meeting" in Seconds,
            "How long a call to another router took until its half and the one here were a pair", Histogram::new(MEETING_BUCKETS);

        pub panics: Counter = "panics", "Panics caught";
        _log_lines_lost: Counter = "log_lines_lost",
            "Log lines lost because nobody read standard error", log::MISSING.lost.clone();
        _log_lines_left_out: Counter = "log_lines_left_out",
            "Log lines left out because there were too many similar ones", log::MISSING.left_out.clone();
        reloads: ByLabel<Reload> =
            "reloads", "Changed configurations that were taken in or refused, by result";
        last_reload_successful: Gauge =
            "last_reload_successful", "Whether the newest configuration is the one in force: 0 or 1";
        last_reload_success: Gauge = "last_reload_success_timestamp" in Seconds,
            "When a configuration was last taken in, from the epoch";
        pub restart_needed: Gauge =
            "restart_needed", "Keys of the configuration whose change waits for a restart";
        certificate_expiry: Gauge = "certificate_expiry_timestamp" in Seconds,
            "When the certificate expires, from the epoch; 0 without TLS";
        pub admin_actions: ByLabel<AdminAction> = "admin_actions", "What administrators did, by action";
        pub admin_refusals: ByLabel<AdminRefusal> =
            "admin_refusals", "Requests to the administrator's address refused, by cause";
        lame_duck: Gauge =
            "lame_duck", "Whether the router serves on for a while before it drains: 0 or 1";
        draining: Gauge = "draining", "Whether no connection is accepted any more, to drain: 0 or 1";
        drain_deadline: Gauge = "drain_deadline_timestamp" in Seconds,
            "When pairs that are left will be ended, from the epoch; 0 before the end";
    }
}

fn registered<M: Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    unit: Option<Unit>,
    help: &str,
    metric: M,
) -> M {
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, metric.clone()),
        None => registry.register(name, help, metric.clone()),
    }
    metric
}

impl Metrics {
    /// Says what is running. A later call replaces an earlier one.
    pub fn set_build_info(&self, version: &str, commit: &str, tls_provider: &str) {
        self.build_info.clear();
        let labels = [
            ("version", version.to_owned()),
            ("commit", commit.to_owned()),
            ("tls_provider", tls_provider.to_owned()),
        ];
        self.build_info.get_or_create(&labels).set(1);
    }

    /// Counts the wait of the side of a new pair that came first.
    pub fn observe_pairing_wait(&self, wait: Duration) {
        self.pairing_wait.observe(wait.as_secs_f64());
    }

    /// Counts how long a call to another router took until its half and the one here were a pair.
    pub fn observe_cluster_meeting(&self, wait: Duration) {
        self.cluster_meeting.observe(wait.as_secs_f64());
    }

    /// Counts the length of a stream that ended, and its bytes in both directions.
    #[allow(
        clippy::cast_precision_loss,
        reason = "a histogram's sum is a float; the loss is below one part in 2^52"
    )]
    pub fn observe_stream(&self, duration: Duration, bytes: u64) {
        self.stream_duration.observe(duration.as_secs_f64());
        self.stream_bytes.observe(bytes as f64);
    }

    /// Shows that the router will drain, and when pairs that are left will be ended.
    pub fn set_lame_duck(&self, deadline: SystemTime) {
        self.lame_duck.set(1);
        self.drain_deadline.set(timestamp(deadline));
    }

    /// Shows that the router drains, and when pairs that are left will be ended.
    pub fn set_draining(&self, deadline: SystemTime) {
        self.lame_duck.set(0);
        self.draining.set(1);
        self.drain_deadline.set(timestamp(deadline));
    }

    /// Shows that the configuration of the start is in force.
    pub fn started(&self, now: SystemTime) {
        self.last_reload_successful.set(1);
        self.last_reload_success.set(timestamp(now));
    }

    /// Counts a changed configuration, and shows whether the newest is in force.
    pub fn count_reload(&self, result: Reload, now: SystemTime) {
        self.reloads.inc(result);
        match result {
            Reload::Ok => self.started(now),
            Reload::Failed => drop(self.last_reload_successful.set(0)),
        }
    }

    /// Shows when the certificate expires.
    pub fn set_certificate_expiry(&self, at: SystemTime) {
        self.certificate_expiry.set(timestamp(at));
    }

    /// Writes all metrics in this format.
    ///
    /// Reads `/proc`, so it may block for a moment.
    pub fn encode_as(&self, format: Format) -> String {
        match format {
            Format::OpenMetrics => self.encode(),
            Format::Prometheus => format::to_prometheus(&self.encode()),
        }
    }

    /// Counts the pairs that have a half here, whichever router counts them in sums.
    pub(crate) fn pairs_here(&self) -> i64 {
        self.streams_paired.get() + self.cluster_pairs_taken.get()
    }

    /// Writes all metrics as [`Format::OpenMetrics`].
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        if text::encode(&mut out, &self.registry).is_err() {
            // Without the end mark the reader rejects the whole text, as it should.
            tracing::error!("metrics could not be encoded");
        }
        out
    }
}

/// Bounds meetings of halves at two routers, in seconds: some round trips between them.
const MEETING_BUCKETS: [f64; 10] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0, 5.0];

/// Bounds waits, in seconds. Two peers that are told at the same time meet within a round trip.
const WAIT_BUCKETS: [f64; 15] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// Bounds durations, in seconds, up to three days. Streams range from one request to a console left open.
const DURATION_BUCKETS: [f64; 15] = [
    0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 10_800.0, 21_600.0, 43_200.0,
    86_400.0, 259_200.0,
];

/// Bounds sizes: 1 KiB to 64 GiB by factors of four, then 100 GiB.
fn byte_buckets() -> impl Iterator<Item = f64> {
    const KIB: f64 = 1024.0;
    (0..14)
        .map(|power| KIB * 4_f64.powi(power))
        .chain([100.0 * KIB * KIB * KIB])
}

/// Gives a time in whole seconds, as metrics have it.
fn timestamp(time: SystemTime) -> i64 {
    since_epoch(time).as_secs().cast_signed()
}
