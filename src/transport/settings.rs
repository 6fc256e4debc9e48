//! What can be set for streams and connections: sections of the configuration, as they are in force.
//!
//! Their keys are described in the configuration's table, which also gives these structs their defaults and keeps their
//! values within ranges. Where a count, a time or a rate is an `Option`, `None` is no limit; it is written as 0.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use ipnet::IpNet;
use thiserror::Error;

/// The smallest window that a stream may start with.
pub(crate) const LEAST_WINDOW: Size = Size::new(128 << 10);

/// The largest window that HTTP/2 knows.
pub(crate) const MOST_WINDOW: Size = Size::new((1 << 31) - 1);

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(usize);

/// Units by name, the largest power of two last so that it is found first when searching backwards.
const UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Why a text is no size.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SizeError {
    /// It does not begin with a number.
    #[error("expected a number of bytes such as 65536 or 64KiB")]
    Number,
    /// Something else than a unit follows the number.
    #[error("the units are B, KiB, MiB, GiB, kB, MB and GB")]
    Unit,
    /// No size of this machine is as large.
    #[error("too large")]
    TooLarge,
}

impl Size {
    /// Makes a size of so many bytes.
    pub const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// Gives the number of bytes.
    pub const fn bytes(self) -> usize {
        self.0
    }

    /// Gives the number of bytes to those who count in 32 bits: at most what these can hold.
    pub fn bytes_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = match unit.trim_start() {
            "" => 1,
            name => UNITS
                .iter()
                .find_map(|(unit, factor)| (*unit == name).then_some(*factor))
                .ok_or(SizeError::Unit)?,
        };
        let number: u64 = number.parse().map_err(|_| SizeError::Number)?;
        number
            .checked_mul(unit)
            // A TOML integer is signed, and every size must fit one to be shown.
            .and_then(|bytes| i64::try_from(bytes).ok())
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map(Self)
            .ok_or(SizeError::TooLarge)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as u64;
        let exact = UNITS[4..]
            .iter()
            .rev()
            .find(|(_, unit)| bytes.is_multiple_of(*unit));
        match exact {
            Some((name, unit)) if bytes > 0 => write!(out, "{}{name}", bytes / unit),
            _ => write!(out, "{bytes}"),
        }
    }
}

/// What can be set for the wait for a partner.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairing {
    /// How long a stream waits.
    pub timeout: Duration,
    /// How many may wait at once.
    pub max_waiting: Option<u32>,
}

/// What can be set for streams.
#[derive(Clone, Debug, PartialEq)]
pub struct Streams {
    /// How long a message may be.
    pub max_message_size: Size,
    /// How much credit a peer is granted at first.
    pub initial_window: Size,
    /// How much credit a peer may earn on a long path.
    pub max_window: Size,
    /// How much HTTP/2 may hold for each stream until the socket takes them.
    pub send_buffer: Size,
    /// How many streams may be open at once.
    pub max: Option<u32>,
    /// How many may be open at once from one address.
    pub max_per_address: Option<u32>,
    /// How many may be open at once on one connection.
    pub max_per_connection: u32,
    /// How many may come in a second from one address.
    pub new_per_second_per_address: Option<u32>,
    /// How many bytes a second one stream may send, 0 for no limit; [`Streams::rates`] reads it.
    pub bytes_per_second: Size,
    /// How many all streams from one address may send together; 0 as above.
    pub bytes_per_second_per_address: Size,
    /// How long nothing may move.
    pub idle_timeout: Option<Duration>,
    /// How long a peer may take nothing while bytes wait for it.
    pub stall_timeout: Option<Duration>,
    /// How long a stream may last.
    pub max_duration: Option<Duration>,
    /// How long a stream being ended may make no progress.
    pub linger: Duration,
}

impl Streams {
    /// Gives the rates that are kept.
    pub fn rates(&self) -> Rates {
        let rate = |size: Size| Some(size.bytes() as u64).filter(|rate| *rate > 0);
        Rates {
            stream: rate(self.bytes_per_second),
            address: rate(self.bytes_per_second_per_address),
        }
    }
}

/// How many bytes a second may be sent. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// How many by one stream.
    pub stream: Option<u64>,
    /// How many by all streams from one address together.
    pub address: Option<u64>,
}

/// What can be set for connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Connections {
    /// How many connections may be open at once.
    pub max: u32,
    /// How many may be open at once from one address.
    pub max_per_address: Option<u32>,
    /// How large a list of request headers may be.
    pub max_header_size: Size,
    /// How long the TLS handshake may take, from accept on.
    pub tls_handshake_timeout: Duration,
    /// How long the HTTP/2 preface may take after that.
    pub preface_timeout: Duration,
    /// How long the first stream may take after that, while none is open from the same address.
    pub first_stream_timeout: Duration,
    /// How long a connection may have no stream, while none is open from the same address.
    pub idle_timeout: Option<Duration>,
    /// How long it takes streams.
    pub max_age: Option<Duration>,
    /// How long its streams may go on after that.
    pub max_age_grace: Option<Duration>,
    /// How long a peer may be silent before it is sent a PING.
    pub keepalive_interval: Duration,
    /// How long the answer may take.
    pub keepalive_timeout: Duration,
    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`).
    pub tcp_user_timeout: Duration,
    /// How long the socket may take nothing.
    pub write_stall_timeout: Duration,
    /// The file of the operator that gave some of these their values.
    pub operator_config: Option<PathBuf>,
}

/// What can be set for streams and connections, all together.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What can be set for streams.
    pub streams: Streams,
    /// What can be set for the wait for a partner.
    pub pairing: Pairing,
    /// What can be set for connections.
    pub connections: Connections,
    /// How many tokens may be refused in a second from one address.
    pub refused_tokens_per_second: Option<u32>,
    /// Networks from which a PROXY header comes first.
    pub proxies: Vec<IpNet>,
    /// How long the PROXY header may take.
    pub proxy_header_timeout: Duration,
}
