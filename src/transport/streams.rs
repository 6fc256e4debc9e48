//! Keeps an entry for each stream now served, for those who may look at it or end it.

mod rates;

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use tokio::time::Instant;

use self::rates::Noted;
pub(crate) use self::rates::Rate;
use crate::transport::{counters::ConnectionCounters, limits::count::Counted};
use crate::{
    cluster::meet::RouterId,
    common::since_epoch,
    observe::names::{KnownNames, Names},
    splice::{control::Control, side::Totals},
};

/// A peer that took something in this time has not stalled.
pub(crate) const STALLED: Duration = Duration::from_millis(500);

/// All streams now served.
#[derive(Debug, Default)]
pub struct Streams {
    entries: DashMap<u64, Arc<StreamEntry>>,
    /// The number that was given last.
    last: AtomicU64,
    /// How fast all together are forwarded. Zero unless somebody samples.
    pub forwarded: Rate,
    /// What streams that have ended had received and sent since they were sampled last.
    left: [AtomicU64; 2],
    /// What the controller's side has told of streams.
    pub(crate) names: KnownNames,
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
            began: since_epoch(SystemTime::now()).as_millis() as u64,
            first: OnceLock::new(),
            other_router: OnceLock::new(),
            is_relay: AtomicBool::new(false),
            names: ArcSwapOption::empty(),
            counters,
            received: Rate::default(),
            sent: Rate::default(),
            noted: Noted::default(),
        });
        self.entries.insert(entry.id, entry.clone());
        // Names that come later find the entry.
        if let Some(names) = self.names.of(&entry.subject) {
            entry.names.store(Some(names));
        }
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

    /// Takes in the names of all streams with this subject, those that are still to come too; `None` takes them away.
    pub(crate) fn name(&self, subject: &str, names: Option<&Arc<Names>>) {
        self.names.tell(subject, names);
        self.for_each(|entry| {
            if *entry.subject == *subject {
                entry.names.store(names.cloned());
            }
        });
    }

    /// Keeps all rates up to date. Returns the bytes received from peers and handed to them since the last time. `forwarded`:
    /// what was passed on since the start.
    pub(crate) fn sample(&self, elapsed: Duration, forwarded: u64) -> (u64, u64) {
        self.forwarded.sample(forwarded, elapsed);
        let [mut received, mut sent] = [0, 1].map(|at| self.left[at].swap(0, Ordering::Relaxed));
        self.for_each(|entry| {
            let carried = entry.control.carried();
            let more_in = entry.received.sample(carried.bytes_in, elapsed);
            let more_out = entry.sent.sample(carried.bytes_out, elapsed);
            if !entry.is_relay.load(Ordering::Relaxed) {
                received += more_in;
                sent += more_out;
            }
        });
        (received, sent)
    }

    /// Counts what a stream has carried by its end, so that none of it is missing in the next sample.
    pub(crate) fn leave(&self, entry: &StreamEntry, totals: &Totals) {
        let received = entry.received.more(totals.bytes_in);
        let sent = entry.sent.more(totals.bytes_out);
        if !entry.is_relay.load(Ordering::Relaxed) {
            self.left[0].fetch_add(received, Ordering::Relaxed);
            self.left[1].fetch_add(sent, Ordering::Relaxed);
        }
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
    /// The same by the clock on the wall, milliseconds since the epoch.
    pub began: u64,
    /// Shared with its task.
    pub control: Arc<Control>,
    /// The number of the stream that waited for this one.
    first: OnceLock<u64>,
    /// Both streams that a pair that lies apart has here share it.
    other_router: OnceLock<Arc<OtherRouter>>,
    /// The other end is another router, where the peer is counted.
    is_relay: AtomicBool,
    /// Who takes part, if that was told.
    names: ArcSwapOption<Names>,
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

    /// As [`StreamEntry::router`], to be kept.
    pub(crate) fn router_shared(&self) -> Option<Arc<OtherRouter>> {
        self.router()?;
        self.other_router.get().cloned()
    }

    /// Notes that the other end is another router.
    pub(crate) fn set_relay(&self) {
        self.is_relay.store(true, Ordering::Relaxed);
    }

    /// Names who takes part, if that was told.
    pub(crate) fn names(&self) -> Option<Arc<Names>> {
        self.names.load_full()
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
    /// zero unless somebody samples.
    pub fn rates(&self) -> (u64, u64) {
        (self.received.per_second(), self.sent.per_second())
    }

    /// Tells how long the peer has left bytes waiting, if that is long enough to be called stalled.
    pub fn stalled(&self) -> Option<Duration> {
        self.control.stalled_for(STALLED)
    }
}
