//! Connects by TCP to the first of a name's addresses that answers, as RFC 8305 has it, in small.

#[cfg(all(test, feature = "server"))]
mod tests;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use thiserror::Error;
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, sleep_until, timeout_at},
};

use super::text::joined;

/// An address has so long to answer before the next is tried as well.
const NEXT: Duration = Duration::from_millis(250);

/// Says why no address of a name could be reached.
#[derive(Debug, Error)]
pub enum Unreachable {
    /// The name has no addresses, as far as this machine can find out.
    #[error("{host:?} has no address that this machine can find: {}", plain(.error))]
    Unresolved {
        /// The host's name.
        host: String,
        /// What went wrong.
        error: io::Error,
    },
    /// Each address failed, for a reason of its own.
    #[error("{}", joined(.0, "; "))]
    All(Vec<Tried>),
}

/// An address that was tried, and what came of it.
#[derive(Debug, Error)]
#[error("{address}: {}", plain(.error))]
pub struct Tried {
    /// The address.
    pub address: SocketAddr,
    /// What went wrong.
    pub error: io::Error,
}

impl Unreachable {
    /// Says what was wrong with each address of an endpoint. One that is the endpoint itself is not named again.
    pub(crate) fn of(&self, endpoint: &str) -> String {
        match self {
            Self::All(tried) => match &tried[..] {
                [one] if one.address.to_string() == endpoint => plain(&one.error),
                _ => self.to_string(),
            },
            Self::Unresolved { .. } => self.to_string(),
        }
    }

    /// Tells whether all addresses say that nobody listens there.
    pub(crate) fn is_refused(&self) -> bool {
        let refused = |tried: &Tried| tried.error.kind() == io::ErrorKind::ConnectionRefused;
        matches!(self, Self::All(tried) if tried.iter().all(refused))
    }

    /// Tells whether some address has just not answered.
    pub(crate) fn is_silent(&self) -> bool {
        let silent = |tried: &Tried| tried.error.kind() == io::ErrorKind::TimedOut;
        matches!(self, Self::All(tried) if tried.iter().any(silent))
    }
}

impl From<Unreachable> for io::Error {
    fn from(error: Unreachable) -> Self {
        let kind = match &error {
            Unreachable::Unresolved { error, .. } => error.kind(),
            Unreachable::All(tried) => tried
                .first()
                .map_or(io::ErrorKind::NotFound, |tried| tried.error.kind()),
        };
        Self::new(kind, error)
    }
}

/// Says what a socket's error means, without the system's number for it.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    // Resolvers say twice that it was a lookup.
    let text = text.trim_start_matches("failed to lookup address information: ");
    let mut letters = text.chars();
    match letters.next() {
        // What begins a sentence elsewhere is in the midst of one here.
        Some(first) if letters.as_str().starts_with(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// Connects to host:port, until then at the latest. Small writes are not delayed on the connection.
pub(crate) async fn tcp(endpoint: &str, until: Instant) -> Result<TcpStream, Unreachable> {
    let addresses = resolve(endpoint, until).await?;
    first(&addresses, until).await
}

/// Finds all addresses of host:port, in the order in which they are to be tried.
pub(crate) async fn resolve(
    endpoint: &str,
    until: Instant,
) -> Result<Vec<SocketAddr>, Unreachable> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the resolver does not answer");
    let found = timeout_at(until, lookup_host(endpoint)).await;
    let found = found.map_err(late).and_then(|found| found);
    let none = || io::Error::new(io::ErrorKind::NotFound, "the resolver knows none");
    let found = found.map(|found| alternating(found.collect()));
    found
        .and_then(|found| {
            if found.is_empty() {
                Err(none())
            } else {
                Ok(found)
            }
        })
        .map_err(|error| Unreachable::Unresolved {
            host: host(endpoint).to_owned(),
            error,
        })
}

/// Gives the host of host:port, without the brackets of an IPv6 address.
pub(crate) fn host(endpoint: &str) -> &str {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// Puts addresses of the two families in turns, each once: the system's order decides who begins.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(begins) = addresses.first().map(SocketAddr::is_ipv6) else {
        return addresses;
    };
    let (one, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == begins);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut turns = Vec::new();
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return turns;
        }
        for address in pair.into_iter().flatten() {
            if !turns.contains(&address) {
                turns.push(address);
            }
        }
    }
}

/// Connects to one address.
pub(crate) async fn one(address: SocketAddr, until: Instant) -> Result<TcpStream, Tried> {
    let began = Instant::now();
    let late = |_| {
        let waited = began.elapsed().as_secs_f64();
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer in {waited:.1} s"),
        )
    };
    let connected = timeout_at(until, TcpStream::connect(address)).await;
    let connected = connected.map_err(late).and_then(|connected| connected);
    let ready = connected.and_then(|socket| socket.set_nodelay(true).map(|()| socket));
    ready.map_err(|error| Tried { address, error })
}

/// Connects to the first of these addresses that answers. The next is tried when the one before has failed, or has not
/// answered for a quarter of a second; then both are waited for.
pub(crate) async fn first(
    addresses: &[SocketAddr],
    until: Instant,
) -> Result<TcpStream, Unreachable> {
    let mut left = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut failed = Vec::new();
    let mut next = Instant::now();
    while left.len() > 0 || !attempts.is_empty() {
        tokio::select! {
            biased;
            Some(attempt) = attempts.next(), if !attempts.is_empty() => match attempt {
                Ok(socket) => return Ok(socket),
                Err(tried) => {
                    failed.push(tried);
                    next = Instant::now();
                }
            },
            () = sleep_until(next), if left.len() > 0 => {
                attempts.extend(left.next().map(|address| one(*address, until)));
                next = Instant::now() + NEXT;
            }
        }
    }
    Err(Unreachable::All(failed))
}

/// Tells whether this is an address rather than a name.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}
