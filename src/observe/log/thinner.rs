//! Thins out floods of similar lines.

use std::{
    mem,
    time::{Duration, Instant},
};

/// Beyond the limit, one line in this many still passes, so that an ongoing flood stays visible.
const SAMPLE: u64 = 100;

/// Lets a number of lines of one kind through in each second, and one in a hundred beyond that.
///
/// It reads no clock: the caller says what time it is. A kind of line that strangers can cause,
/// such as a refusal, has a thinner of its own, so that a flood cannot hide other lines.
#[derive(Debug)]
pub struct Thinner {
    limit: u64,
    second: Option<Instant>,
    seen: u64,
    dropped: u64,
}

impl Default for Thinner {
    /// A limit of 100 lines per second.
    fn default() -> Self {
        Self::new(100)
    }
}

impl Thinner {
    /// Lets `limit` lines per second through before it thins.
    pub const fn new(limit: u64) -> Self {
        Self {
            limit,
            second: None,
            seen: 0,
            dropped: 0,
        }
    }

    /// Asks to log one line. `Some` means go ahead; the number says how many lines were dropped
    /// since the last one that passed.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        let over = |start| now.saturating_duration_since(start) >= Duration::from_secs(1);
        if self.second.is_none_or(over) {
            self.second = Some(now);
            self.seen = 0;
        }
        self.seen += 1;
        let beyond = self.seen.saturating_sub(self.limit);
        if beyond.is_multiple_of(SAMPLE) {
            Some(mem::take(&mut self.dropped))
        } else {
            self.dropped += 1;
            None
        }
    }

    /// How many lines were dropped since the last one that passed, and forgets them. For a report
    /// at the end of a flood.
    pub fn take_dropped(&mut self) -> u64 {
        mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_the_limit_then_one_in_a_hundred() {
        let start = Instant::now();
        let mut thinner = Thinner::default();
        let passed: Vec<u64> = (0..1100).filter_map(|_| thinner.admit(start)).collect();
        assert_eq!(passed.len(), 110);
        assert_eq!(passed[..100], [0; 100]);
        assert_eq!(passed[100..], [99; 10]);
        assert_eq!(thinner.take_dropped(), 0);
    }

    #[test]
    fn starts_again_each_second_and_reports_what_was_lost() {
        let start = Instant::now();
        let mut thinner = Thinner::new(2);
        let admitted: Vec<_> = (0..5).map(|_| thinner.admit(start)).collect();
        assert_eq!(admitted, [Some(0), Some(0), None, None, None]);
        let later = start + Duration::from_secs(1);
        assert_eq!(thinner.admit(later), Some(3));
        assert_eq!(thinner.admit(later), Some(0));
        assert_eq!(thinner.admit(later), None);
        assert_eq!(thinner.take_dropped(), 1);
    }

    #[test]
    fn bears_a_clock_that_steps_back() {
        let start = Instant::now();
        let mut thinner = Thinner::new(1);
        assert_eq!(thinner.admit(start + Duration::from_secs(3)), Some(0));
        assert_eq!(thinner.admit(start), None);
    }
}
