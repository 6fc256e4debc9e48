//! Keeps figures of the last minutes, one of each kind a second.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::time::{MissedTickBehavior, interval};

use crate::common::{lock, since_epoch};
use crate::transport::{memory::level::Level, shared::Shared};

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
    fn add(&self, counted: Sample, over: Duration, now: u64) {
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

/// Keeps the rates of all streams and the figures of each second up to date, for as long as somebody may look at them.
pub(crate) async fn sample(shared: Arc<Shared>) {
    shared.past.keep();
    let mut ticks = interval(Duration::from_secs(1));
    // What was missed is in what is counted next.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = ticks.tick().await;
    let (streams, metrics) = (&shared.streams, &shared.metrics);
    let mut refused = metrics.stream_refusals.sum();
    streams.sample(Duration::from_secs(1), metrics.forwarded_bytes.get());
    loop {
        let now = ticks.tick().await;
        let elapsed = now - last;
        last = now;
        let (bytes_in, bytes_out) = streams.sample(elapsed, metrics.forwarded_bytes.get());
        let refusals = metrics.stream_refusals.sum();
        let counted = Sample {
            bytes_in,
            bytes_out,
            pairs: u64::try_from(metrics.pairs_here()).unwrap_or_default(),
            waiting: u64::try_from(metrics.streams_waiting.get()).unwrap_or_default(),
            refusals: refusals - refused,
            memory: shared.memory.used(),
        };
        refused = refusals;
        let now = since_epoch(SystemTime::now()).as_secs();
        shared.history.add(counted, elapsed, now);
        if shared.memory.level() >= Level::NoGrowth {
            shared.past.give_way();
            streams.names.give_way();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tonic::service::Routes;

    use super::*;
    use crate::{
        auth::{Key, KeyRing, Rules},
        observe::metrics::Metrics,
        pairing::table::Table,
        transport::{memory::budget::Budget, settings::Settings},
    };

    const KEY: &str = "a key of a router under test, 32 bytes";
    const SECOND: Duration = Duration::from_secs(1);

    fn bytes(count: u64) -> Sample {
        Sample {
            bytes_in: count,
            pairs: 7,
            ..Sample::default()
        }
    }

    fn shared() -> Arc<Shared> {
        let keys = [Key::new("key", KEY.as_bytes())];
        Shared::new(
            Rules {
                issuer: String::new(),
                audience: String::new(),
                leeway: Duration::ZERO,
                max_token_size: 1_000,
                keys: KeyRing::new(keys).unwrap(),
            },
            Table::new(1, false),
            Settings::default(),
            Arc::new(Metrics::new(&[], &["no"])),
            Budget::new(0),
            Routes::default(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_sample_is_taken_each_second_and_ten_minutes_are_kept() {
        let shared = shared();
        let task = tokio::spawn(sample(shared.clone()));
        // Each look is between two of them.
        tokio::time::sleep(SECOND / 2).await;
        for second in 0..700_u32 {
            shared.metrics.stream_refusals.inc("no");
            shared.metrics.streams_waiting.set(second.into());
            tokio::time::sleep(SECOND).await;
            let (_, samples) = shared.history.last(usize::MAX);
            assert_eq!(samples.len(), SECONDS.min(second as usize + 1));
            assert!(samples.iter().all(|sample| sample.refusals == 1));
            let waiting = samples.iter().map(|sample| sample.waiting);
            assert!(waiting.is_sorted(), "in the order of time");
        }
        assert!(shared.past.is_kept(), "whoever samples may be asked");
        task.abort();
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
