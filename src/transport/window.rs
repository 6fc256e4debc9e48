//! Grows a connection's flow-control window to the bandwidth-delay product of its path.
//!
//! A fixed window is either slow (256 KiB over a round trip of 50 ms is 5 MB/s) or a hole in the memory. So it starts
//! small; while bytes pass, a PING measures how many do in one round trip. If they came near to filling the
//! window, the window was what held them up, and it doubles what was seen. Idle windows shrink again.
//!
//! Pure: no sockets, no clock.

use std::time::Duration;

use tokio::time::Instant;

/// The first PINGs of a busy connection are this far apart; each that finds nothing to grow doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// And at most this far.
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// A connection that moves less than its starting window in this time needs no more than that.
const QUIET: Duration = Duration::from_secs(30);

/// What to do with the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Keep,
    /// Ask for this many bytes instead.
    Grow(u32),
    /// Go back to this many.
    Shrink(u32),
}

/// Follows one connection.
#[derive(Debug)]
pub struct Growth {
    start: u32,
    max: u32,
    window: u32,
    pause: Duration,
    next: Instant,
    /// Bytes passed on when the PING was sent.
    pinged_at: Option<u64>,
    /// Bytes passed on and the time at the last look.
    seen: (u64, Instant),
}

impl Growth {
    /// From `start` to `max` bytes.
    pub fn new(start: u32, max: u32, now: Instant) -> Self {
        Self {
            start,
            max: max.max(start),
            window: start,
            pause: FIRST_PAUSE,
            next: now,
            pinged_at: None,
            seen: (0, now),
        }
    }

    /// The window it started with.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// The window now.
    pub fn window(&self) -> u32 {
        self.window
    }

    /// Whether enough has passed since the last look to be worth the time. `passed`: bytes so far that arrived and
    /// were passed on.
    pub fn is_busy(&self, passed: u64) -> bool {
        self.window < self.max
            && self.pinged_at.is_none()
            && passed - self.seen.0 >= u64::from(self.window / 4)
    }

    /// The connection is busy: whether to send a PING now.
    pub fn should_ping(&mut self, passed: u64, now: Instant) -> bool {
        self.seen = (passed, now);
        if now < self.next {
            return false;
        }
        self.pinged_at = Some(passed);
        true
    }

    /// The PING's answer has come.
    pub fn ponged(&mut self, passed: u64, now: Instant) -> Change {
        let Some(before) = self.pinged_at.take() else {
            return Change::Keep;
        };
        let sample = passed - before;
        // As grpc-go: two thirds of the window in one round trip means that the window is the limit.
        let want = (sample * 2).min(u64::from(self.max)) as u32;
        if sample * 3 >= u64::from(self.window) * 2 && want > self.window {
            self.pause = FIRST_PAUSE;
            self.next = now;
            return Change::Grow(want);
        }
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        Change::Keep
    }

    /// The change was made.
    pub fn changed(&mut self, window: u32) {
        self.window = window;
    }

    /// When to look for quiet; only a grown window has to.
    pub fn look_at(&self) -> Option<Instant> {
        (self.window > self.start).then(|| self.seen.1 + QUIET)
    }

    /// The time to look has come.
    pub fn look(&mut self, passed: u64, now: Instant) -> Change {
        let moved = passed - self.seen.0;
        self.seen = (passed, now);
        if self.window > self.start && moved < u64::from(self.start) {
            self.pinged_at = None;
            self.pause = FIRST_PAUSE;
            return Change::Shrink(self.start);
        }
        Change::Keep
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_sign_loss)] // rates are positive
    use super::*;

    const START: u32 = 128 * 1024;
    const MAX: u32 = 16 * 1024 * 1024;

    /// A sender that always fills the window, over a path with this round trip and this many bytes a second.
    fn settle(rtt: Duration, bandwidth: f64) -> u32 {
        let mut now = Instant::now();
        let mut growth = Growth::new(START, MAX, now);
        let mut passed = 0;
        for _ in 0..2_000 {
            let rate = (f64::from(growth.window()) / rtt.as_secs_f64()).min(bandwidth);
            let step = |time: Duration| (rate * time.as_secs_f64()) as u64;
            now += Duration::from_millis(5);
            passed += step(Duration::from_millis(5));
            if growth.is_busy(passed) && growth.should_ping(passed, now) {
                now += rtt;
                passed += step(rtt);
                if let Change::Grow(window) = growth.ponged(passed, now) {
                    growth.changed(window);
                }
            }
        }
        growth.window()
    }

    #[test]
    fn a_long_fast_path_gets_a_large_window() {
        let window = settle(Duration::from_millis(50), 100e6);
        let product = 100e6 * 0.05;
        assert!(f64::from(window) >= product, "{window}");
        assert!(f64::from(window) <= product * 3.1, "{window}");
    }

    #[test]
    fn a_short_path_keeps_the_small_one() {
        assert_eq!(settle(Duration::from_micros(200), 300e6), START);
    }

    #[test]
    fn never_past_the_maximum() {
        assert_eq!(settle(Duration::from_millis(500), 1e9), MAX);
    }

    #[test]
    fn quiet_gives_it_back() {
        let now = Instant::now();
        let mut growth = Growth::new(START, MAX, now);
        assert_eq!(growth.look_at(), None);
        growth.changed(MAX);
        assert_eq!(growth.look_at(), Some(now + QUIET));
        assert_eq!(
            growth.look(u64::from(START), now + QUIET),
            Change::Keep,
            "it moved"
        );
        assert_eq!(
            growth.look(u64::from(START) + 1, now + QUIET * 2),
            Change::Shrink(START)
        );
    }
}
