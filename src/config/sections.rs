//! The table of all keys. Documentation, example file, environment names and defaults follow from it.
//!
//! A key marked `restart` keeps the value it had at the start; every other one takes effect while the router runs. What
//! is said here is tested in `server/live.rs`. A value outside of the range that is given with `in` is refused; no limit
//! is in all of them.

#![allow(
    clippy::doc_markdown,
    reason = "the texts are comments in the example file, too"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::files::{KeyFile, PemFile};
use super::key_directory::KeyDirectory;
use super::registry::{ENV_PREFIX, UNSET, beyond, default_value, section_struct, sections};
use super::setting::{Invalid, Item, Setting};
use super::types::{Endpoint, LogFilter, Secret};
use crate::observe::log::LogFormat;
use crate::tls::provider::Provider;
use crate::transport::forwarding::Target;
use crate::transport::settings::{Connections, LEAST_WINDOW, MOST_WINDOW, Pairing, Size, Streams};

/// A group of keys.
#[derive(Debug)]
pub struct Section {
    /// Its name in the file, without brackets.
    pub name: &'static str,
    /// What it is about, a line each.
    pub doc: &'static [&'static str],
    /// Its keys, in the order of the example.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// "section.key".
    pub path: &'static str,
    /// The part after the point.
    pub name: &'static str,
    /// What it does, a line each.
    pub doc: &'static [&'static str],
    /// Completes "expected ...".
    pub expects: &'static str,
    /// Whether its values must never be printed.
    pub secret: bool,
    /// Whether a change takes effect while the router runs; otherwise at the next start.
    pub live: bool,
    /// Whether two configurations have the same value, that of files it names included.
    pub(super) same: fn(&Config, &Config) -> bool,
    pub(super) default: &'static str,
    pub(super) set_toml: fn(&mut Config, &Item<'_>) -> Result<(), Invalid>,
    pub(super) set_text: fn(&mut Config, &str) -> Result<(), String>,
    pub(super) show: fn(&Config) -> Option<String>,
    /// Says what is wrong with a value that is out of the key's range; empty for a key without one.
    pub(super) beyond: &'static [fn(&Config) -> Option<String>],
}

impl Key {
    /// Gives the default as TOML, `None` when the key has none.
    pub fn default(&self) -> Option<&'static str> {
        Some(self.default).filter(|text| *text != UNSET)
    }

    /// Names the environment variable that sets this key.
    pub fn env(&self) -> String {
        let name = self.path.replace('.', "_").to_uppercase();
        format!("{ENV_PREFIX}{name}")
    }
}

const KIB: Size = Size::new(1 << 10);

/// The length of a gRPC message has 32 bits.
const MOST_MESSAGE: Size = Size::new(u32::MAX as usize);

/// Durations that cannot be switched off are no shorter, since 0 would end everything at once. The kernel counts in
/// milliseconds, so less would become 0 as well.
const MS: Duration = Duration::from_millis(1);

sections! {
    /// Where the router listens and how it is reached.
    listen: Listen {
        /// Where gRPC streams are accepted.
        address: SocketAddr = ":8083"; restart,
        /// The public host and port that peers are told. The self-signed certificate is made for
        /// this host.
        endpoint: Endpoint = "localhost:8083"; restart,
        /// Where health probes are answered over plain HTTP.
        health_address: Option<SocketAddr> = ":8081"; restart,
        /// Where metrics are served over plain HTTP.
        metrics_address: Option<SocketAddr> = "0"; restart,
        /// Where the administrator's page and API are served over plain HTTP. Beyond the loopback
        /// interface they need a token, see the section admin. When the default address is in use,
        /// the router starts without them.
        admin_address: Option<SocketAddr> = "127.0.0.1:8082"; restart,
        /// Connections the kernel may hold ready before they are accepted.
        backlog: u32 = 1024 in 1..=65535; restart,
        /// Let another process of the same user listen on the same addresses, so that an old and a new
        /// router can stand side by side (SO_REUSEPORT). Both need it. Sockets that were handed over
        /// by systemd need it not.
        reuse_port: bool = false; restart,
        /// Load balancers, as addresses or networks such as "10.0.0.0/8", that speak the PROXY protocol.
        /// A connection from one of them must begin with a PROXY header, version 1 or 2, and counts for
        /// the address that it names. From elsewhere no header is expected.
        proxy_protocol_from: Vec<IpNet> = [],
        /// How long the PROXY header may take.
        proxy_protocol_timeout: Duration = "5s" in MS..,
    }

    /// Encryption of the gRPC listener.
    tls: Tls {
        /// File with the certificate chain in PEM. Without certificate and key the router makes a
        /// self-signed certificate at each start.
        certificate: Option<PemFile> = unset,
        /// File with the private key of the certificate in PEM.
        key: Option<PemFile> = unset,
        /// Listen without TLS, for use behind a proxy that ends TLS.
        plaintext: bool = false; restart,
        /// The cryptography in use; "auto" takes whatever suits the machine best.
        provider: Provider = "auto"; restart,
        /// TLS sessions remembered so that a peer can reconnect with less work; 0 turns this off. None
        /// are while client_ca is set.
        session_cache: u32 = 10000 in 0..=10_000_000,
        /// File with the certificates of authorities in PEM. When set, every peer must show a
        /// certificate that one of them has signed, besides its token. Stock peers have none.
        client_ca: Option<PemFile> = unset,
        /// Let in peers that show no certificate, too. A certificate that is shown must be good.
        client_certificate_optional: bool = false,
        /// Let in peers that do not offer ALPN, such as a proxy that encrypts again, if they speak HTTP/2.
        /// They must show a certificate like all others, so with client_ca stock clients can no longer
        /// look at this router's certificate without one, as they do with tls.insecure.
        allow_missing_alpn: bool = false,
    }

    /// Which tokens are accepted. At least one key is needed.
    auth: Auth {
        /// The key tokens are signed with, the same as the controller's. At least 32 random bytes. A
        /// newline at its end makes no difference, wherever a key comes from: tokens signed with the key
        /// as it is and without that newline are accepted.
        key: Option<Secret> = unset,
        /// Further accepted keys, such as the previous one while keys are being changed.
        extra_keys: Vec<Secret> = [],
        /// Files with one accepted key each.
        key_files: Vec<KeyFile> = [],
        /// A directory with one accepted key in each file whose name consists of lower-case letters,
        /// digits, "-" and "_", and may end in ".key". Other files are named in the log and left out. A
        /// Secret mounted by Kubernetes is such a directory.
        key_directory: Option<KeyDirectory> = unset,
        /// The issuer a token must name.
        issuer: String = "https://jumpstarter.dev/stream",
        /// The audience a token must name.
        audience: String = "https://jumpstarter.dev/router",
        /// How far the clocks of controller and router may differ when "not before" and "issued at"
        /// are checked. The expiry is always exact.
        leeway: Duration = "0s",
        /// The longest token that is looked at.
        max_token_size: Size = "8KiB" in Size::new(1)..=MOST_WINDOW,
        /// Refused tokens in a second from one address, after which further streams from it are refused
        /// without a look at their tokens; 0 sets no limit.
        refused_per_second_per_address: Option<u32> = 0,
        /// Let a subject pair only once until its token expires.
        single_use: bool = false,
    }

    /// Waiting for the other side.
    pairing: Pairing from transport {
        /// How long a stream waits for its partner.
        timeout: Duration = "120s" in MS..,
        /// Streams that may wait at the same time; 0 sets no limit.
        max_waiting: Option<u32> = 10000,
    }

    /// Each stream.
    streams: Streams from transport {
        /// The largest message a peer may send.
        max_message_size: Size = "4MiB" in Size::new(1)..=MOST_MESSAGE,
        /// HTTP/2 flow control window a stream starts with: what a peer may send before it is read.
        /// From 128KiB up to one byte less than 2GiB.
        initial_window: Size = "128KiB" in LEAST_WINDOW..=MOST_WINDOW,
        /// The largest window a stream may earn on a long path, by measured bandwidth and delay.
        max_window: Size = "16MiB" in LEAST_WINDOW..=MOST_WINDOW,
        /// Bytes buffered for sending on a stream before reading from its partner pauses.
        send_buffer: Size = "64KiB" in KIB..=MOST_WINDOW,
        /// Streams open at the same time; 0 sets no limit. One that waits counts twice, so that its
        /// partner finds room.
        max: Option<u32> = 0 in 2..=u32::MAX,
        /// Streams open at the same time from one address; 0 sets no limit. IPv6 addresses are counted
        /// by their first 64 bits, here and in all other limits.
        max_per_address: Option<u32> = 0,
        /// Streams open at the same time on one connection.
        max_per_connection: u32 = 1000 in 1..=(1 << 31),
        /// New streams in a second from one address; 0 sets no limit.
        new_per_second_per_address: Option<u32> = 0,
        /// Bytes a second that a stream may send, on average; its sender is slowed down. At once it may
        /// send its window and one second's worth. 0 sets no limit.
        bytes_per_second: Size = 0,
        /// Bytes a second that all streams from one address may send together, likewise.
        bytes_per_second_per_address: Size = 0,
        /// End a pair on which nothing moved for so long.
        idle_timeout: Option<Duration> = "0s",
        /// End a pair when one side took less than an eighth of what waited for it in so long, or sent
        /// as little of a message that it had begun.
        stall_timeout: Option<Duration> = "0s",
        /// End a stream this long after it arrived, whether it waits or is paired.
        max_duration: Option<Duration> = "0s",
        /// How long a stream that is being ended may make no progress before it is reset.
        linger: Duration = "30s",
    }

    /// Memory.
    memory: Memory {
        /// The most memory the process should use. As it comes near, windows stop growing, streams that
        /// stand still are ended, and new ones are refused. Unset: what the control group allows, for
        /// all that it is charged for.
        limit: Option<Size> = unset,
        /// By how much all windows together may grow beyond those that streams start with.
        windows: Size = "128MiB",
    }

    /// Each connection.
    connections: Connections from transport {
        /// Connections open at the same time. Beyond that, one without a stream makes room for a new one.
        max: u32 = 20000 in 1..=10_000_000,
        /// Connections open at the same time from one address; 0 sets no limit. IPv6 addresses are
        /// counted by their first 64 bits.
        max_per_address: Option<u32> = 0,
        /// The largest list of request headers.
        max_header_size: Size = "16KiB" in KIB..=MOST_WINDOW,
        /// How long the TLS handshake may take.
        tls_handshake_timeout: Duration = "10s" in MS..,
        /// How long the HTTP/2 preface may take after the handshake.
        preface_timeout: Duration = "10s" in MS..,
        /// How long a connection may wait before it opens its first stream. As long as its address has a
        /// stream on another connection, it may wait longer.
        first_stream_timeout: Duration = "20s" in MS..,
        /// Close a connection that has had no stream for so long, unless its address has one on another
        /// connection.
        idle_timeout: Option<Duration> = "0s",
        /// Close a connection this long after it was opened.
        max_age: Option<Duration> = "0s",
        /// How long streams may go on after the maximum age; "0s" sets no limit.
        max_age_grace: Option<Duration> = "0s",
        /// Send an HTTP/2 ping on a connection from which nothing arrived for so long.
        keepalive_interval: Duration = "2h" in MS..,
        /// Close the connection when the ping is not answered within this time.
        keepalive_timeout: Duration = "20s" in MS..,
        /// Let the kernel close a connection whose sent data stays unacknowledged for so long.
        tcp_user_timeout: Duration = "20s" in MS..,
        /// Close a connection whose peer takes no data for so long while some is waiting.
        write_stall_timeout: Duration = "10m" in MS..,
        /// File with what the Jumpstarter operator keeps in the ConfigMap jumpstarter-controller as
        /// "config". Its grpc.keepalive gives idle_timeout, max_age, max_age_grace, keepalive_interval,
        /// keepalive_timeout and tcp_user_timeout, unless they are set in another way.
        operator_config: Option<PathBuf> = unset,
    }

    /// Shutting down.
    drain: Drain {
        /// How long everything is still served after the signal to stop, while probes say already that
        /// the router is not ready. For load balancers that need time to notice.
        lame_duck: Duration = "0s",
        /// How long streams may go on after that. Keep the sum of both below the time the service
        /// manager grants, which is 30 seconds in Kubernetes by default.
        timeout: Duration = "25s",
        /// The router that takes over: host:port, or "self" for whoever listens on the gRPC address of
        /// this one by then. During the drain streams without a partner look for it there. Unset: they
        /// are told to connect again.
        forward_to: Option<Target> = unset,
        /// How long the successor may take to be reached once the drain has begun. Then streams that
        /// wait are told to connect again.
        forward_timeout: Duration = "10s" in MS..,
        /// Forward streams that wait as soon as the signal comes, not only after drain.lame_duck.
        forward_early: bool = false,
        /// File with the certificates in PEM that the successor's must be, or be signed by, for the
        /// host of listen.endpoint. Unset: it must show the same certificate as this router.
        forward_ca: Option<PemFile> = unset,
        /// Forward to whoever answers there, whatever certificate it shows. It is given the tokens.
        forward_insecure: bool = false,
    }

    /// Several routers behind one address, which find each other over a message bus: docs/scale.md.
    cluster: Cluster {
        /// Servers of the bus, as "nats://host:4222" or "tls://host:4222"; several for a cluster of them.
        /// Without any this router is alone.
        servers: Vec<String> = []; restart,
        /// File with what lets this router in: NATS credentials, or one line that is "user:password" or
        /// a token. A newline at its end is not part of it.
        credentials_file: Option<KeyFile> = unset,
        /// File with the certificates in PEM that those of the servers must be signed by. Unset: the
        /// authorities that the system trusts.
        ca: Option<PemFile> = unset,
        /// All subjects of the bus that are used begin with it.
        prefix: String = "jumpstarter.router"; restart,
        /// Where other routers call this one.
        address: SocketAddr = ":8084"; restart,
        /// The host and port that other routers are told. Unset: this machine's address on the way to
        /// the bus, with the port of cluster.address.
        advertise: Option<Endpoint> = unset; restart,
    }

    /// Taking in changes without a restart.
    reload: Reload {
        /// How often this file and all files it names are looked at. A change is taken in when two looks
        /// have seen the same. With "0s" nobody looks, and changes are taken in on SIGHUP only.
        interval: Option<Duration> = "5s" in 10 * MS..,
    }

    /// The administrator's page and API, which can end streams.
    admin: Admin {
        /// What every request must carry as "Authorization: Bearer ...". At least 16 printable
        /// ASCII characters without spaces. Without any token, whoever reaches the address is an
        /// administrator.
        token: Option<Secret> = unset; restart,
        /// File with the token, instead of admin.token. One newline at its end is not part of it.
        token_file: Option<KeyFile> = unset; restart,
        /// Another token like admin.token, with which everything can be seen and nothing changed. Where it
        /// is the only one, nobody can change anything.
        read_token: Option<Secret> = unset; restart,
        /// File with that token, instead of admin.read_token. One newline at its end is not part of it.
        read_token_file: Option<KeyFile> = unset; restart,
    }

    /// Log lines, which go to stderr.
    log: Log {
        /// How lines are written; "auto" is text on a terminal and JSON otherwise.
        format: LogFormat = "auto"; restart,
        /// Which lines are written: a level, or directives per module.
        filter: LogFilter = "info",
    }

    /// The process.
    runtime: Runtime {
        /// Worker threads; 0 is one per core.
        worker_threads: Option<u32> = 0 in 0..=1024; restart,
    }
}

/// Lists the keys of all sections.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// Lists the keys whose values differ.
pub(crate) fn changed<'c>(
    one: &'c Config,
    other: &'c Config,
) -> impl Iterator<Item = &'static Key> + use<'c> {
    keys().filter(|key| !(key.same)(one, other))
}

/// Finds the key called "section.key".
pub fn find(path: &str) -> Option<&'static Key> {
    keys().find(|key| key.path == path)
}
