//! Thins out floods of similar lines, so that a peer cannot fill a disk.
//!
//! Lines are similar if they come from the same place in the code and are about the same address, or about addresses
//! of the same IPv6 network of 64 bits. So many of them pass at once and so many a second after that, first for the
//! address, then for all addresses together: one that floods hides no lines about others. How many were left out is
//! told with the next one that passes, or once the flood is over.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;
use tracing::{Metadata, callsite::Identifier};

use crate::{common::lock, observe::record};

/// Says how many lines pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// How many pass at once.
    pub burst: u32,
    /// How many a second pass after that.
    pub per_second: u32,
}

/// Says how many similar lines pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// What passes about one address.
    pub address: Rate,
    /// What passes about all addresses together.
    pub all: Rate,
}

/// What passes of most lines. A stock peer causes none of those that peers can cause, or a few a minute.
const USUAL: Allowance = Allowance {
    address: Rate {
        burst: 100,
        per_second: 1,
    },
    all: Rate {
        burst: 1_000,
        per_second: 50,
    },
};

/// What passes of the records of streams, by which is found out later who did what. The bursts are those of a drain that ends
/// every stream, which may all come from one load balancer. At 500 bytes a line that is 430 MB a day and address.
const RECORDS: Allowance = Allowance {
    address: Rate {
        burst: 10_000,
        per_second: 10,
    },
    all: Rate {
        burst: 100_000,
        per_second: 200,
    },
};

/// Tells what passes of lines from this place in the code.
pub(super) fn allowance(metadata: &Metadata<'_>) -> Allowance {
    if metadata.target() == record::TARGET {
        RECORDS
    } else {
        USUAL
    }
}

/// How many kinds of lines with an address are remembered, about 150 bytes each. Beyond that, lines about further addresses
/// are thinned together.
const MOST: usize = 10_000;

/// How long there is no line until a flood is over.
const OVER: Duration = Duration::from_secs(10);

/// Tells what was left out in a flood that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flood {
    /// The message of the lines.
    pub message: String,
    /// The address or network that they were about. `None`: none, or several.
    pub from: Option<IpAddr>,
    /// How many lines that were.
    pub left_out: u64,
}

/// Decides about each line. It reads no clock. `K` is the kind of a line: its place in the code.
#[derive(Debug)]
pub(super) struct Thinner<K> {
    similar: HashMap<(K, Option<IpAddr>), Similar>,
    all: HashMap<K, Meter>,
    most: usize,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Similar {
    meter: Meter,
    last: Instant,
    left_out: u64,
    message: String,
}

impl<K: Hash + Eq + Clone> Thinner<K> {
    /// Makes one that remembers at most `most` kinds with their addresses.
    pub(super) fn new(most: usize) -> Self {
        Self {
            similar: HashMap::new(),
            all: HashMap::new(),
            most,
            looked: None,
        }
    }

    /// Asks to write one line. `Some` means go ahead; the number says how many similar ones were left out since the
    /// last one that passed.
    pub(super) fn admit(
        &mut self,
        (kind, from): (K, Option<IpAddr>),
        allowance: Allowance,
        message: &str,
        now: Instant,
    ) -> Option<u64> {
        let from = from.map(network);
        let from = from.filter(|_| self.has_room(&(kind.clone(), from), now));
        let similar = match self.similar.entry((kind.clone(), from)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Similar {
                meter: Meter(now),
                last: now,
                left_out: 0,
                message: String::new(),
            }),
        };
        similar.last = now;
        let all = self.all.entry(kind).or_insert(Meter(now));
        if similar.meter.take(allowance.address, now) && all.take(allowance.all, now) {
            similar.message = String::new();
            Some(std::mem::take(&mut similar.left_out))
        } else {
            if similar.left_out == 0 {
                message.clone_into(&mut similar.message);
            }
            similar.left_out += 1;
            None
        }
    }

    /// Tells whether this kind and address is known, or can be remembered.
    fn has_room(&mut self, similar: &(K, Option<IpAddr>), now: Instant) -> bool {
        if self.similar.len() < self.most || self.similar.contains_key(similar) {
            return true;
        }
        // To look through all of them takes some 100 µs, which a flood from ever new addresses must not cost each time.
        let second = Duration::from_secs(1);
        let over = |looked| now.saturating_duration_since(looked) >= second;
        if self.looked.is_none_or(over) {
            self.looked = Some(now);
            self.forget(now);
        }
        self.similar.len() < self.most
    }

    /// Forgets what would change no decision.
    fn forget(&mut self, now: Instant) {
        self.similar
            .retain(|_, similar| similar.left_out > 0 || similar.meter.0 > now);
    }

    /// Forgets what would change no decision, and gives the floods that are over.
    pub(super) fn settle(&mut self, now: Instant) -> Vec<Flood> {
        let mut floods = Vec::new();
        for ((_, from), similar) in &mut self.similar {
            let over = now.saturating_duration_since(similar.last) >= OVER;
            if over && similar.left_out > 0 {
                floods.push(Flood {
                    message: std::mem::take(&mut similar.message),
                    from: *from,
                    left_out: std::mem::take(&mut similar.left_out),
                });
            }
        }
        self.forget(now);
        floods
    }
}

/// Keeps the time until which everything earned is spent (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug)]
struct Meter(Instant);

impl Meter {
    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let cost = Duration::from_secs(1) / rate.per_second;
        let spent = self.0.max(now) + cost;
        let passes = spent <= now + cost * rate.burst;
        if passes {
            self.0 = spent;
        }
        passes
    }
}

/// Gives the addresses that are counted together with `ip`: itself, or its IPv6 network of 64 bits, the least that a
/// customer or a host is given.
pub(crate) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Thins out the whole log.
#[derive(Clone, Debug)]
pub(super) struct SharedThinner {
    thinner: Arc<Mutex<Thinner<Identifier>>>,
    left_out: Counter,
}

impl SharedThinner {
    /// Makes one that counts in `left_out`, too, what it leaves out.
    pub(super) fn new(left_out: Counter) -> Self {
        Self {
            thinner: Arc::new(Mutex::new(Thinner::new(MOST))),
            left_out,
        }
    }

    /// Does what [`Thinner::admit`] does, for a line from the place in the code that `metadata` is of.
    pub(super) fn admit(
        &self,
        metadata: &Metadata<'_>,
        from: Option<IpAddr>,
        message: &str,
    ) -> Option<u64> {
        let similar = (metadata.callsite(), from);
        let allowance = allowance(metadata);
        let admitted = lock(&self.thinner).admit(similar, allowance, message, Instant::now());
        if admitted.is_none() {
            self.left_out.inc();
        }
        admitted
    }

    /// Does what [`Thinner::settle`] does.
    pub(super) fn settle(&self, now: Instant) -> Vec<Flood> {
        lock(&self.thinner).settle(now)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;

    use super::*;

    const FEW: Allowance = Allowance {
        address: Rate {
            burst: 3,
            per_second: 1,
        },
        all: Rate {
            burst: 5,
            per_second: 2,
        },
    };

    const SECOND: Duration = Duration::from_secs(1);

    #[allow(clippy::unnecessary_wraps, reason = "as it is asked for")]
    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// How many of ten pass, and what they say was left out.
    fn passed(
        thinner: &mut Thinner<u8>,
        kind: u8,
        from: Option<IpAddr>,
        now: Instant,
    ) -> (usize, u64) {
        let asked = (0..10).map(|_| thinner.admit((kind, from), FEW, "m", now));
        let passed: Vec<u64> = asked.flatten().collect();
        (passed.len(), passed.iter().sum())
    }

    #[test]
    fn a_burst_passes_and_then_so_many_a_second_and_what_was_left_out_is_told() {
        let (mut thinner, start) = (Thinner::new(9), Instant::now());
        assert_eq!(passed(&mut thinner, 0, None, start), (3, 0));
        assert_eq!(passed(&mut thinner, 0, None, start), (0, 0));
        assert_eq!(passed(&mut thinner, 0, None, start + SECOND), (1, 17));
        assert_eq!(passed(&mut thinner, 0, None, start), (0, 0), "a clock back");
        assert_eq!(passed(&mut thinner, 0, None, start + 60 * SECOND), (3, 19));
    }

    #[test]
    fn one_address_hides_no_other_and_no_other_kind() {
        let (mut thinner, now) = (Thinner::new(9), Instant::now());
        for _ in 0..100 {
            passed(&mut thinner, 0, ip("192.0.2.1"), now);
        }
        assert_eq!(passed(&mut thinner, 1, ip("192.0.2.1"), now), (3, 0));
        assert_eq!(passed(&mut thinner, 0, ip("192.0.2.2"), now), (2, 0));
        // All together have had their share by now.
        assert_eq!(passed(&mut thinner, 0, ip("192.0.2.3"), now), (0, 0));
        let later = now + SECOND;
        assert_eq!(passed(&mut thinner, 0, ip("192.0.2.3"), later), (1, 10));
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let (mut thinner, now) = (Thinner::new(9), Instant::now());
        assert_eq!(passed(&mut thinner, 0, ip("2001:db8::1"), now), (3, 0));
        assert_eq!(passed(&mut thinner, 0, ip("2001:db8::2:1"), now), (0, 0));
        assert_eq!(passed(&mut thinner, 0, ip("2001:db8:0:1::1"), now), (2, 0));
        assert_eq!(
            network(ip("::ffff:192.0.2.1").unwrap()),
            ip("192.0.2.1").unwrap()
        );
    }

    #[test]
    fn a_flood_that_is_over_is_told_once() {
        let (mut thinner, start) = (Thinner::new(9), Instant::now());
        let from = ip("2001:db8::7");
        passed(&mut thinner, 0, from, start);
        assert_eq!(thinner.settle(start + 9 * SECOND), []);
        let flood = Flood {
            message: "m".to_owned(),
            from: ip("2001:db8::"),
            left_out: 7,
        };
        assert_eq!(thinner.settle(start + 10 * SECOND), [flood]);
        assert_eq!(thinner.settle(start + 20 * SECOND), []);
        assert!(thinner.similar.is_empty());
    }

    #[test]
    fn ever_new_addresses_do_not_fill_the_memory() {
        let (mut thinner, now) = (Thinner::new(4), Instant::now());
        let mut told = 0;
        for number in 0..1_000_u32 {
            let from = Some(Ipv4Addr::from(number).into());
            told += u64::from(thinner.admit((0, from), FEW, "m", now).is_some());
        }
        assert_eq!(told, 5, "what passes of all");
        assert_eq!(thinner.similar.len(), 5, "four, and one for all others");
        let later = now + 60 * SECOND;
        assert_eq!(thinner.admit((0, None), FEW, "m", later), Some(995));
        assert_eq!(passed(&mut thinner, 0, ip("192.0.2.1"), later), (3, 0));
    }
}
