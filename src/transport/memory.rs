//! What memory allows: how high it is, and one budget for all windows that have grown.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Shares of the limit, in percent: no more growth; no new streams; stalled pairs end, down to the share before.
///
/// What is reckoned is not all: while 4,500 pairs were being set up, 30 % more was resident. Nor is this enough for
/// every flood: 3,000 pairs at once with 32 KiB messages passed a limit of 512 MiB.
const NO_GROWTH: u64 = 50;
pub(super) const NO_STREAMS: u64 = 65;
const EVICT: u64 = 68;

/// How high memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    Normal,
    /// Windows do not grow.
    NoGrowth,
    /// And new streams are refused.
    NoStreams,
    /// And stalled pairs are ended.
    Evict,
}

impl Level {
    /// From the bytes in use and the limit.
    pub fn of(used: u64, limit: u64) -> Self {
        let share = |percent| limit / 100 * percent;
        match used {
            bytes if bytes >= share(EVICT) => Self::Evict,
            bytes if bytes >= share(NO_STREAMS) => Self::NoStreams,
            bytes if bytes >= share(NO_GROWTH) => Self::NoGrowth,
            _ => Self::Normal,
        }
    }

    pub(super) fn from_u8(value: u8) -> Self {
        [Self::Normal, Self::NoGrowth, Self::NoStreams, Self::Evict][usize::from(value.min(3))]
    }
}

/// Bytes that may be granted beyond the windows every stream starts with.
#[derive(Debug)]
pub struct Budget {
    limit: AtomicU64,
    granted: AtomicU64,
}

impl Budget {
    /// `limit` in bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicU64::new(limit),
            granted: AtomicU64::new(0),
        })
    }

    /// Changes the limit. What is granted beyond a lower one stays until it comes back.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes granted now.
    pub fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        self.granted
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |granted| {
                let sum = granted.checked_add(bytes)?;
                (sum <= limit).then_some(sum)
            })
            .is_ok()
    }

    fn give(&self, bytes: u64) {
        self.granted.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A part of the budget; given back on drop.
#[derive(Debug)]
pub struct Grant {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Grant {
    /// Nothing yet.
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Makes it `bytes`, more or less than before. False, and nothing changes, if the budget has not so much.
    pub fn resize(&mut self, bytes: u64) -> bool {
        if bytes > self.bytes {
            if !self.budget.take(bytes - self.bytes) {
                return false;
            }
        } else {
            self.budget.give(self.bytes - bytes);
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_rise_with_memory() {
        for (used, level) in [
            (0, Level::Normal),
            (499, Level::Normal),
            (500, Level::NoGrowth),
            (650, Level::NoStreams),
            (680, Level::Evict),
            (5_000, Level::Evict),
        ] {
            assert_eq!(Level::of(used, 1_000), level, "{used}");
            assert_eq!(Level::from_u8(level as u8), level);
        }
    }

    #[test]
    fn never_more_than_the_limit_and_all_comes_back() {
        let budget = Budget::new(100);
        let mut first = Grant::new(budget.clone());
        let mut second = Grant::new(budget.clone());
        assert!(first.resize(70));
        assert!(!second.resize(31));
        assert_eq!(budget.granted(), 70);
        assert!(first.resize(60));
        assert!(second.resize(40));
        drop(first);
        assert_eq!(budget.granted(), 40);
        budget.set_limit(30);
        assert!(!second.resize(41));
        assert!(second.resize(30));
        drop(second);
        assert_eq!(budget.granted(), 0);
    }
}
