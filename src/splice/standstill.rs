//! Since when one direction of a stream has stood still while the router keeps bytes for it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Who moves less than this part of what is kept for it stands still: a reader that takes a byte now and then keeps the
/// router's memory as one that takes none does. Of the 192 KiB that a direction keeps at most it is 24 KiB.
const PART: u64 = 8;

/// A standstill, seen by whoever looks. Lost updates of two who look at once are made good by the next look, so all
/// access is relaxed.
#[derive(Debug, Default)]
pub(crate) struct Standstill {
    /// Milliseconds plus one; 0 while nothing is kept.
    since: AtomicU64,
    /// What had moved then, bytes.
    moved: AtomicU64,
}

impl Standstill {
    /// How long it has stood still, if it does. `kept`: bytes kept now; `moved`: bytes that have moved so far; `now` is
    /// asked only if need be.
    pub(crate) fn look(
        &self,
        kept: u64,
        moved: u64,
        now: impl Fn() -> Duration,
    ) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed);
        if kept == 0 {
            // Mostly it is 0 already, and a load is cheaper.
            if since != 0 {
                self.end();
            }
            return None;
        }
        let now = now().as_millis() as u64 + 1;
        let more = moved.saturating_sub(self.moved.load(Ordering::Relaxed));
        if since == 0 || more > kept / PART {
            self.moved.store(moved, Ordering::Relaxed);
            self.since.store(now, Ordering::Relaxed);
            return Some(Duration::ZERO);
        }
        Some(Duration::from_millis(now.saturating_sub(since)))
    }

    /// Nothing is kept any more.
    pub(crate) fn end(&self) {
        self.since.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> impl Fn() -> Duration {
        move || Duration::from_secs(seconds)
    }

    #[test]
    fn who_takes_a_byte_now_and_then_stands_still() {
        let one = Standstill::default();
        assert_eq!(one.look(0, 0, at(1)), None);
        assert_eq!(one.look(8_000, 0, at(2)), Some(Duration::ZERO));
        for second in 3..1_000 {
            let stood = one.look(8_000, second, at(second));
            assert_eq!(stood, Some(Duration::from_secs(second - 2)));
        }
        assert_eq!(one.look(8_000, 1_001, at(1_000)), Some(Duration::ZERO));
    }

    #[test]
    fn it_ends_when_nothing_is_kept() {
        let one = Standstill::default();
        assert_eq!(one.look(1, 0, at(1)), Some(Duration::ZERO));
        assert_eq!(one.look(1, 0, at(5)), Some(Duration::from_secs(4)));
        assert_eq!(one.look(0, 1, at(6)), None);
        assert_eq!(one.look(1, 1, at(9)), Some(Duration::ZERO));
    }
}
