//! Decides what is announced and who calls whom, so that two halves of a tunnel find each other wherever they wait.
//!
//! A half is in here while it waits: whoever is in here may be announced, told to call, or called, and each of the latter
//! two takes it out. So a half is never called while it calls. One whose call fails comes back as a new one, with a new
//! ticket, and is announced anew.
//!
//! Of two routers the one with the lower id calls, as else both would: each would take the other's half, and both pairs
//! would break. An announcement may be lost, doubled or late, so a half is announced again and again while it waits.
//!
//! Pure: no sockets, no clock, no bus.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    time::Duration,
};

use tokio::time::Instant;

/// The pauses between two announcements of a half; the last one repeats. A message that was lost is made good soon, one
/// that nobody waits for costs little.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1_600),
    Duration::from_secs(5),
];

/// No half is announced more often for one that it has heard before.
const LEAST: Duration = Duration::from_millis(10);

/// A half whose calls fail hears nothing for so long, twice as long each time, at most.
const DEAF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// After calls to a router have failed for so long, it counts as one that is not reached.
pub(crate) const UNREACHED: Duration = Duration::from_secs(10);

/// A router that should call, and announces for so long without doing so, does not reach this one. It is longer, so that
/// the one whose calls fail gives up first, and says so: it would wait on alone.
const NOT_CALLED: Duration = Duration::from_secs(20);

/// Tells a router from all others; made anew at each start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RouterId(pub [u8; 16]);

/// Names one waiting of one half; whoever shows it may have the half. Nobody can guess it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub [u8; 16]);

/// Says what halves have in common that belong together: a hash of the token's subject.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Topic(pub [u8; 32]);

/// Says where another half waits, and how its router is reached and known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    pub router: RouterId,
    pub ticket: Ticket,
    /// host:port.
    pub address: String,
    /// SHA-256 of the certificate that the router must show.
    pub certificate: [u8; 32],
}

/// Says what a half has to do after an announcement was heard. It waits no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Call that router.
    Call(Elsewhere),
    /// Give up: the router that should call does not reach this one.
    Unreached,
}

/// Holds the halves that wait here. `T` is what the caller keeps with each.
#[derive(Clone, Debug)]
pub(crate) struct Meet<T> {
    own: RouterId,
    halves: HashMap<Ticket, Half<T>>,
    /// In the order in which they came.
    topics: BTreeMap<(Topic, u64), Ticket>,
    came: u64,
    due: BTreeSet<(Instant, Ticket)>,
}

#[derive(Clone, Debug)]
struct Half<T> {
    topic: Topic,
    /// How many came before it.
    number: u64,
    /// How often it was announced.
    announced: u32,
    last: Option<Instant>,
    due: Instant,
    /// Before this it makes no call.
    deaf_until: Instant,
    /// Who should call it.
    should_be_called: Option<Caller>,
    kept: T,
}

/// A half elsewhere, whose router should call.
#[derive(Clone, Copy, Debug)]
struct Caller {
    /// When one was first heard in a row, and last.
    first: Instant,
    last: Instant,
    ticket: Ticket,
}

impl<T> Meet<T> {
    /// Begins with nobody.
    pub(crate) fn new(own: RouterId) -> Self {
        Self {
            own,
            halves: HashMap::new(),
            topics: BTreeMap::new(),
            came: 0,
            due: BTreeSet::new(),
        }
    }

    /// A half waits from now on; `failed` of its calls have failed in a row.
    ///
    /// An earlier one of this topic stays until it leaves, though the table has a place for one: of the two it may be the one
    /// that waits, if the later has met at home before it came in here.
    pub(crate) fn waits(
        &mut self,
        topic: Topic,
        ticket: Ticket,
        failed: u32,
        kept: T,
        now: Instant,
    ) {
        let number = self.came;
        self.came += 1;
        self.topics.insert((topic, number), ticket);
        let deaf = failed.checked_sub(1).map_or(Duration::ZERO, |times| {
            (DEAF.0 * (1 << times.min(10))).min(DEAF.1)
        });
        let half = Half {
            topic,
            number,
            announced: 0,
            last: None,
            due: now,
            deaf_until: now + deaf,
            should_be_called: None,
            kept,
        };
        self.due.insert((now, ticket));
        self.halves.insert(ticket, half);
    }

    /// A half is gone: called by who showed its ticket, met at home, or given up. `None` if it is not here any more.
    pub(crate) fn leaves(&mut self, ticket: Ticket) -> Option<T> {
        let half = self.halves.remove(&ticket)?;
        self.due.remove(&(half.due, ticket));
        self.topics.remove(&(half.topic, half.number));
        Some(half.kept)
    }

    fn newest(&self, topic: &Topic) -> Option<Ticket> {
        let all = self.topics.range((*topic, 0)..=(*topic, u64::MAX));
        all.map(|(_, ticket)| *ticket).next_back()
    }

    /// Gives the half of this topic that came last, to check an announcement by what is kept with it, or to call it.
    pub(crate) fn half(&self, topic: &Topic) -> Option<(Ticket, &T)> {
        let ticket = self.newest(topic)?;
        Some((ticket, &self.halves.get(&ticket)?.kept))
    }

    /// Gives what is kept with the half of this ticket.
    pub(crate) fn of(&self, ticket: Ticket) -> Option<&T> {
        self.halves.get(&ticket).map(|half| &half.kept)
    }

    /// A half waits elsewhere: gives a half that has to do something about it, and what.
    pub(crate) fn heard(
        &mut self,
        topic: &Topic,
        other: &Elsewhere,
        now: Instant,
    ) -> Option<(T, Order)> {
        let ticket = self.newest(topic)?;
        let half = self.halves.get_mut(&ticket)?;
        let order = match self.own.cmp(&other.router) {
            // Its own voice.
            std::cmp::Ordering::Equal => return None,
            std::cmp::Ordering::Less if now < half.deaf_until => return None,
            std::cmp::Ordering::Less => Order::Call(other.clone()),
            std::cmp::Ordering::Greater => {
                let longest = PAUSES[PAUSES.len() - 1] * 3 / 2;
                let before = half.should_be_called;
                let first = match before {
                    Some(before) if now - before.last <= longest => before.first,
                    _ => now,
                };
                half.should_be_called = Some(Caller {
                    first,
                    last: now,
                    ticket: other.ticket,
                });
                if now - first < NOT_CALLED {
                    // Who has just begun to wait there has heard nothing yet.
                    let is_new = before.is_none_or(|before| before.ticket != other.ticket);
                    let earliest = half.last.filter(|_| !is_new).map(|last| last + LEAST);
                    self.announce_at(ticket, earliest.unwrap_or(now).max(now));
                    return None;
                }
                Order::Unreached
            }
        };
        Some((self.leaves(ticket)?, order))
    }

    fn announce_at(&mut self, ticket: Ticket, at: Instant) {
        if let Some(half) = self.halves.get_mut(&ticket)
            && at < half.due
        {
            self.due.remove(&(half.due, ticket));
            half.due = at;
            self.due.insert((at, ticket));
        }
    }

    /// The bus was away: what was announced meanwhile has not been heard. All are announced again, one after the other.
    pub(crate) fn announce_all(&mut self, pause: Duration, now: Instant) {
        let tickets: Vec<Ticket> = self.halves.keys().copied().collect();
        for (at, ticket) in (0..).map(|n| now + pause * n).zip(tickets) {
            if let Some(half) = self.halves.get_mut(&ticket) {
                half.announced = 0;
            }
            self.announce_at(ticket, at);
        }
    }

    /// Takes a half that is to be announced now, and says when it is next.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(Topic, Ticket, &T)> {
        let (at, ticket) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.remove(&(at, ticket));
        let half = self.halves.get_mut(&ticket)?;
        let pause = PAUSES[PAUSES.len().min(half.announced as usize + 1) - 1];
        // From 80 to 120 %, so that halves that came together are not announced together for ever.
        let spread = u32::from(ticket.0[half.announced as usize % 16]);
        half.due = now + pause * (800 + spread * 400 / 255) / 1_000;
        half.announced += 1;
        half.last = Some(now);
        self.due.insert((half.due, ticket));
        Some((half.topic, ticket, &half.kept))
    }

    /// When the next half is to be announced.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Debug for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0[..6])
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0[..6])
    }
}

/// Not its bytes: whoever has them may have the half.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0[..3])
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0[..6])
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod together;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LOW: RouterId = RouterId([1; 16]);
    const HIGH: RouterId = RouterId([2; 16]);
    const TOPIC: Topic = Topic([7; 32]);
    const OWN: Ticket = Ticket([8; 16]);

    fn at(router: RouterId, ticket: u8) -> Elsewhere {
        Elsewhere {
            router,
            ticket: Ticket([ticket; 16]),
            address: "router:8084".to_owned(),
            certificate: [9; 32],
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn one(own: RouterId, now: Instant) -> Meet<&'static str> {
        let mut meet = Meet::new(own);
        meet.waits(TOPIC, OWN, 0, "half", now);
        meet
    }

    #[test]
    fn the_lower_calls_and_waits_no_more() {
        let now = Instant::now();
        let mut meet = one(LOW, now);
        let order = meet.heard(&TOPIC, &at(HIGH, 3), now);
        assert_eq!(order, Some(("half", Order::Call(at(HIGH, 3)))));
        assert_eq!(meet.leaves(OWN), None, "it can no more be called");
        assert_eq!((meet.halves.len(), meet.next_due()), (0, None));
        assert_eq!(meet.heard(&TOPIC, &at(HIGH, 3), now), None, "heard twice");
    }

    #[test]
    fn the_higher_announces_at_once_and_is_called() {
        let now = Instant::now();
        let mut meet = one(HIGH, now);
        assert!(meet.take_due(now).is_some());
        assert_eq!(meet.heard(&TOPIC, &at(LOW, 3), now + ms(2)), None);
        assert_eq!(meet.next_due(), Some(now + ms(2)), "at once");
        assert!(meet.take_due(now + ms(2)).is_some());
        assert_eq!(meet.heard(&TOPIC, &at(LOW, 3), now + ms(3)), None);
        assert_eq!(meet.next_due(), Some(now + ms(2) + LEAST), "not more often");
        assert_eq!(meet.leaves(OWN), Some("half"));
        assert_eq!(meet.leaves(OWN), None, "a ticket is good once");
    }

    #[test]
    fn pauses_grow_and_end_nowhere() {
        let start = Instant::now();
        let mut meet = one(LOW, start);
        let mut now = start;
        for pause in [0, 100, 400, 1_600, 5_000, 5_000, 5_000] {
            let due = meet.next_due().unwrap();
            let range = now + ms(pause * 8 / 10)..=now + ms(pause * 12 / 10);
            assert!(range.contains(&due), "{pause}: {:?}", due - now);
            assert!(meet.take_due(due).is_some());
            now = due;
        }
    }

    #[test]
    fn after_the_bus_was_away_all_are_announced_again() {
        let start = Instant::now();
        let mut meet = one(LOW, start);
        for _ in 0..6 {
            let due = meet.next_due().unwrap();
            meet.take_due(due);
        }
        meet.waits(Topic([1; 32]), Ticket([1; 16]), 0, "other", start);
        meet.take_due(start);
        meet.announce_all(ms(1), start);
        assert!(meet.take_due(start + ms(1)).is_some());
        assert!(meet.take_due(start + ms(1)).is_some());
        assert!(meet.take_due(start + ms(1)).is_none());
    }

    #[test]
    fn a_newer_half_comes_before_one_that_may_have_met() {
        let now = Instant::now();
        let mut meet = one(LOW, now);
        meet.waits(TOPIC, Ticket([5; 16]), 0, "newer", now);
        assert_eq!(meet.heard(&TOPIC, &at(LOW, 5), now), None, "its own voice");
        let order = meet.heard(&TOPIC, &at(HIGH, 3), now);
        assert_eq!(order, Some(("newer", Order::Call(at(HIGH, 3)))));
        let order = meet.heard(&TOPIC, &at(HIGH, 3), now);
        assert_eq!(order, Some(("half", Order::Call(at(HIGH, 3)))));
        assert_eq!((meet.halves.len(), meet.next_due()), (0, None));
        assert_eq!(meet.half(&TOPIC), None);
    }

    #[test]
    fn whose_calls_fail_is_deaf_for_longer_and_longer() {
        let now = Instant::now();
        for (times, deaf) in [(0, 0), (1, 20), (2, 40), (3, 80), (9, 1_000), (99, 1_000)] {
            let mut meet = Meet::new(LOW);
            meet.waits(TOPIC, OWN, times, (), now);
            if deaf > 0 {
                let early = now + ms(deaf - 1);
                assert_eq!(meet.heard(&TOPIC, &at(HIGH, 3), early), None, "{times}");
            }
            assert!(
                meet.heard(&TOPIC, &at(HIGH, 3), now + ms(deaf)).is_some(),
                "{times}"
            );
        }
    }

    #[test]
    fn who_is_never_called_is_told_so() {
        let start = Instant::now();
        let mut meet = one(HIGH, start);
        for second in 0..10 {
            let heard = meet.heard(&TOPIC, &at(LOW, 3), start + ms(1_000 * second));
            assert_eq!(heard, None);
        }
        // A pause: that half has met another.
        let later = start + Duration::from_secs(60);
        assert_eq!(meet.heard(&TOPIC, &at(LOW, 4), later), None);
        for second in [5, 9, 15] {
            assert_eq!(
                meet.heard(&TOPIC, &at(LOW, 4), later + ms(1_000 * second)),
                None
            );
        }
        let heard = meet.heard(&TOPIC, &at(LOW, 4), later + NOT_CALLED);
        assert_eq!(heard, Some(("half", Order::Unreached)));
    }
}
