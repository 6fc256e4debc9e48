//! Keeps figures of the last minutes, one of each kind a second.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use crate::common::lock;

/// How many seconds are kept.
pub(crate) const SECONDS: usize = 600;

/// Holds what one second was like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Bytes of messages received from peers.
    pub bytes_in: u64,
    /// Bytes of messages handed to peers' connections.
    pub bytes_out: u64,
    /// Pairs at its end.
    pub pairs: u64,
    /// Streams without a partner at its end.
    pub waiting: u64,
    /// Streams refused.
    pub refusals: u64,
    /// Memory in use at its end, bytes.
    pub memory: u64,
}

/// Keeps the last of them.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    samples: VecDeque<Sample>,
    /// The second of the last of them, since the epoch.
    end: u64,
}

impl History {
    /// Adds what was counted over this time, which has just passed. Where that were several seconds, each has its share.
    pub(crate) fn add(&self, counted: Sample, over: Duration, now: u64) {
        let mut kept = lock(&self.0);
        let seconds = (over + Duration::from_millis(500)).as_secs().max(1);
        let share = |count: u64| count / seconds;
        let sample = Sample {
            bytes_in: share(counted.bytes_in),
            bytes_out: share(counted.bytes_out),
            refusals: share(counted.refusals),
            ..counted
        };
        let last = Sample {
            bytes_in: counted.bytes_in - sample.bytes_in * (seconds - 1),
            bytes_out: counted.bytes_out - sample.bytes_out * (seconds - 1),
            refusals: counted.refusals - sample.refusals * (seconds - 1),
            ..counted
        };
        let more = seconds.min(SECONDS as u64);
        for left in (0..more).rev() {
            if kept.samples.len() == SECONDS {
                kept.samples.pop_front();
            }
            kept.samples
                .push_back(if left == 0 { last } else { sample });
        }
        // Ticks are a little early or late, which is no reason to leave out a second. A clock that was set is.
        let expected = kept.end + seconds;
        kept.end = if expected.abs_diff(now) > 1 {
            now
        } else {
            expected
        };
    }

    /// Gives the last `most` seconds, and when the last of them was, in seconds since the epoch.
    pub(crate) fn last(&self, most: usize) -> (u64, Vec<Sample>) {
        let kept = lock(&self.0);
        let skipped = kept.samples.len().saturating_sub(most);
        let samples = kept.samples.iter().skip(skipped).copied().collect();
        (kept.end, samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn bytes(count: u64) -> Sample {
        Sample {
            bytes_in: count,
            pairs: 7,
            ..Sample::default()
        }
    }

    fn seen(history: &History, most: usize) -> (u64, Vec<u64>) {
        let (end, samples) = history.last(most);
        (end, samples.iter().map(|sample| sample.bytes_in).collect())
    }

    #[test]
    fn the_last_ten_minutes_are_kept() {
        let history = History::default();
        assert_eq!(seen(&history, 9), (0, vec![]));
        for second in 0..SECONDS as u64 + 50 {
            history.add(bytes(second), SECOND, 5_000 + second);
        }
        let (end, all) = seen(&history, usize::MAX);
        assert_eq!((end, all.len()), (5_649, SECONDS));
        assert_eq!((all[0], all[SECONDS - 1]), (50, 649));
        assert_eq!(seen(&history, 2), (5_649, vec![648, 649]));
        assert_eq!(seen(&history, 0).1, [0; 0]);
    }

    #[test]
    fn a_tick_that_is_early_or_late_leaves_no_second_out() {
        let history = History::default();
        // The clock shows these when the samples are taken, about a second apart.
        for now in [100, 102, 102, 104, 104, 105] {
            history.add(bytes(1), SECOND, now);
        }
        assert_eq!(seen(&history, 9), (105, vec![1; 6]));
    }

    #[test]
    fn seconds_that_were_missed_have_their_share_and_nothing_is_lost() {
        let history = History::default();
        history.add(bytes(5), SECOND, 100);
        history.add(bytes(11), 4 * SECOND, 104);
        assert_eq!(seen(&history, 9), (104, vec![5, 2, 2, 2, 5]));
        history.add(bytes(1), 100_000 * SECOND, 100_104);
        assert_eq!(seen(&history, usize::MAX).1.len(), SECONDS);
    }

    #[test]
    fn a_clock_that_was_set_is_followed() {
        let history = History::default();
        for now in [100, 101, 5_000, 5_001, 40] {
            history.add(bytes(1), SECOND, now);
        }
        assert_eq!(seen(&history, 9), (40, vec![1; 5]));
    }
}
