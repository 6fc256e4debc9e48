//! Latencies of all tasks, and what they come to.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

/// What takes longer counts as this: more than two hours, in nanoseconds.
const LONGEST: u64 = 1 << 43;

/// Counts durations from all tasks, in nanoseconds. Buckets are at most 0.8 % wide.
#[derive(Debug)]
pub struct Histogram(Mutex<hdrhistogram::Histogram<u64>>);

/// What a histogram says, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Says what was measured.
    pub of: &'static str,
    /// Says how many were counted.
    pub count: u64,
    /// The median.
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
        let counts = hdrhistogram::Histogram::new_with_max(LONGEST, 2);
        let counts = counts.expect("bounds and digits are within what it takes");
        Self(Mutex::new(counts))
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts().saturating_record(nanos);
    }

    /// Gives the percentiles, if anything was counted.
    pub fn latency(&self, of: &'static str) -> Option<Latency> {
        let counts = self.counts();
        let at = |quantile| counts.value_at_quantile(quantile).min(counts.max()) as f64 / 1e3;
        (!counts.is_empty()).then(|| Latency {
            of,
            count: counts.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
        })
    }

    fn counts(&self) -> MutexGuard<'_, hdrhistogram::Histogram<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn percentiles_are_within_a_hundredth() {
        let histogram = Histogram::default();
        assert_eq!(histogram.latency("x"), None);
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        let latency = histogram.latency("x").unwrap();
        assert_eq!(latency.count, 10_000);
        for (found, exact) in [
            (latency.p50_us, 5_000.0),
            (latency.p90_us, 9_000.0),
            (latency.p99_us, 9_900.0),
            (latency.p999_us, 9_990.0),
            (latency.max_us, 10_000.0),
        ] {
            assert!(found >= exact && found <= exact * 1.01, "{found}");
        }
    }
}
