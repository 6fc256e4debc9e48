//! How fast a stream goes, and how it went of late.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// What a stream has carried of late, of which half is forgotten at each look: what moved well for minutes is not taken for
/// one that stands because a besieged machine held it up for seconds. Only one thread looks, so all access is relaxed.
#[derive(Debug, Default)]
pub(super) struct Noted {
    last: AtomicU64,
    lately: AtomicU64,
    /// When it was last seen to have carried more: milliseconds from its arrival.
    moved: AtomicU64,
}

impl Noted {
    pub(super) fn note(&self, carried: u64, now: Duration) {
        let lately = self.lately(carried);
        self.lately.store(lately / 2, Ordering::Relaxed);
        if self.last.swap(carried, Ordering::Relaxed) != carried {
            self.moved.store(now.as_millis() as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn lately(&self, carried: u64) -> u64 {
        let since = carried.saturating_sub(self.last.load(Ordering::Relaxed));
        self.lately.load(Ordering::Relaxed).saturating_add(since)
    }

    pub(super) fn quiet_for(&self, carried: u64, now: Duration) -> Duration {
        if carried != self.last.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        now.saturating_sub(Duration::from_millis(self.moved.load(Ordering::Relaxed)))
    }
}

/// Tells how fast a count of bytes grows. All access is relaxed: besides the sampler only the end of the stream writes.
#[derive(Debug, Default)]
pub struct Rate {
    seen: AtomicU64,
    per_second: AtomicU64,
}

impl Rate {
    /// Takes in the count, and returns by how much it has grown.
    pub(super) fn sample(&self, count: u64, elapsed: Duration) -> u64 {
        let more = self.more(count);
        let millis = elapsed.as_millis().max(1) as u64;
        let rate = more.saturating_mul(1000) / millis;
        self.per_second.store(rate, Ordering::Relaxed);
        more
    }

    /// Returns by how much the count has grown since it was taken in last; each byte is told once.
    pub(super) fn more(&self, count: u64) -> u64 {
        count.saturating_sub(self.seen.fetch_max(count, Ordering::Relaxed))
    }

    /// Returns bytes a second, over the last second.
    pub fn per_second(&self) -> u64 {
        self.per_second.load(Ordering::Relaxed)
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
        assert_eq!(rate.sample(6_000, Duration::from_millis(500)), 1_000);
        assert_eq!(rate.per_second(), 2_000);
        assert_eq!(rate.more(6_007), 7, "the end of the stream was first");
        assert_eq!(rate.sample(6_005, Duration::ZERO), 0);
        assert_eq!(rate.per_second(), 0);
    }
}
