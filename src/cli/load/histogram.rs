//! Latencies: counters in buckets that are 1/64 of their value wide, shared by all tasks.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde::Serialize;

/// Bits of a value that its bucket keeps.
const BITS: u32 = 6;

/// Powers of two above that: up to 2^43 ns, more than two hours.
const POWERS: usize = 38;

/// Counts durations from all tasks.
#[derive(Debug)]
pub struct Histogram {
    buckets: Vec<AtomicU64>,
    max: AtomicU64,
}

/// What a histogram says, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// What was measured.
    pub of: &'static str,
    /// How many.
    pub count: u64,
    /// Median.
    pub p50_us: f64,
    /// 90 % were no slower.
    pub p90_us: f64,
    /// 99 % were no slower.
    pub p99_us: f64,
    /// 99.9 % were no slower.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = std::iter::repeat_with(AtomicU64::default);
        Self {
            buckets: buckets.take(POWERS << BITS).collect(),
            max: AtomicU64::new(0),
        }
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < 1 << BITS {
        return nanos as usize;
    }
    let power = nanos.ilog2() - BITS;
    let bucket = (power as usize + 1) << BITS | (nanos >> power) as usize & ((1 << BITS) - 1);
    bucket.min((POWERS << BITS) - 1)
}

/// The largest value that falls into a bucket.
fn upper(bucket: usize) -> u64 {
    let power = bucket >> BITS;
    if power == 0 {
        return bucket as u64;
    }
    let mantissa = (bucket & ((1 << BITS) - 1) | 1 << BITS) as u64;
    ((mantissa + 1) << (power - 1)) - 1
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)].fetch_add(1, Relaxed);
        self.max.fetch_max(nanos, Relaxed);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// The percentiles, if anything was counted.
    pub fn latency(&self, of: &'static str) -> Option<Latency> {
        let count = self.count();
        let max = self.max.load(Relaxed);
        let at = |per_mille: u64| {
            let rank = (count * per_mille).div_ceil(1000);
            let mut seen = 0;
            let found = self.buckets.iter().position(|bucket| {
                seen += bucket.load(Relaxed);
                seen >= rank
            });
            found.map_or(max, upper).min(max) as f64 / 1e3
        };
        (count > 0).then(|| Latency {
            of,
            count,
            p50_us: at(500),
            p90_us: at(900),
            p99_us: at(990),
            p999_us: at(999),
            max_us: max as f64 / 1e3,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::float_cmp)]

    use super::*;

    #[test]
    fn percentiles_are_within_a_sixty_fourth() {
        let histogram = Histogram::default();
        assert_eq!(histogram.latency("x"), None);
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        let latency = histogram.latency("x").unwrap();
        assert_eq!((latency.count, latency.max_us), (10_000, 10_000.0));
        for (found, exact) in [
            (latency.p50_us, 5_000.0),
            (latency.p90_us, 9_000.0),
            (latency.p99_us, 9_900.0),
            (latency.p999_us, 9_990.0),
        ] {
            assert!(found >= exact && found <= exact * (1.0 + 1.0 / 64.0));
        }
    }

    #[test]
    fn every_value_has_a_bucket_that_holds_it() {
        for power in 0..43 {
            for value in [1_u64 << power, (1 << power) + 1, (2 << power) - 1] {
                let bucket = bucket(value);
                assert!(value <= upper(bucket), "{value}");
                assert!(bucket == 0 || upper(bucket - 1) < value, "{value}");
            }
        }
        assert_eq!(bucket(u64::MAX), (POWERS << BITS) - 1);
    }
}
