//! The record that every ended stream leaves in the log.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tracing::{field, info};

use super::names::Names;

/// Names the target of the records' lines.
pub(super) const TARGET: &str = module_path!();

/// Says what one stream did, from its admission to its end. A pair leaves two, one per side.
#[derive(Clone, Debug)]
pub(crate) struct StreamRecord {
    /// The number of the pair in this process: that of the stream that came first. Both records of a pair have it.
    pub id: u64,
    /// The subject of the stream's token, by which it was paired.
    pub stream: Arc<str>,
    /// Who takes part, if that was told.
    pub names: Option<Arc<Names>>,
    /// The address of the peer, without the port.
    pub peer: IpAddr,
    /// The subject of the peer's certificate. `None` if it has shown none.
    pub certificate: Option<Arc<str>>,
    /// The address of the peer on the other side. `None` if the stream was never paired.
    pub other_peer: Option<IpAddr>,
    /// The name and the address of the router at which the pair's other half is. `None` if that is this one.
    pub other_router: Option<(String, String)>,
    /// Bytes of messages received from the peer, gRPC's 5-byte prefixes included.
    pub bytes_in: u64,
    /// Bytes of messages sent to the peer, gRPC's 5-byte prefixes included.
    pub bytes_out: u64,
    /// Messages received from the peer.
    pub messages_in: u64,
    /// Messages sent to the peer.
    pub messages_out: u64,
    /// How long the stream waited for its other side. Logged in whole milliseconds.
    pub waited: Duration,
    /// How long the stream existed, waiting included. Logged in whole milliseconds.
    pub duration: Duration,
    /// Who ended it: `this side`, `other side`, `both sides` or `router`.
    pub ended_by: &'static str,
    /// Why it ended, one of a fixed list. The same value is counted in the metrics.
    pub reason: &'static str,
    /// The name of the gRPC status code that the peer was sent, such as `UNAVAILABLE`.
    pub status: &'static str,
    /// More about the end, for people. May hold text that a peer sent.
    pub detail: Option<String>,
}

impl StreamRecord {
    /// Writes one line at level info, and sends a span if there is a collector.
    pub(crate) fn log(&self) {
        #[cfg(feature = "otel")]
        self.send_span();
        let name = |which: fn(&Names) -> &Option<Box<str>>| {
            self.names
                .as_ref()
                .and_then(|names| which(names).as_deref())
        };
        info!(
            id = self.id,
            stream = &*self.stream,
            client = name(|names| &names.client),
            exporter = name(|names| &names.exporter),
            lease = name(|names| &names.lease),
            // A dual-stack listener shows IPv4 peers as IPv6; operators search for the former.
            peer = %self.peer.to_canonical(),
            certificate = self.certificate.as_deref(),
            other_peer = self.other_peer.map(|peer| field::display(peer.to_canonical())),
            other_router = self.other_router.as_ref().map(|(name, _)| name),
            other_router_address = self.other_router.as_ref().map(|(_, address)| address),
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            messages_in = self.messages_in,
            messages_out = self.messages_out,
            waited_ms = millis(self.waited),
            duration_ms = millis(self.duration),
            ended_by = self.ended_by,
            reason = self.reason,
            status = self.status,
            detail = self.detail,
            "stream ended"
        );
    }

    #[cfg(feature = "otel")]
    fn send_span(&self) {
        use opentelemetry::KeyValue;
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let attributes = || {
            let mut attributes = vec![
                KeyValue::new("router.id", count(self.id)),
                KeyValue::new("router.stream", self.stream.to_string()),
                KeyValue::new("router.peer", self.peer.to_canonical().to_string()),
                KeyValue::new("router.bytes_in", count(self.bytes_in)),
                KeyValue::new("router.bytes_out", count(self.bytes_out)),
                KeyValue::new("router.messages_in", count(self.messages_in)),
                KeyValue::new("router.messages_out", count(self.messages_out)),
                KeyValue::new("router.waited_ms", count(millis(self.waited))),
                KeyValue::new("router.ended_by", self.ended_by),
                KeyValue::new("router.reason", self.reason),
                KeyValue::new("router.status", self.status),
            ];
            let other = self.other_peer.map(|peer| peer.to_canonical().to_string());
            attributes.extend(other.map(|peer| KeyValue::new("router.other_peer", peer)));
            if let Some((name, address)) = self.other_router.clone() {
                attributes.push(KeyValue::new("router.other_router", name));
                attributes.push(KeyValue::new("router.other_router_address", address));
            }
            attributes
        };
        let failure = (self.status != "OK").then(|| self.detail.clone().unwrap_or_default());
        let name = "jumpstarter.v1.RouterService/Stream";
        super::traces::span(name, self.duration, failure, attributes);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
