//! How much memory is in use, and who may take more.
//!
//! What is in use is reckoned, not asked of the system: an allocator keeps what was freed for the next need, so
//! resident memory stays high after a flood, and would have everything refused for ever. The reckoning is what the
//! process needed at its start, what each connection says of itself, and what the lanes hold. Connections look at it
//! before each read, so it is never passed by more than what the threads read at once.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use dashmap::DashMap;

use super::doorbell::Doorbell;
use crate::splice::gauge::Gauge;

/// Shares of the limit, in percent, at which the levels begin. What is left above the last is for what cannot be
/// reckoned: the gaps between allocations, which are large when many connections go and bytes take their place, and the
/// memory of the kernel's sockets. With 5,000 pairs that flood at once up to a quarter more was resident than was ever
/// reckoned: docs/performance.md, "Memory under siege".
const SHARES: [(u64, Level); 4] = [
    (48, Level::NoGrowth),
    (57, Level::NoStreams),
    (61, Level::Evict),
    (65, Level::Full),
];

/// Stalled pairs are ended until so much is in use, in percent.
const RELIEVED: u64 = 56;

/// What a byte in a lane needs at least, in eighths: chunks keep the blocks they were read into, and blocks of joined
/// small messages have room at their end. Live heap of stalled pairs: 1.03 bytes for messages of 32 KiB, 1.18 for 100.
/// Frames that do not fill a block need more: [`allowance`](super::allowance).
const HELD_EIGHTHS: u64 = 10;

/// A connection that holds no more than this for others is not what fills the memory.
const LIGHT: u64 = 16 * 1024;

/// What an open connection with one stream needs: measured with 1,000 idle pairs (`load --workload idle`).
pub const CONNECTION: u64 = if cfg!(debug_assertions) { 64 } else { 44 } * 1024;

/// How high memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    Normal,
    /// Windows do not grow.
    NoGrowth,
    /// And new streams are refused.
    NoStreams,
    /// And stalled pairs are ended, connections that hold much are not read, and new ones are closed.
    Evict,
    /// And only connections that hold nothing are read, a little at a time.
    Full,
}

impl Level {
    /// From the bytes in use and the limit.
    pub fn of(used: u64, limit: u64) -> Self {
        let reached = |&&(percent, _): &&(u64, Self)| used >= limit / 100 * percent;
        let highest = SHARES.iter().rev().find(reached);
        highest.map_or(Self::Normal, |(_, level)| *level)
    }
}

/// One connection, as the others see it.
#[derive(Debug)]
pub struct Reader {
    memory: Arc<Memory>,
    id: u64,
    bell: Arc<Doorbell>,
    paused: AtomicBool,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.memory.readers.remove(&self.id);
    }
}

/// How much a connection may read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As it likes.
    Free,
    /// Very little.
    Little,
    /// Nothing until its bell rings.
    Later,
}

/// What the process uses and may use.
#[derive(Debug)]
pub struct Memory {
    limit: AtomicU64,
    base: AtomicU64,
    lanes: Arc<Gauge>,
    connections: AtomicU64,
    readers: DashMap<u64, Weak<Reader>>,
    next: AtomicU64,
}

impl Default for Memory {
    /// Without a limit.
    fn default() -> Self {
        Self {
            limit: AtomicU64::new(u64::MAX),
            base: AtomicU64::new(0),
            lanes: Arc::default(),
            connections: AtomicU64::new(0),
            readers: DashMap::new(),
            next: AtomicU64::new(0),
        }
    }
}

impl Memory {
    /// What the process needs without any connection, bytes.
    pub fn set_base(&self, base: u64) {
        self.base.store(base, Ordering::Relaxed);
    }

    /// Sets the limit, bytes; `None` takes it away.
    pub fn set_limit(&self, limit: Option<u64>) {
        let limit = limit.unwrap_or(u64::MAX);
        self.limit.store(limit, Ordering::Relaxed);
        // With a higher limit they may read again.
        self.wake_paused();
    }

    /// Bytes that may be in use, if that is limited.
    pub fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit != u64::MAX)
    }

    /// What all lanes hold; new ones join it.
    pub fn lanes(&self) -> &Arc<Gauge> {
        &self.lanes
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.base.load(Ordering::Relaxed)
            + self.connections.load(Ordering::Relaxed)
            + Self::needed_for(self.lanes.bytes())
    }

    /// What so many bytes in lanes need.
    pub fn needed_for(held: u64) -> u64 {
        held * HELD_EIGHTHS / 8
    }

    /// How high it is.
    pub fn level(&self) -> Level {
        Level::of(self.used(), self.limit.load(Ordering::Relaxed))
    }

    /// How much should be freed.
    pub fn excess(&self) -> u64 {
        let limit = self.limit.load(Ordering::Relaxed);
        self.used().saturating_sub(limit / 100 * RELIEVED)
    }

    /// A new connection; `bell` is rung when it should ask again whether it may read.
    pub fn reader(self: &Arc<Self>, bell: Arc<Doorbell>) -> Arc<Reader> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let reader = Arc::new(Reader {
            memory: self.clone(),
            id,
            bell,
            paused: AtomicBool::new(false),
        });
        self.readers.insert(id, Arc::downgrade(&reader));
        reader
    }

    /// Whether a connection whose streams hold `held` bytes may be read now.
    pub fn reading(&self, held: u64, reader: &Reader) -> Reading {
        if self.limit().is_none() {
            return Reading::Free;
        }
        let now = self.reading_at(held);
        if now == Reading::Later {
            reader.paused.store(true, Ordering::SeqCst);
        }
        now
    }

    fn reading_at(&self, held: u64) -> Reading {
        match self.level() {
            Level::Full if held == 0 => Reading::Little,
            Level::Full => Reading::Later,
            Level::Evict if held > LIGHT => Reading::Later,
            _ => Reading::Free,
        }
    }

    /// Rings for all who wait to read. To be called again and again.
    pub fn wake_paused(&self) {
        self.wake(|reader| reader.paused.swap(false, Ordering::SeqCst));
    }

    /// Rings for all connections: those without streams close when memory is short.
    pub fn wake_all(&self) {
        self.wake(|_| true);
    }

    fn wake(&self, who: impl Fn(&Reader) -> bool) {
        // Not dropped in between: if the connection has gone meanwhile, this was the last to hold it, and to drop it
        // takes it out of the map that is locked here.
        let readers: Vec<_> = self.readers.iter().filter_map(|it| it.upgrade()).collect();
        for reader in readers.iter().filter(|reader| who(reader)) {
            reader.bell.ring();
        }
    }
}

/// What one connection needs besides its lanes; given back on drop.
#[derive(Debug)]
pub struct Share {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Share {
    /// Nothing yet.
    pub fn new(memory: Arc<Memory>) -> Self {
        Self { memory, bytes: 0 }
    }

    /// It needs `bytes`.
    pub fn set(&mut self, bytes: u64) {
        if bytes != self.bytes {
            // Two's complement: adding a negative difference takes it off.
            let difference = bytes.wrapping_sub(self.bytes);
            self.memory
                .connections
                .fetch_add(difference, Ordering::Relaxed);
            self.bytes = bytes;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The connection may go at any moment. This used to lock the map twice, for good.
    #[test]
    fn a_reader_may_go_while_it_is_woken() {
        let memory = Arc::new(Memory::default());
        let reader = std::sync::Mutex::new(Some(memory.reader(Doorbell::new())));
        let (done, over) = std::sync::mpsc::channel();
        let readers = memory.clone();
        std::thread::spawn(move || {
            readers.wake(|_| {
                reader
                    .lock()
                    .is_ok_and(|mut reader| reader.take().is_some())
            });
            let _ = done.send(());
        });
        let over = over.recv_timeout(std::time::Duration::from_secs(10));
        assert!(over.is_ok(), "it waits for itself");
        assert!(memory.readers.is_empty());
    }

    #[test]
    fn levels_rise_with_memory() {
        for (used, level) in [
            (0, Level::Normal),
            (479, Level::Normal),
            (480, Level::NoGrowth),
            (570, Level::NoStreams),
            (610, Level::Evict),
            (650, Level::Full),
            (5_000, Level::Full),
        ] {
            assert_eq!(Level::of(used, 1_000), level, "{used}");
        }
        assert_eq!(Level::of(1 << 40, u64::MAX), Level::Normal, "no limit");
    }

    #[test]
    fn what_holds_much_waits_first() {
        let memory = Arc::new(Memory::default());
        let bell = Doorbell::new();
        bell.answer();
        let reader = memory.reader(bell.clone());
        let mut share = Share::new(memory.clone());
        share.set(700_000);
        assert_eq!(memory.reading(1 << 20, &reader), Reading::Free, "no limit");
        memory.set_base(100_000);
        memory.set_limit(Some(1_000_000));
        share.set(470_000);
        assert_eq!(memory.reading(1 << 20, &reader), Reading::Free, "57 %");
        share.set(510_000);
        memory.wake_paused();
        assert!(!bell.is_rung(), "it does not wait");
        assert_eq!(memory.reading(1 << 20, &reader), Reading::Later, "61 %");
        assert_eq!(memory.reading(LIGHT, &reader), Reading::Free);
        assert_eq!(memory.excess(), 50_000);
        share.set(550_000);
        assert_eq!(memory.reading(1, &reader), Reading::Later, "65 %");
        assert_eq!(memory.reading(0, &reader), Reading::Little);
        memory.wake_paused();
        assert!(bell.answer());
        memory.wake_paused();
        assert!(!bell.is_rung(), "rung once");
        assert_eq!(memory.reading(1, &reader), Reading::Later);
        memory.set_limit(None);
        assert!(bell.answer(), "the limit is gone");
        assert_eq!(memory.reading(1, &reader), Reading::Free);
        drop(share);
        assert_eq!(memory.used(), 100_000);
        drop(reader);
        assert!(memory.readers.is_empty());
    }

    #[test]
    fn lanes_count() {
        let memory = Memory::default();
        let part = crate::splice::gauge::Part::new(memory.lanes().clone());
        part.add(64 * 1024);
        assert_eq!(memory.used(), 80 * 1024);
    }
}
