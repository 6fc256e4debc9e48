//! The process's metrics, as text in one of two formats.
//!
//! Every series exists from the start with the value 0, so that rates and alerts work before the
//! first event. Handles are made once: changing a metric is one atomic operation and looks up
//! nothing, except that reasons and keys given by name are found in a short list. No label takes a
//! value that a peer can choose.

mod format;
mod handles;
mod labels;
mod process;
mod reloads;
#[cfg(test)]
mod tests;
mod token_keys;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use self::process::Process;
pub use self::{
    format::Format,
    handles::{ByLabel, ByName, Held, Label},
    labels::{
        AdminAction, AdminRefusal, CallRefusal, ConnectionAccept, ConnectionEnd, PacedBy, Reload,
        RouterProof, SuccessorStream, TlsHandshake,
    },
    reloads::Reloads,
    token_keys::TokenKeys,
};
use super::log;

const PREFIX: &str = "jumpstarter_router";

type BuildLabels = [(&'static str, String); 3];

/// All metrics. Made once and shared in an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    build_info: Family<BuildLabels, Gauge>,

    /// Connections now open, from accept to close. See [`Held`].
    pub connections_open: Gauge,
    /// Of these, with a stream.
    pub connections_with_streams: Gauge,
    /// Of these, past their handshakes and without a stream.
    pub connections_without_streams: Gauge,
    /// Times that no connection could be accepted, for want of descriptors or memory.
    pub accept_failures: Counter,
    /// Connections that arrived, by what was done with them.
    pub connections: ByLabel<ConnectionAccept>,
    /// TLS handshakes, by how they ended.
    pub tls_handshakes: ByLabel<TlsHandshake>,
    /// Accepted connections that ended, by why.
    pub connections_closed: ByLabel<ConnectionEnd>,
    /// Streams now waiting for their other side.
    pub streams_waiting: Gauge,
    /// Pairs of streams now forwarding.
    pub streams_paired: Gauge,
    /// Streams that were admitted.
    pub streams: Counter,
    /// Streams whose peer has left bytes waiting for a while.
    pub streams_stalled: Gauge,
    /// Bytes that wait for peers to take them.
    pub held_bytes: Gauge,
    /// Bytes by which windows have grown.
    pub windows_granted_bytes: Gauge,
    /// How high memory is: 0 normal, 1 no growth, 2 no new streams, 3 stalled pairs are ended, 4 full.
    pub memory_pressure: Gauge,
    /// Memory in use, bytes.
    pub memory_used: Gauge,
    /// Memory that may be used, bytes; 0 is no limit.
    pub memory_limit: Gauge,
    /// Pairs that were made.
    pub pairs: Counter,
    /// Bytes of messages passed on, gRPC's 5-byte prefixes included, both directions together.
    pub forwarded_bytes: Counter,
    /// Messages passed on, both directions together.
    pub forwarded_messages: Counter,
    /// Admitted streams that ended, by reason.
    pub stream_ends: ByName,
    /// Streams that were refused, by cause.
    pub stream_refusals: ByName,
    /// Calls of other services that were refused, by cause.
    pub call_refusals: ByLabel<CallRefusal>,
    /// Accepted tokens, by key.
    pub token_keys: TokenKeys,
    /// Times that credit was held back to keep a byte rate.
    pub credit_held_back: ByLabel<PacedBy>,
    /// Streams that were to find their partner at the successor, by what became of them.
    pub successor_streams: ByLabel<SuccessorStream>,
    /// Streams that have found it there.
    pub successor_streams_open: Gauge,
    /// Whether the other ends of forwarded streams are routers.
    pub router_proofs: ByLabel<RouterProof>,
    /// Panics that were caught.
    pub panics: Counter,
    /// Changes of the configuration.
    pub reloads: Reloads,
    /// What administrators did.
    pub admin_actions: ByLabel<AdminAction>,
    /// Requests to the administrator's address that were refused, by cause.
    pub admin_refusals: ByLabel<AdminRefusal>,

    pairing_wait: Histogram,
    stream_duration: Histogram,
    stream_bytes: Histogram,
    lame_duck: Gauge,
    draining: Gauge,
    drain_deadline: Gauge,
    certificate_expiry: Gauge,
}

impl Metrics {
    /// Makes all series. `end_reasons` and `refusal_causes` are the values that `reason` and
    /// `cause` can take; `other` is added to both.
    #[allow(clippy::too_many_lines, reason = "one metric after another")]
    pub fn new(end_reasons: &[&'static str], refusal_causes: &[&'static str]) -> Self {
        let mut root = Registry::default();
        root.register_collector(Box::new(Process::new()));
        let r = root.sub_registry_with_prefix(PREFIX);

        let build_info = Family::default();
        r.register("build_info", "What is running", build_info.clone());

        let connections_open = gauge(r, "connections_open", "Connections now open");
        let help = "Connections that carry a stream";
        let connections_with_streams = gauge(r, "connections_with_streams", help);
        let help = "Connections past their handshakes without a stream";
        let connections_without_streams = gauge(r, "connections_without_streams", help);
        let help = "Times that no connection could be accepted";
        let accept_failures = counter(r, "accept_failures", help);
        let connections =
            ByLabel::register(r, "connections", "Connections that arrived, by result");
        let tls_handshakes =
            ByLabel::register(r, "tls_handshakes", "TLS handshakes that ended, by result");
        let connections_closed = ByLabel::register(
            r,
            "connections_closed",
            "Accepted connections that ended, by reason",
        );

        let streams_waiting = gauge(
            r,
            "streams_waiting",
            "Streams now waiting for their other side",
        );
        let streams_paired = gauge(r, "streams_paired", "Pairs of streams now forwarding");
        let streams_stalled = gauge(
            r,
            "streams_stalled",
            "Streams whose peer has left bytes waiting for a while",
        );
        let held_bytes = gauge(r, "held_bytes", "Bytes that wait for peers to take them");
        let windows_granted_bytes = gauge(
            r,
            "windows_granted_bytes",
            "Bytes by which windows have grown",
        );
        let memory_pressure = gauge(
            r,
            "memory_pressure",
            "0 normal, 1 no window grows, 2 stalled streams are ended, 3 new ones are refused, 4 full",
        );
        let memory_used = gauge(r, "memory_used_bytes", "Memory in use");
        let help = "Memory that may be used; 0 is no limit";
        let memory_limit = gauge(r, "memory_limit_bytes", help);
        let streams = counter(r, "streams", "Streams admitted");
        let pairs = counter(r, "pairs", "Pairs of streams made");

        let forwarded_bytes = Counter::default();
        let help = "Bytes of messages passed on, with their prefixes, both directions";
        r.register_with_unit("forwarded", help, Unit::Bytes, forwarded_bytes.clone());
        let help = "Messages passed on, both directions";
        let forwarded_messages = counter(r, "forwarded_messages", help);

        let pairing_wait = Histogram::new(WAIT_BUCKETS);
        let help = "How long the first side of a pair waited for the second";
        r.register_with_unit("pairing_wait", help, Unit::Seconds, pairing_wait.clone());
        let stream_duration = Histogram::new(DURATION_BUCKETS);
        let help = "How long streams lasted, from admission to end";
        r.register_with_unit(
            "stream_duration",
            help,
            Unit::Seconds,
            stream_duration.clone(),
        );
        let stream_bytes = Histogram::new(byte_buckets());
        let help = "Bytes of messages per stream, both directions";
        r.register_with_unit("stream", help, Unit::Bytes, stream_bytes.clone());

        let help = "Admitted streams that ended, by reason";
        let stream_ends = ByName::register(r, "stream_ends", help, "reason", end_reasons);
        let help = "Streams refused, by cause";
        let stream_refusals = ByName::register(r, "stream_refusals", help, "cause", refusal_causes);
        let help = "Calls of health, reflection and other services refused, by cause";
        let call_refusals = ByLabel::register(r, "call_refusals", help);
        let token_keys = TokenKeys::register(r);
        let help = "Times that credit was held back to keep a byte rate, by limit";
        let credit_held_back = ByLabel::register(r, "credit_held_back", help);
        let help = "Waiting streams that were to be forwarded to the successor, by result";
        let successor_streams = ByLabel::register(r, "successor_streams", help);
        let help = "Pairs whose other side is at the successor now";
        let successor_streams_open = gauge(r, "successor_streams_open", help);
        let help = "Proofs of being a router, at the other ends of forwarded streams, by result";
        let router_proofs = ByLabel::register(r, "router_proofs", help);
        let panics = counter(r, "panics", "Panics caught");
        let missing = &*log::MISSING;
        let help = "Log lines lost because nobody read standard error";
        r.register("log_lines_lost", help, missing.lost.clone());
        let help = "Log lines left out because there were too many similar ones";
        r.register("log_lines_left_out", help, missing.left_out.clone());

        let reloads = Reloads::register(r);
        let help = "When the certificate expires, from the epoch; 0 without TLS";
        let certificate_expiry = seconds(r, "certificate_expiry_timestamp", help);
        let (admin_actions, admin_refusals) = admin(r);
        let help = "Whether the router serves on for a while before it drains: 0 or 1";
        let lame_duck = gauge(r, "lame_duck", help);
        let help = "Whether no connection is accepted any more, to drain: 0 or 1";
        let draining = gauge(r, "draining", help);
        let help = "When pairs that are left will be ended, from the epoch; 0 before the end";
        let drain_deadline = seconds(r, "drain_deadline_timestamp", help);

        Self {
            registry: root,
            build_info,
            connections_open,
            connections_with_streams,
            connections_without_streams,
            accept_failures,
            connections,
            tls_handshakes,
            connections_closed,
            streams_waiting,
            streams_paired,
            streams_stalled,
            held_bytes,
            windows_granted_bytes,
            memory_pressure,
            memory_used,
            memory_limit,
            streams,
            pairs,
            forwarded_bytes,
            forwarded_messages,
            stream_ends,
            stream_refusals,
            call_refusals,
            token_keys,
            credit_held_back,
            successor_streams,
            successor_streams_open,
            router_proofs,
            panics,
            reloads,
            admin_actions,
            admin_refusals,
            pairing_wait,
            stream_duration,
            stream_bytes,
            lame_duck,
            draining,
            drain_deadline,
            certificate_expiry,
        }
    }

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
        self.drain_deadline.set(since_epoch(deadline));
    }

    /// Shows that the router drains, and when pairs that are left will be ended.
    pub fn set_draining(&self, deadline: SystemTime) {
        self.lame_duck.set(0);
        self.draining.set(1);
        self.drain_deadline.set(since_epoch(deadline));
    }

    /// Shows when the certificate expires.
    pub fn set_certificate_expiry(&self, at: SystemTime) {
        self.certificate_expiry.set(since_epoch(at));
    }

    /// All metrics in this format.
    ///
    /// Reads `/proc`, so it may block for a moment.
    pub fn encode_as(&self, format: Format) -> String {
        match format {
            Format::OpenMetrics => self.encode(),
            Format::Prometheus => format::to_prometheus(&self.encode()),
        }
    }

    /// All metrics as [`Format::OpenMetrics`].
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        if text::encode(&mut out, &self.registry).is_err() {
            // Without the end mark the reader rejects the whole text, as it should.
            tracing::error!("metrics could not be encoded");
        }
        out
    }
}

/// In seconds. Two peers that are told at the same time meet within a round trip.
const WAIT_BUCKETS: [f64; 15] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// In seconds, up to three days. Streams range from one request to a console left open.
const DURATION_BUCKETS: [f64; 15] = [
    0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 10_800.0, 21_600.0, 43_200.0,
    86_400.0, 259_200.0,
];

/// 1 KiB to 64 GiB by factors of four, then 100 GiB.
fn byte_buckets() -> impl Iterator<Item = f64> {
    const KIB: f64 = 1024.0;
    (0..14)
        .map(|power| KIB * 4_f64.powi(power))
        .chain([100.0 * KIB * KIB * KIB])
}

/// Whole seconds.
fn since_epoch(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().cast_signed()
}

fn seconds(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
    gauge
}

fn admin(r: &mut Registry) -> (ByLabel<AdminAction>, ByLabel<AdminRefusal>) {
    let help = "What administrators did, by action";
    let actions = ByLabel::register(r, "admin_actions", help);
    let help = "Requests to the administrator's address refused, by cause";
    (actions, ByLabel::register(r, "admin_refusals", help))
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}
