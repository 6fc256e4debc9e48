//! The table of all keys. Documentation, example file, environment names and defaults follow from it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::choice::{LogFormat, TlsProvider};
use super::registry::{Key, Section, default_value, sections};
use super::setting::Setting;
use super::types::{Endpoint, KeyFile, LogFilter, Secret, Size};

sections! {
    /// Where the router listens and how it is reached.
    listen: Listen {
        /// Where gRPC streams are accepted.
        address: SocketAddr = ":8083",
        /// The public host and port that peers are told. The self-signed certificate is made for
        /// this host.
        endpoint: Endpoint = "localhost:8083",
        /// Where health probes are answered over plain HTTP.
        health_address: Option<SocketAddr> = ":8081",
        /// Where metrics are served over plain HTTP.
        metrics_address: Option<SocketAddr> = "0",
        /// Where the administrator's page and API are served over plain HTTP. Beyond the loopback
        /// interface they need a token, see the section admin. When the default address is in use,
        /// the router starts without them.
        admin_address: Option<SocketAddr> = "127.0.0.1:8082",
        /// Connections the kernel may hold ready before they are accepted.
        backlog: u32 = 1024,
    }

    /// Encryption of the gRPC listener.
    tls: Tls {
        /// File with the certificate chain in PEM. Without certificate and key the router makes a
        /// self-signed certificate at each start.
        certificate: Option<PathBuf> = unset,
        /// File with the private key of the certificate in PEM.
        key: Option<PathBuf> = unset,
        /// Listen without TLS, for use behind a proxy that ends TLS.
        plaintext: bool = false,
        /// The cryptography in use; "auto" takes whatever suits the machine best.
        provider: TlsProvider = "auto",
        /// TLS sessions remembered so that a peer can reconnect with less work; 0 turns this off.
        session_cache: u32 = 10000,
    }

    /// Which tokens are accepted. At least one key is needed.
    auth: Auth {
        /// The key tokens are signed with, the same as the controller's. At least 32 random bytes.
        key: Option<Secret> = unset,
        /// Further accepted keys, such as the previous one while keys are being changed.
        extra_keys: Vec<Secret> = [],
        /// Files with one accepted key each. One newline at the end of a file is not part of the
        /// key.
        key_files: Vec<KeyFile> = [],
        /// The issuer a token must name.
        issuer: String = "https://jumpstarter.dev/stream",
        /// The audience a token must name.
        audience: String = "https://jumpstarter.dev/router",
        /// How far the clocks of controller and router may differ when "not before" and "issued at"
        /// are checked. The expiry is always exact.
        leeway: Duration = "0s",
        /// The longest token that is looked at.
        max_token_size: Size = "8KiB",
        /// Let a subject pair only once until its token expires.
        single_use: bool = false,
    }

    /// Waiting for the other side.
    pairing: Pairing {
        /// How long a stream waits for its partner.
        timeout: Duration = "120s",
        /// Streams that may wait at the same time; 0 sets no limit.
        max_waiting: Option<u32> = 10000,
    }

    /// Each stream.
    streams: Streams {
        /// The largest message a peer may send.
        max_message_size: Size = "4MiB",
        /// HTTP/2 flow control window a stream starts with: what a peer may send before it is read.
        /// From 128KiB up to one byte less than 2GiB.
        initial_window: Size = "128KiB",
        /// The largest window a stream may earn on a long path, by measured bandwidth and delay.
        max_window: Size = "16MiB",
        /// Bytes buffered for sending on a stream before reading from its partner pauses.
        send_buffer: Size = "64KiB",
        /// Streams open at the same time on one connection.
        max_per_connection: u32 = 1000,
        /// End a pair on which nothing moved for so long.
        idle_timeout: Option<Duration> = "0s",
        /// End a pair this long after it was made.
        max_duration: Option<Duration> = "0s",
        /// How long a stream that is being ended may make no progress before it is reset.
        linger: Duration = "30s",
    }

    /// Memory.
    memory: Memory {
        /// The most memory the process should use. As it comes near, windows stop growing, new streams
        /// are refused, and the pairs stalled longest are ended. Unset: what the control group allows.
        limit: Option<Size> = unset,
        /// By how much all windows together may grow beyond those that streams start with.
        windows: Size = "128MiB",
    }

    /// Each connection.
    connections: Connections {
        /// Connections open at the same time.
        max: u32 = 20000,
        /// Connections open at the same time from one address; 0 sets no limit.
        max_per_address: Option<u32> = 0,
        /// The largest list of request headers.
        max_header_size: Size = "16KiB",
        /// How long the TLS handshake may take.
        tls_handshake_timeout: Duration = "10s",
        /// How long the HTTP/2 preface may take after the handshake.
        preface_timeout: Duration = "10s",
        /// How long a connection may wait before it opens its first stream.
        first_stream_timeout: Duration = "20s",
        /// Close a connection that has had no stream for so long.
        idle_timeout: Option<Duration> = "0s",
        /// Close a connection this long after it was opened.
        max_age: Option<Duration> = "0s",
        /// How long streams may go on after the maximum age; "0s" sets no limit.
        max_age_grace: Option<Duration> = "0s",
        /// Send an HTTP/2 ping on a connection from which nothing arrived for so long.
        keepalive_interval: Duration = "2h",
        /// Close the connection when the ping is not answered within this time.
        keepalive_timeout: Duration = "20s",
        /// Let the kernel close a connection whose sent data stays unacknowledged for so long.
        tcp_user_timeout: Duration = "20s",
        /// Close a connection whose peer takes no data for so long while some is waiting.
        write_stall_timeout: Duration = "10m",
    }

    /// Shutting down.
    drain: Drain {
        /// How long streams may go on after the signal to stop. Keep it below the time the service
        /// manager grants, which is 30 seconds in Kubernetes by default.
        timeout: Duration = "25s",
    }

    /// The administrator's page and API, which can end streams.
    admin: Admin {
        /// What every request must carry as "Authorization: Bearer ...". At least 16 printable
        /// ASCII characters without spaces. Without a token, whoever reaches the address is an
        /// administrator.
        token: Option<Secret> = unset,
        /// File with the token, instead of admin.token. One newline at its end is not part of it.
        token_file: Option<PathBuf> = unset,
    }

    /// Log lines, which go to stderr.
    log: Log {
        /// How lines are written; "auto" is text on a terminal and JSON otherwise.
        format: LogFormat = "auto",
        /// Which lines are written: a level, or directives per module.
        filter: LogFilter = "info",
    }

    /// The process.
    runtime: Runtime {
        /// Worker threads; 0 is one per core.
        worker_threads: Option<u32> = 0,
    }
}
