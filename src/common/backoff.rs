//! Makes pauses between attempts, each twice as long as the one before.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// Gives the next pause.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    /// How many pauses there were since the last success.
    pub attempts: u32,
}

impl Backoff {
    /// Begins with `first` and goes up to `most`.
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
            attempts: 0,
        }
    }

    /// Gives the next pause, in full.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        self.attempts = self.attempts.saturating_add(1);
        pause
    }

    /// Gives the next pause, shortened by up to half of it, so that those who lost the same router do not come back as one.
    pub(crate) fn jittered(&mut self) -> Duration {
        let pause = self.pause();
        // Random enough, and there already: a hash map's key.
        let (half, dice) = (pause / 2, RandomState::new().hash_one(()) as u32);
        pause.saturating_sub(half.mul_f64(f64::from(dice) / f64::from(u32::MAX)))
    }

    /// Begins anew, as it went well.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.first, self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second * 5);
        let pauses: Vec<_> = (0..4).map(|_| backoff.pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5]);
        for _ in 0..100 {
            let pause = backoff.jittered();
            assert!(pause >= second * 5 / 2 && pause <= second * 5, "{pause:?}");
        }
        assert_eq!(backoff.attempts, 104);
        backoff.reset();
        assert_eq!((backoff.attempts, backoff.pause()), (0, second));
    }
}
