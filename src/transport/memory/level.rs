//! How much memory is in use, and who may take more.
//!
//! What is in use is counted, not reckoned: the live heap, whatever part of the program allocated it, and what the
//! system holds for the process beyond it, which [`resident`](crate::transport::memory::resident) measures. Connections look at it before
//! each read, so it is never passed by more than what the threads read at once.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use dashmap::DashMap;
use jumpstarter_router_system::heap;

use crate::splice::gauge::Gauge;
use crate::transport::wake_flag::WakeFlag;

/// Shares of the limit, in percent, at which the levels begin. What is left above the last is for what comes between two
/// looks: gaps between allocations that open as bytes take the place of connections, and the kernel's buffers. Measured
/// in docs/performance.md, "Memory under siege".
const SHARES: [(u64, Level); 4] = [
    (52, Level::NoGrowth),
    (60, Level::Evict),
    (69, Level::NoStreams),
    (75, Level::Full),
];

/// Streams that stand still are ended until so much is in use, in percent.
const RELIEVED: u64 = 57;

/// A connection that holds no more than this for others is not what fills the memory.
const LIGHT: u64 = 16 * 1024;

/// How high memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    Normal,
    /// Windows do not grow, and calls that need no token are refused.
    NoGrowth,
    /// In addition, streams that stand still are ended, connections without a stream are closed, and a connection that
    /// has a stream gets no other.
    Evict,
    /// In addition, new streams are refused, and connections that hold much are not read.
    NoStreams,
    /// In addition, only connections that hold nothing are read, a little at a time, and new ones are closed.
    Full,
}

impl Level {
    /// Names the level for the API and the admin page. For metrics it is its number.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::NoGrowth => "no_growth",
            Self::Evict => "evict",
            Self::NoStreams => "no_streams",
            Self::Full => "full",
        }
    }

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
    flag: Arc<WakeFlag>,
    paused: AtomicBool,
}

impl Reader {
    /// Whether the connection, whose streams hold `held` bytes, may be read at this level.
    pub fn reading(&self, level: Level, held: u64) -> Reading {
        let now = match level {
            Level::Full if held == 0 => Reading::Little,
            Level::Full => Reading::Later,
            Level::NoStreams if held > LIGHT => Reading::Later,
            _ => Reading::Free,
        };
        if now == Reading::Later {
            self.paused.store(true, Ordering::SeqCst);
        }
        now
    }
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
    /// Nothing until its flag is set.
    Later,
}

/// What the process uses and may use.
#[derive(Debug)]
pub struct Memory {
    limit: AtomicU64,
    heap: fn() -> u64,
    beyond: AtomicU64,
    lanes: Arc<Gauge>,
    readers: DashMap<u64, Weak<Reader>>,
    next: AtomicU64,
}

impl Default for Memory {
    /// Without a limit.
    fn default() -> Self {
        Self::of_heap(heap::live)
    }
}

impl Memory {
    /// Without a limit. `heap` says how much is allocated now.
    pub(in crate::transport) fn of_heap(heap: fn() -> u64) -> Self {
        Self {
            limit: AtomicU64::new(u64::MAX),
            heap,
            beyond: AtomicU64::new(0),
            lanes: Arc::default(),
            readers: DashMap::new(),
            next: AtomicU64::new(0),
        }
    }

    /// Bytes allocated now; 0 in a program that does not count them, where all that is resident is beyond.
    pub fn heap(&self) -> u64 {
        (self.heap)()
    }

    /// What the system holds for the process beyond the live heap, bytes.
    pub fn set_beyond(&self, bytes: u64) {
        self.beyond.store(bytes, Ordering::Relaxed);
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
        self.heap() + self.beyond.load(Ordering::Relaxed)
    }

    /// How high it is.
    pub fn level(&self) -> Level {
        match self.limit.load(Ordering::Relaxed) {
            u64::MAX => Level::Normal,
            limit => Level::of(self.used(), limit),
        }
    }

    /// How much should be freed.
    pub fn excess(&self) -> u64 {
        let limit = self.limit.load(Ordering::Relaxed);
        self.used().saturating_sub(limit / 100 * RELIEVED)
    }

    /// A new connection; `flag` is set when it should ask again whether it may read.
    pub fn reader(self: &Arc<Self>, flag: Arc<WakeFlag>) -> Arc<Reader> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let reader = Arc::new(Reader {
            memory: self.clone(),
            id,
            flag,
            paused: AtomicBool::new(false),
        });
        self.readers.insert(id, Arc::downgrade(&reader));
        reader
    }

    /// Wakes all who wait to read. To be called again and again.
    pub fn wake_paused(&self) {
        self.wake(|reader| reader.paused.swap(false, Ordering::SeqCst));
    }

    /// Wakes all connections: those without streams close when memory is short.
    pub fn wake_all(&self) {
        self.wake(|_| true);
    }

    fn wake(&self, who: impl Fn(&Reader) -> bool) {
        // Not dropped in between: if the connection has gone meanwhile, this was the last to hold it, and to drop it
        // takes it out of the map that is locked here.
        let readers: Vec<_> = self.readers.iter().filter_map(|it| it.upgrade()).collect();
        for reader in readers.iter().filter(|reader| who(reader)) {
            reader.flag.set();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The connection may go at any moment. This used to lock the map twice, for good.
    #[test]
    fn a_reader_may_go_while_it_is_woken() {
        let memory = Arc::new(Memory::default());
        let reader = std::sync::Mutex::new(Some(memory.reader(WakeFlag::new())));
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
    fn every_level_is_explained() {
        let page = include_str!("../../../docs/metrics.md");
        let mut lines = page.lines();
        let row = lines.find(|line| line.contains("`jumpstarter_router_memory_pressure`"));
        let row = row.unwrap_or_default();
        let metrics = crate::observe::metrics::Metrics::new(&[], &[]).encode();
        let mut lines = metrics.lines();
        let help =
            lines.find(|line| line.starts_with("# HELP jumpstarter_router_memory_pressure "));
        let help = help.unwrap_or_default();
        let mut levels: Vec<_> = (0..=100).map(|used| Level::of(used, 100)).collect();
        levels.dedup();
        for (number, level) in levels.iter().enumerate() {
            assert_eq!(number, *level as usize);
            for text in [row, help] {
                assert!(text.contains(&format!(" {number} ")), "{level:?}: {text}");
            }
        }
        assert!(!help.contains(&format!(" {} ", levels.len())), "{help}");
    }

    #[test]
    fn levels_rise_with_memory() {
        let mut before = Level::Normal;
        for (percent, level) in SHARES {
            assert_eq!(Level::of(percent * 10 - 1, 1_000), before, "{percent}");
            assert_eq!(Level::of(percent * 10, 1_000), level, "{percent}");
            before = level;
        }
        assert_eq!(Level::of(5_000, 1_000), Level::Full);
        assert_eq!(Memory::default().level(), Level::Normal, "no limit");
    }

    #[test]
    fn what_holds_much_waits_first() {
        let memory = Arc::new(Memory::of_heap(|| 100_000));
        let flag = WakeFlag::new();
        flag.take();
        let reader = memory.reader(flag.clone());
        let reading = |held| reader.reading(memory.level(), held);
        memory.set_beyond(900_000);
        assert_eq!(reading(1 << 20), Reading::Free, "no limit");
        memory.set_limit(Some(1_000_000));
        memory.set_beyond(520_000);
        assert_eq!(memory.level(), Level::Evict);
        assert_eq!(memory.excess(), 50_000);
        assert_eq!(reading(1 << 20), Reading::Free);
        memory.set_beyond(610_000);
        memory.wake_paused();
        assert!(!flag.is_set(), "it does not wait");
        assert_eq!(reading(1 << 20), Reading::Later);
        assert_eq!(reading(LIGHT), Reading::Free);
        memory.set_beyond(660_000);
        assert_eq!(reading(1), Reading::Later);
        assert_eq!(reading(0), Reading::Little);
        memory.wake_paused();
        assert!(flag.take());
        memory.wake_paused();
        assert!(!flag.is_set(), "woken once");
        assert_eq!(reading(1), Reading::Later);
        memory.set_limit(None);
        assert!(flag.take(), "the limit is gone");
        assert_eq!(reading(1), Reading::Free);
        drop(reader);
        assert!(memory.readers.is_empty());
    }
}
