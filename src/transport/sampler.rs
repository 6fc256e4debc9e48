//! Looks each second at what the router does.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{MissedTickBehavior, interval};

use crate::{
    common::since_epoch,
    transport::{history::Sample, memory::level::Level, shared::Shared},
};

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
            assert_eq!(samples.len(), (second as usize + 1).min(600));
            assert!(samples.iter().all(|sample| sample.refusals == 1));
            let waiting = samples.iter().map(|sample| sample.waiting);
            assert!(waiting.is_sorted(), "in the order of time");
        }
        assert!(shared.past.is_kept(), "whoever samples may be asked");
        task.abort();
    }
}
