//! Connects by TCP to the first of a name's addresses that answers, as RFC 8305 has it, in small.

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

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// Holds an address that drops what calls it: nobody accepts, and no room is left to wait.
    pub(crate) struct Hole {
        pub(crate) address: SocketAddr,
        _sockets: Vec<Socket>,
    }

    impl Hole {
        pub(crate) fn new() -> Self {
            let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
            listener.bind(&any.into()).unwrap();
            listener.listen(0).unwrap();
            let address = listener.local_addr().unwrap().as_socket().unwrap();
            let mut sockets = vec![listener];
            for _ in 0..4 {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&address.into());
                sockets.push(socket);
            }
            Self {
                address,
                _sockets: sockets,
            }
        }
    }

    fn free() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_the_systems_first_begins() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::1]:1", "1.1.1.1:1", "[::3]:1"]);
        let turns = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(alternating(found), turns);
        let found = addresses(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"]);
        let turns = addresses(&["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]);
        assert_eq!(alternating(found), turns);
        assert_eq!(alternating(vec![]), vec![]);
    }

    #[tokio::test]
    async fn an_address_that_is_silent_costs_a_quarter_of_a_second_and_one_that_refuses_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let hole = Hole::new();
        let began = Instant::now();
        let until = began + Duration::from_secs(5);
        let reached = first(&[free(), free(), good], until).await.unwrap();
        assert_eq!(reached.peer_addr().unwrap(), good);
        assert!(began.elapsed() < NEXT, "{:?}", began.elapsed());
        let began = Instant::now();
        let reached = first(&[hole.address, good], until).await.unwrap();
        assert_eq!(reached.peer_addr().unwrap(), good);
        let took = began.elapsed();
        assert!(took >= NEXT && took < NEXT * 4, "{took:?}");
    }

    #[tokio::test]
    async fn an_error_names_every_address_with_what_was_wrong_there() {
        let (hole, refusing) = (Hole::new(), free());
        let until = Instant::now() + Duration::from_millis(600);
        let error = first(&[hole.address, refusing], until).await.unwrap_err();
        let text = format!(
            "{refusing}: connection refused; {}: no answer in 0.6 s",
            hole.address
        );
        assert_eq!(error.to_string(), text);
        assert!(error.is_silent() && !error.is_refused());
        let until = until + Duration::from_secs(5);
        let error = first(&[refusing], until).await.unwrap_err();
        assert!(error.is_refused() && !error.is_silent());
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_named() {
        let until = Instant::now() + Duration::from_secs(20);
        let error = tcp("nobody.invalid:1", until)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("\"nobody.invalid\" has no address that this machine can find: "),
            "{error}"
        );
        assert!(!error.contains("os error"), "{error}");
    }

    #[test]
    fn the_host_of_an_endpoint() {
        for (endpoint, expected) in [
            ("a.test:1", "a.test"),
            ("[::1]:1", "::1"),
            ("1.2.3.4:5", "1.2.3.4"),
        ] {
            assert_eq!(host(endpoint), expected);
        }
    }
}
