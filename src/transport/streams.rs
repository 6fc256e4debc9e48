//! Keeps an entry for each stream now served, for those who may look at it or end it.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use tokio::time::Instant;

use crate::transport::{counters::ConnectionCounters, limits::count::Counted};
use crate::{cluster::meet::RouterId, observe::metrics::Metrics, splice::control::Control};

/// A peer that took something in this time has not stalled.
pub(crate) const STALLED: Duration = Duration::from_millis(500);

/// All streams now served.
#[derive(Debug, Default)]
pub struct Streams {
    entries: DashMap<u64, Arc<StreamEntry>>,
    /// The number that was given last.
    last: AtomicU64,
    /// How fast all together are forwarded. Zero unless [`sample`] runs.
    pub forwarded: Rate,
}

impl Streams {
    /// Makes a stream known until the permit is dropped.
    pub(crate) fn enter(
        self: &Arc<Self>,
        subject: Arc<str>,
        peer: IpAddr,
        certificate: Option<Arc<str>>,
        arrived: Instant,
        counters: Arc<ConnectionCounters>,
    ) -> EntryPermit {
        let counted = counters.streams.add();
        let entry = Arc::new(StreamEntry {
            id: self.last.fetch_add(1, Ordering::Relaxed) + 1,
            subject,
            peer,
            certificate,
            arrived,
            control: Arc::default(),
            first: OnceLock::new(),
            other_router: OnceLock::new(),
            counters,
            received: Rate::default(),
            sent: Rate::default(),
            noted: Noted::default(),
        });
        self.entries.insert(entry.id, entry.clone());
        EntryPermit {
            streams: self.clone(),
            entry,
            _counted: counted,
        }
    }

    /// Calls `see` for every stream now served. It must be quick: streams that come and go wait for it.
    pub fn for_each(&self, mut see: impl FnMut(&Arc<StreamEntry>)) {
        for entry in &self.entries {
            see(&entry);
        }
    }

    /// The streams of the pair of that number, or the one that waits alone. None if there is no such pair.
    pub fn of_pair(&self, pair: u64) -> Vec<Arc<StreamEntry>> {
        let entries = self.entries.iter().map(|entry| entry.clone());
        entries.filter(|entry| entry.pair() == pair).collect()
    }

    /// Counts the streams now served.
    pub fn count(&self) -> usize {
        self.entries.len()
    }
}

/// Keeps a stream's entry, and removes it when it is dropped.
#[derive(Debug)]
pub(crate) struct EntryPermit {
    streams: Arc<Streams>,
    pub(crate) entry: Arc<StreamEntry>,
    /// On its connection.
    _counted: Counted,
}

impl Drop for EntryPermit {
    fn drop(&mut self) {
        self.streams.entries.remove(&self.entry.id);
    }
}

/// Shows one stream: what is known of it from the start, and the handle that its task shares.
#[derive(Debug)]
pub struct StreamEntry {
    /// Its number, given in the order of arrival and never used again in this process.
    pub id: u64,
    /// The subject of its token.
    pub subject: Arc<str>,
    /// The peer's address.
    pub peer: IpAddr,
    /// The subject of the peer's certificate, if it has shown one.
    pub certificate: Option<Arc<str>>,
    /// When it arrived.
    pub arrived: Instant,
    /// Shared with its task.
    pub control: Arc<Control>,
    /// The number of the stream that waited for this one.
    first: OnceLock<u64>,
    /// Both streams that a pair that lies apart has here share it.
    other_router: OnceLock<Arc<OtherRouter>>,
    counters: Arc<ConnectionCounters>,
    received: Rate,
    sent: Rate,
    noted: Noted,
}

/// Names the router at which the other half of a pair is.
#[derive(Debug)]
pub(crate) struct OtherRouter {
    pub id: RouterId,
    /// host:port where this router has called it; of one that has called this router, its address alone.
    pub address: String,
}

/// What a stream has carried of late, of which half is forgotten at each look: what moved well for minutes is not taken for
/// one that stands because a besieged machine held it up for seconds. Only one thread looks, so all access is relaxed.
#[derive(Debug, Default)]
struct Noted {
    last: AtomicU64,
    lately: AtomicU64,
    /// When it was last seen to have carried more: milliseconds from its arrival.
    moved: AtomicU64,
}

impl Noted {
    fn note(&self, carried: u64, now: Duration) {
        let lately = self.lately(carried);
        self.lately.store(lately / 2, Ordering::Relaxed);
        if self.last.swap(carried, Ordering::Relaxed) != carried {
            self.moved.store(now.as_millis() as u64, Ordering::Relaxed);
        }
    }

    fn lately(&self, carried: u64) -> u64 {
        let since = carried.saturating_sub(self.last.load(Ordering::Relaxed));
        self.lately.load(Ordering::Relaxed).saturating_add(since)
    }

    fn quiet_for(&self, carried: u64, now: Duration) -> Duration {
        if carried != self.last.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        now.saturating_sub(Duration::from_millis(self.moved.load(Ordering::Relaxed)))
    }
}

/// Tells how fast a count of bytes grows. Only the sampler writes, so all access is relaxed.
#[derive(Debug, Default)]
pub struct Rate {
    seen: AtomicU64,
    per_second: AtomicU64,
}

impl Rate {
    fn sample(&self, count: u64, elapsed: Duration) {
        let more = count.saturating_sub(self.seen.swap(count, Ordering::Relaxed));
        let millis = elapsed.as_millis().max(1) as u64;
        let rate = more.saturating_mul(1000) / millis;
        self.per_second.store(rate, Ordering::Relaxed);
    }

    /// Returns bytes a second, over the last second.
    pub fn per_second(&self) -> u64 {
        self.per_second.load(Ordering::Relaxed)
    }
}

impl StreamEntry {
    /// Notes the number of the stream that waited for this one.
    pub(crate) fn set_first(&self, id: u64) {
        let _ = self.first.set(id);
    }

    /// Returns the number of its pair, which is that of the stream that came first; its own while it is alone.
    pub fn pair(&self) -> u64 {
        *self.first.get().unwrap_or(&self.id)
    }

    /// Notes that the other half of its pair is at another router, or waits there and cannot be had.
    pub(crate) fn set_other_router(&self, router: &Arc<OtherRouter>) {
        let _ = self.other_router.set(router.clone());
    }

    /// Names the router at which the other half of its pair is; `None` if it is here.
    pub(crate) fn other_router(&self) -> Option<&OtherRouter> {
        self.other_router.get().map(|router| &**router)
    }

    /// Names the router at the other end of this very stream, which is no peer then.
    pub(crate) fn router(&self) -> Option<&OtherRouter> {
        // The peer's own stream came first, as nothing waits for a router.
        self.first.get().and_then(|_| self.other_router())
    }

    /// Tells whether it is a stream of the connection with these counters.
    pub(crate) fn is_on(&self, counters: &Arc<ConnectionCounters>) -> bool {
        Arc::ptr_eq(&self.counters, counters)
    }

    /// Tells its connection from others.
    pub(crate) fn connection(&self) -> usize {
        Arc::as_ptr(&self.counters).addr()
    }

    /// Tells whether its connection is not read for want of memory.
    pub(crate) fn is_paused(&self) -> bool {
        self.counters.is_paused()
    }

    /// Notes what it has carried, for [`StreamEntry::lately`] and [`StreamEntry::quiet_for`]. To be called at even intervals.
    pub(crate) fn note(&self) {
        let carried = self.carried();
        self.noted.note(carried, self.arrived.elapsed());
    }

    /// Bytes that it has carried since the last interval, half of those of the one before, a quarter of those before that,
    /// and so on.
    pub(crate) fn lately(&self) -> u64 {
        self.noted.lately(self.carried())
    }

    /// Tells for how long it has carried nothing.
    pub(crate) fn quiet_for(&self) -> Duration {
        self.noted.quiet_for(self.carried(), self.arrived.elapsed())
    }

    fn carried(&self) -> u64 {
        let totals = self.control.carried();
        totals.bytes_in + totals.bytes_out
    }

    /// Returns what the peer may send before it is read, bytes.
    pub fn window(&self) -> u32 {
        self.counters.window()
    }

    /// Returns the bytes a second that were received from the peer and handed to its connection, over the last second;
    /// zero unless [`sample`] runs.
    pub fn rates(&self) -> (u64, u64) {
        (self.received.per_second(), self.sent.per_second())
    }

    /// Tells how long the peer has left bytes waiting, if that is long enough to be called stalled.
    pub fn stalled(&self) -> Option<Duration> {
        self.control.stalled_for(STALLED)
    }
}

/// Keeps the rates of all streams up to date, for as long as somebody may look at them.
pub(crate) async fn sample(streams: Arc<Streams>, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut last = ticks.tick().await;
    loop {
        let now = ticks.tick().await;
        let elapsed = now - last;
        last = now;
        let forwarded = metrics.forwarded_bytes.get();
        streams.forwarded.sample(forwarded, elapsed);
        streams.for_each(|entry| {
            let carried = entry.control.carried();
            entry.received.sample(carried.bytes_in, elapsed);
            entry.sent.sample(carried.bytes_out, elapsed);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_is_forgotten_by_and_by() {
        let noted = Noted::default();
        let second = Duration::from_secs;
        noted.note(5_000, second(1));
        assert_eq!(noted.lately(7_000), 4_500);
        assert_eq!(noted.quiet_for(7_000, second(2)), Duration::ZERO);
        noted.note(7_000, second(2));
        assert_eq!(noted.lately(7_000), 2_250);
        noted.note(7_000, second(3));
        assert_eq!(noted.lately(7_000), 1_125);
        assert_eq!(noted.quiet_for(7_000, second(5)), second(3));
        for time in 4..20 {
            noted.note(7_000, second(time));
        }
        assert_eq!(noted.lately(7_000), 0);
    }

    #[test]
    fn a_rate_is_what_came_in_the_time_between() {
        let rate = Rate::default();
        rate.sample(5_000, Duration::from_secs(1));
        assert_eq!(rate.per_second(), 5_000);
        rate.sample(6_000, Duration::from_millis(500));
        assert_eq!(rate.per_second(), 2_000);
        rate.sample(6_000, Duration::ZERO);
        assert_eq!(rate.per_second(), 0);
    }
}
