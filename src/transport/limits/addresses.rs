//! Counts connections and what they do, for each address that they come from.
//!
//! IPv6 is counted by networks of 64 bits, the least that a customer or a host is given: who has one such network
//! has 2^64 addresses. An address is remembered while it has connections, and after that until its buckets are full
//! again and it may be named again: a peer that reconnects finds what it spent. More than
//! [`MOST_WITHOUT_CONNECTION`] are not remembered that long, so that connections from ever new addresses do not fill the memory.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use tokio::time::Instant;

use crate::observe::log::network;
use crate::transport::limits::{
    bucket::Bucket,
    count::{Count, Counted},
    spares::Spares,
};

/// So many addresses are remembered though they have no connection, about 250 bytes each.
pub(crate) const MOST_WITHOUT_CONNECTION: usize = 50_000;

/// A line names an address whose peers speak another protocol, such as a probe's, at most this often.
const NAMED_EVERY: Duration = Duration::from_secs(600);

/// Counts what connections from one address do.
#[derive(Debug, Default)]
pub struct Address {
    connections: AtomicUsize,
    streams: Count,
    /// Streams of its host, if it is one of several addresses that are known to be of one.
    host: Option<Count>,
    /// Its connections without a stream.
    pub spares: Arc<Spares>,
    /// When a line named it for its wrong protocol.
    named: Mutex<Option<Instant>>,
    /// New streams.
    pub arrivals: Bucket,
    /// Tokens that were refused.
    pub refusals: Bucket,
    /// Bytes that its streams send.
    pub bytes: Bucket,
}

impl Address {
    fn is_at_rest(&self) -> bool {
        let buckets = [&self.arrivals, &self.refusals, &self.bytes];
        let named = *self.named();
        self.connections.load(Ordering::SeqCst) == 0
            && buckets.iter().all(|b| b.is_full())
            && named.is_none_or(|at| at.elapsed() >= NAMED_EVERY)
    }

    /// Tells whether its host has a stream, on whatever connection.
    pub fn has_stream(&self) -> bool {
        self.host.as_ref().unwrap_or(&self.streams).open() > 0
    }

    /// Tells whether a line may name it now for its wrong protocol, as none has for a while.
    pub fn may_be_named(&self, now: Instant) -> bool {
        let mut named = self.named();
        let may = named.is_none_or(|at| now >= at + NAMED_EVERY);
        if may {
            *named = Some(now);
        }
        may
    }

    fn named(&self) -> MutexGuard<'_, Option<Instant>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a stream, unless `limit` are open.
    pub(crate) fn open_stream(&self, limit: Option<usize>) -> Option<StreamPermit> {
        let [here] = self.streams.take(limit)?;
        Some((here, self.host.as_ref().map(Count::add)))
    }
}

/// Allows one stream of an address, and counts it there and at its host until it is dropped.
pub(crate) type StreamPermit = (Counted, Option<Counted>);

/// Says where a connection comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The peer's own address, not that of a load balancer which speaks the PROXY protocol.
    pub ip: IpAddr,
    /// What is counted for it.
    pub address: Arc<Address>,
    /// The subject of the certificate that the peer has shown, if any.
    pub certificate: Option<Arc<str>>,
    /// It came to the listener for other routers.
    pub is_router: bool,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip.fmt(f)
    }
}

/// Knows all addresses with a connection, and some that had one lately.
#[derive(Debug, Default)]
pub struct Addresses {
    known: DashMap<IpAddr, Arc<Address>>,
    /// Of those known, how many have a connection.
    connected: AtomicUsize,
    /// Streams of all loopback addresses.
    loopback: Count,
}

impl Addresses {
    /// Counts a connection, unless `limit` are open from its address and none of them is spare.
    pub fn enter(self: &Arc<Self>, ip: IpAddr, limit: Option<usize>) -> Option<ConnectionPermit> {
        // The entry is locked, so connections that come at once cannot pass the limit together.
        let address = self.known.entry(network(ip)).or_insert_with(|| {
            // A name such as localhost has several, and a peer's stream comes over one of them.
            let host = ip.is_loopback().then(|| self.loopback.clone());
            Arc::new(Address {
                host,
                ..Address::default()
            })
        });
        let before = address.connections.load(Ordering::SeqCst);
        if limit.is_some_and(|limit| !address.spares.make_room(before, limit)) {
            return None;
        }
        address.connections.store(before + 1, Ordering::SeqCst);
        if before == 0 {
            self.connected.fetch_add(1, Ordering::SeqCst);
        }
        Some(ConnectionPermit {
            addresses: self.clone(),
            origin: Origin {
                ip,
                address: address.clone(),
                certificate: None,
                is_router: false,
            },
        })
    }

    fn leave(&self, ip: IpAddr) {
        let crowded = self.without_connection() >= MOST_WITHOUT_CONNECTION;
        self.known.remove_if(&network(ip), |_, address| {
            let last = address.connections.fetch_sub(1, Ordering::SeqCst) == 1;
            if last {
                self.connected.fetch_sub(1, Ordering::SeqCst);
            }
            last && (crowded || address.is_at_rest())
        });
    }

    /// Forgets addresses without connections whose buckets are full again.
    pub fn sweep(&self) {
        self.known.retain(|_, address| !address.is_at_rest());
    }

    /// Counts the addresses that are remembered.
    pub fn known(&self) -> usize {
        self.known.len()
    }

    fn without_connection(&self) -> usize {
        let connected = self.connected.load(Ordering::SeqCst);
        self.known.len().saturating_sub(connected)
    }
}

/// Allows one connection of an address, and counts it until it is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    addresses: Arc<Addresses>,
    /// Where it comes from.
    pub origin: Origin,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.addresses.leave(self.origin.ip);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn each_address_has_its_own_connections() {
        let all = Arc::new(Addresses::default());
        let one = all.enter(ip("10.0.0.1"), Some(2)).unwrap();
        let two = all.enter(ip("10.0.0.1"), Some(2)).unwrap();
        assert!(all.enter(ip("10.0.0.1"), Some(2)).is_none());
        let other = all.enter(ip("10.0.0.2"), Some(2)).unwrap();
        drop(one);
        let three = all.enter(ip("10.0.0.1"), Some(2)).unwrap();
        assert!(
            all.enter(ip("10.0.0.1"), Some(1)).is_none(),
            "a lower limit"
        );
        assert!(all.enter(ip("10.0.0.1"), None).is_some(), "no limit");
        drop((two, three, other));
        assert_eq!(all.known(), 0, "nothing to remember");
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_network_is_one_address() {
        let all = Arc::new(Addresses::default());
        let held = all.enter(ip("2001:db8:1:2::1"), Some(1)).unwrap();
        let same = "2001:db8:1:2:ffff:ffff:ffff:ffff";
        assert!(all.enter(ip(same), Some(1)).is_none());
        assert!(all.enter(ip("2001:db8:1:3::1"), Some(1)).is_some());
        assert_eq!(held.origin.to_string(), "2001:db8:1:2::1");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_spent_is_found_again_and_forgotten_once_earned() {
        let all = Arc::new(Addresses::default());
        let visit = all.enter(ip("10.0.0.1"), None).unwrap();
        assert!(visit.origin.address.refusals.take_one(1));
        drop(visit);
        all.sweep();
        assert_eq!(all.known(), 1);
        let again = all.enter(ip("10.0.0.1"), None).unwrap();
        assert!(
            !again.origin.address.refusals.has_one(1),
            "reconnecting does not help"
        );
        drop(again);
        advance(Duration::from_secs(2)).await;
        all.sweep();
        assert_eq!(all.known(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn ever_new_addresses_do_not_fill_the_memory() {
        let all = Arc::new(Addresses::default());
        let stays = all.enter(ip("192.0.2.1"), None).unwrap();
        for number in 0..2 * MOST_WITHOUT_CONNECTION as u32 {
            let visit = all.enter(Ipv4Addr::from(number).into(), None).unwrap();
            assert!(visit.origin.address.refusals.take_one(1));
        }
        assert_eq!(all.known(), MOST_WITHOUT_CONNECTION + 1);
        advance(Duration::from_secs(2)).await;
        all.sweep();
        assert_eq!(all.known(), 1, "who is connected stays");
        drop(stays);
        assert_eq!(all.known(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn streams_are_counted_while_they_are_open() {
        let address = Arc::new(Address::default());
        let one = address.open_stream(Some(1)).unwrap();
        for _ in 0..3 {
            assert!(address.open_stream(Some(1)).is_none());
        }
        drop(one);
        assert!(address.open_stream(Some(1)).is_some());
        assert_eq!(address.streams.open(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn all_loopback_addresses_are_one_host_and_others_are_not() {
        let all = Arc::new(Addresses::default());
        let enter = |text| all.enter(ip(text), None).unwrap();
        let visits = ["127.0.0.1", "::1", "127.0.0.2", "192.0.2.1", "192.0.2.2"].map(enter);
        let has = || {
            visits
                .each_ref()
                .map(|visit| visit.origin.address.has_stream())
        };
        let stream = visits[0].origin.address.open_stream(None);
        assert_eq!(has(), [true, true, true, false, false]);
        drop(stream);
        assert_eq!(has(), [false; 5]);
        let _stream = visits[3].origin.address.open_stream(None);
        assert_eq!(has(), [false, false, false, true, false]);
        // Limits are each address's own.
        assert!(all.enter(ip("127.0.0.9"), Some(1)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_named_once_in_a_while_even_if_it_leaves_in_between() {
        let all = Arc::new(Addresses::default());
        let named = |text| {
            let visit = all.enter(ip(text), None).unwrap();
            visit.origin.address.may_be_named(Instant::now())
        };
        assert!(named("192.0.2.1"));
        for _ in 0..59 {
            advance(Duration::from_secs(10)).await;
            all.sweep();
            assert!(!named("192.0.2.1"));
        }
        assert!(named("192.0.2.2"), "another");
        advance(Duration::from_secs(10)).await;
        assert!(named("192.0.2.1"));
        advance(NAMED_EVERY).await;
        all.sweep();
        assert_eq!(all.known(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_spare_connection_makes_room_for_another_from_its_address() {
        let (all, spares) = (Arc::new(Addresses::default()), Arc::new(Spares::default()));
        let visits = [(); 2].map(|()| all.enter(ip("10.0.0.1"), Some(2)).unwrap());
        assert!(all.enter(ip("10.0.0.1"), Some(2)).is_none());
        let address = &visits[0].origin.address;
        let flag = crate::transport::wake_flag::WakeFlag::new();
        let spare = spares.enter(&address.spares, Instant::now(), flag);
        let third = all.enter(ip("10.0.0.1"), Some(2)).unwrap();
        assert!(spare.told().is_some());
        assert!(all.enter(ip("10.0.0.1"), Some(2)).is_none(), "no other");
        drop(spare);
        drop((visits, third));
    }

    proptest! {
        #[test]
        fn limits_hold_whatever_comes_and_goes(steps in prop::collection::vec((0u8..4, 0usize..8), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _guard = runtime.enter();
            let all = Arc::new(Addresses::default());
            let mut visits: Vec<(u8, ConnectionPermit)> = Vec::new();
            for (last, leave) in steps {
                let open = visits.iter().filter(|(other, _)| *other == last).count();
                let visit = all.enter(Ipv4Addr::new(10, 0, 0, last).into(), Some(3));
                prop_assert_eq!(visit.is_some(), open < 3);
                visits.extend(visit.map(|visit| (last, visit)));
                if leave < visits.len() {
                    visits.swap_remove(leave);
                }
                let mut hosts: Vec<_> = visits.iter().map(|(last, _)| *last).collect();
                hosts.sort_unstable();
                hosts.dedup();
                prop_assert_eq!(all.known(), hosts.len());
                prop_assert_eq!(all.connected.load(Ordering::SeqCst), hosts.len());
            }
        }
    }
}
