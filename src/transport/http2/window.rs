//! Grows a connection's flow-control window to the bandwidth-delay product of its path.
//!
//! A fixed window is either slow (256 KiB over a round trip of 50 ms is 5 MB/s) or a hole in the memory. So it starts
//! small; while bytes pass, a PING measures how many do in one round trip. If they were a good part of the window,
//! the window may be what held them up, and it grows to twice what was seen. Idle windows shrink again.
//!
//! Growth is earned by a path. A PING's answer is late, too, when either end's processor is busy, as at the start of many
//! streams at once; the kernel's own shortest round trip is not. But behind a proxy the kernel knows only the way to the
//! proxy. So the kernel is believed at first, and a longer path only once several answers alike prove it.
//!
//! Two doublings are earned by work alone, by whoever has moved twelve and a hundred first windows. On a path without length
//! they let a busy machine do more at each turn: with the first, 1,000 bulk pairs cost a third less CPU, floods of 1000 B a
//! fifth; with the second, floods of 64 B are a tenth faster.
//!
//! Pure: no sockets, no clock.
#![allow(clippy::cast_sign_loss)] // sizes and times are positive

use std::time::Duration;

use tokio::time::Instant;

/// The first PINGs of a busy connection are this far apart; each that finds nothing to grow doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The PINGs of a busy connection are at most this far apart.
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// So many answers that took about as long as the shortest show that a path is longer than the kernel says, or so many
/// in all. A path always takes as long; of a machine whose processors are all taken, each answer takes another time.
const PROOF: (u32, u32) = (5, 16);

/// So many windows make steady work, and how many times the first window it earns: 1.5 and 12.5 MiB earn 256 and 512 KiB.
const STEADY: [(u64, u64); 2] = [(12, 2), (100, 4)];

/// A connection that moves less than its starting window in this time needs no more than that.
const QUIET: Duration = Duration::from_secs(30);

/// [`QUIET`] is this short when others need what the connection has.
const QUIET_IN_NEED: Duration = Duration::from_secs(2);

/// Says what to do with the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It stays as it is.
    Keep,
    /// It should grow to this many bytes.
    Grow(u32),
    /// It should go back to this many bytes.
    Shrink(u32),
}

/// Follows one connection, and says how large its window should be.
#[derive(Debug)]
pub(crate) struct Growth {
    start: u32,
    max: u32,
    window: u32,
    pause: Duration,
    next: Instant,
    /// Bytes passed on before the PING, and when it was sent.
    pinged_at: Option<(u64, Instant)>,
    /// The shortest round trip so far: the path's own, without what queues at its ends.
    shortest: Duration,
    /// Answers so far.
    answers: u32,
    /// Of these, those since the shortest that took about as long.
    alike: u32,
    /// Bytes passed on and the time when it was last seen busy.
    seen: (u64, Instant),
    looked: Instant,
}

impl Growth {
    /// Keeps the window between `start` and `max` bytes.
    pub(crate) fn new(start: u32, max: u32, now: Instant) -> Self {
        Self {
            start,
            max: max.max(start),
            window: start,
            pause: FIRST_PAUSE,
            next: now,
            pinged_at: None,
            shortest: Duration::MAX,
            answers: 0,
            alike: 0,
            seen: (0, now),
            looked: now,
        }
    }

    /// Returns the window it started with, bytes.
    pub(crate) fn start(&self) -> u32 {
        self.start
    }

    /// Returns the window now, bytes.
    pub(crate) fn window(&self) -> u32 {
        self.window
    }

    /// Whether enough has passed since the last look to be worth the time. `passed`: bytes so far that arrived and
    /// were passed on.
    pub(crate) fn is_busy(&self, passed: u64) -> bool {
        self.window < self.max
            && self.pinged_at.is_none()
            && passed - self.seen.0 >= u64::from(self.window / 4)
    }

    /// The connection is busy: whether to send a PING now.
    pub(crate) fn should_ping(&mut self, passed: u64, now: Instant) -> bool {
        // The burst that made it busy counts: on a long path one burst is all that comes in a round trip, and the
        // PING's answer arrives just before the next.
        let before = std::mem::replace(&mut self.seen, (passed, now)).0;
        if now < self.next {
            return false;
        }
        self.pinged_at = Some((before, now));
        true
    }

    /// Takes the sample of a PING whose answer has come. `kernel`: the shortest round trip that the kernel knows of.
    pub(crate) fn ponged(&mut self, passed: u64, now: Instant, kernel: Option<Duration>) -> Change {
        let Some((before, sent)) = self.pinged_at.take() else {
            return Change::Keep;
        };
        let trip = now.duration_since(sent).max(Duration::from_micros(1));
        self.answers = self.answers.saturating_add(1);
        if self.shortest == Duration::MAX || trip * 5 < self.shortest * 4 {
            self.alike = 1;
        } else if trip * 4 <= self.shortest * 5 {
            self.alike += 1;
        }
        self.shortest = self.shortest.min(trip);
        let proven = self.alike >= PROOF.0 || self.answers >= PROOF.1;
        let path = match kernel {
            Some(kernel) if !proven => self.shortest.min(kernel),
            _ => self.shortest,
        };
        // A busy machine answers late, and more passes meanwhile; that is no reason to let more queue.
        let sample = ((passed - before) as f64 * path.as_secs_f64() / trip.as_secs_f64()) as u64;
        // A third of the window in one round trip means that the window may be the limit: of a window that two
        // messages just do not fit, only one passes.
        let window = u64::from(self.window);
        let start = u64::from(self.start);
        let mut want = 0;
        if sample * 3 >= window {
            want = (sample * 2).max(window * 3 / 2);
        }
        for (windows, times) in STEADY {
            if passed >= windows * start {
                want = want.max(times * start);
            }
        }
        let want = want.min(u64::from(self.max)) as u32;
        if want > self.window {
            self.pause = FIRST_PAUSE;
            self.next = now;
            return Change::Grow(want);
        }
        self.next = now + self.pause;
        // A path that may be longer than the kernel says is looked at again soon.
        if proven || path * 2 >= self.shortest {
            self.pause = (self.pause * 2).min(LAST_PAUSE);
        }
        Change::Keep
    }

    /// Tells that the change was made.
    pub(crate) fn changed(&mut self, window: u32) {
        self.window = window;
    }

    /// Says when to look for quiet; only a grown window has to.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        (self.window > self.start).then(|| self.looked.max(self.seen.1) + QUIET_IN_NEED)
    }

    /// Looks for quiet, as the time has come. `need`: others want what this connection has been given.
    pub(crate) fn look(&mut self, passed: u64, now: Instant, need: bool) -> Change {
        self.looked = now;
        if passed - self.seen.0 >= u64::from(self.start) {
            self.seen = (passed, now);
        }
        let quiet = if need { QUIET_IN_NEED } else { QUIET };
        if self.window > self.start && now - self.seen.1 >= quiet {
            self.seen = (passed, now);
            self.pinged_at = None;
            self.pause = FIRST_PAUSE;
            return Change::Shrink(self.start);
        }
        Change::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u32 = 128 * 1024;
    const MAX: u32 = 16 * 1024 * 1024;

    /// A sender that always fills the window, over a path with this round trip and this many bytes a second.
    fn settle(rtt: Duration, bandwidth: f64) -> u32 {
        let mut now = Instant::now();
        let mut growth = Growth::new(START, MAX, now);
        let mut passed = 0;
        for _ in 0..100_000 {
            let rate = (f64::from(growth.window()) / rtt.as_secs_f64()).min(bandwidth);
            let step = |time: Duration| (rate * time.as_secs_f64()) as u64;
            now += Duration::from_micros(100);
            passed += step(Duration::from_micros(100));
            if growth.is_busy(passed) && growth.should_ping(passed, now) {
                now += rtt;
                passed += step(rtt);
                if let Change::Grow(window) = growth.ponged(passed, now, None) {
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
        assert!(f64::from(window) <= product * 4.6, "{window}");
    }

    #[test]
    fn a_short_path_keeps_a_small_one() {
        assert!(settle(Duration::from_micros(200), 50e6) <= START * 4);
    }

    /// The peer answers late because the machine is busy, and a whole window comes meanwhile.
    #[test]
    fn a_busy_machine_is_no_long_path() {
        let mut now = Instant::now();
        let mut growth = Growth::new(START, MAX, now);
        let mut passed = 0;
        for round in 0..1_000_u64 {
            passed += u64::from(growth.window());
            let pinged = growth.is_busy(passed) && growth.should_ping(passed, now);
            now += Duration::from_micros(if round == 0 { 200 } else { 4_000 });
            if pinged && let Change::Grow(window) = growth.ponged(passed, now, None) {
                growth.changed(window);
            }
        }
        assert!(growth.window() <= 4 * START, "{}", growth.window());
    }

    /// All that a window allows comes at once, then nothing for a round trip.
    #[test]
    fn bursts_are_measured() {
        for message in [1_000, 65_547] {
            let rtt = Duration::from_millis(50);
            let mut now = Instant::now();
            let mut growth = Growth::new(START, MAX, now);
            let mut passed = 0;
            for _ in 0..100 {
                passed += u64::from(growth.window()) / message * message;
                let pinged = growth.is_busy(passed) && growth.should_ping(passed, now);
                now += rtt;
                if pinged && let Change::Grow(window) = growth.ponged(passed, now, None) {
                    growth.changed(window);
                }
            }
            assert_eq!(growth.window(), MAX, "messages of {message}");
        }
    }

    #[test]
    fn never_past_the_maximum() {
        assert_eq!(settle(Duration::from_millis(500), 1e9), MAX);
    }

    /// The router and its peers start all at once, and nobody answers soon: a window passes meanwhile.
    #[test]
    fn a_busy_start_is_no_long_path() {
        let mut now = Instant::now();
        let mut growth = Growth::new(START, MAX, now);
        let mut passed = 0;
        while passed < 1 << 20 {
            passed += u64::from(growth.window());
            let pinged = growth.is_busy(passed) && growth.should_ping(passed, now);
            now += Duration::from_millis([60, 25, 90, 41][passed as usize / 1000 % 4]);
            let kernel = Some(Duration::from_micros(50));
            if pinged && let Change::Grow(window) = growth.ponged(passed, now, kernel) {
                growth.changed(window);
            }
        }
        assert_eq!(growth.window(), START);
    }

    #[test]
    fn steady_work_earns_two_doublings() {
        let mut now = Instant::now();
        let mut growth = Growth::new(START, MAX, now);
        let mut passed = 0;
        let mut grown = Vec::new();
        for _ in 0..4_000 {
            passed += u64::from(growth.window() / 16);
            let pinged = growth.is_busy(passed) && growth.should_ping(passed, now);
            now += Duration::from_micros([600, 2_500, 900, 4_100][passed as usize / 1000 % 4]);
            let kernel = Some(Duration::from_micros(50));
            if pinged && let Change::Grow(window) = growth.ponged(passed, now, kernel) {
                growth.changed(window);
                grown.push((passed / u64::from(START), u64::from(window / START)));
            }
        }
        assert_eq!(grown.len(), 2, "{grown:?}");
        for ((passed, times), (least, earned)) in grown.into_iter().zip(STEADY) {
            assert!(passed >= least && times == earned, "{passed} {times}");
        }
    }

    /// The kernel knows the way to the proxy only; all answers take the whole way.
    #[test]
    fn a_long_path_behind_a_near_proxy_is_found() {
        let mut now = Instant::now();
        let mut growth = Growth::new(START, MAX, now);
        let (start, mut passed) = (now, 0);
        while growth.window() < MAX {
            passed += u64::from(growth.window());
            let pinged = growth.is_busy(passed) && growth.should_ping(passed, now);
            now += Duration::from_millis(50);
            let kernel = Some(Duration::from_micros(50));
            if pinged && let Change::Grow(window) = growth.ponged(passed, now, kernel) {
                growth.changed(window);
            }
        }
        assert!(now - start < Duration::from_secs(1), "{:?}", now - start);
    }

    #[test]
    fn quiet_gives_it_back() {
        let now = Instant::now();
        let mut growth = Growth::new(START, MAX, now);
        assert_eq!(growth.look_at(), None);
        growth.changed(MAX);
        assert_eq!(growth.look_at(), Some(now + QUIET_IN_NEED));
        let moved = u64::from(START);
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(growth.look(moved, at(29), false), Change::Keep, "it moved");
        assert_eq!(growth.look(moved + 1, at(58), false), Change::Keep);
        assert_eq!(growth.look(moved + 1, at(59), false), Change::Shrink(START));
        growth.changed(START);
        growth.changed(MAX);
        assert_eq!(growth.look(moved + 1, at(60), true), Change::Keep);
        assert_eq!(
            growth.look(moved + 1, at(61), true),
            Change::Shrink(START),
            "others need it"
        );
    }
}
