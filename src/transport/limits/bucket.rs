//! Token buckets: so much a second, and one second's worth at once.
//!
//! Kept as the time until which everything earned is spent (GCRA, the generic cell rate algorithm): one number, and
//! the rate is given with each call, so it may change at any time.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// What a bucket holds at most, nanoseconds of earning.
const FULL: u64 = 1_000_000_000;

/// One bucket. It starts full.
#[derive(Debug)]
pub struct Bucket {
    made: Instant,
    /// Nanoseconds from `made`.
    spent_until: AtomicU64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            made: Instant::now(),
            spent_until: AtomicU64::new(0),
        }
    }
}

impl Bucket {
    fn now(&self) -> u64 {
        self.made.elapsed().as_nanos() as u64
    }

    /// Whether one could be taken now.
    pub fn has_one(&self, per_second: u32) -> bool {
        let now = self.now();
        let until = self.spent_until.load(Ordering::Relaxed).max(now);
        until.saturating_add(cost(1, per_second.into())) <= now + FULL
    }

    /// Takes one if there is one.
    pub fn take_one(&self, per_second: u32) -> bool {
        let now = self.now();
        let cost = cost(1, per_second.into());
        self.spent_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |until| {
                let until = until.max(now).saturating_add(cost);
                (until <= now + FULL).then_some(until)
            })
            .is_ok()
    }

    /// Takes `amount` in any case. If it was not there: when it will have been earned.
    pub fn owe(&self, amount: u64, per_second: u64) -> Option<Instant> {
        let now = self.now();
        let cost = cost(amount, per_second);
        let spend = |until: u64| until.max(now).saturating_add(cost);
        let before = self
            .spent_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |until| {
                Some(spend(until))
            });
        let (Ok(before) | Err(before)) = before;
        let earned = spend(before).saturating_sub(FULL);
        (earned > now).then(|| self.made + Duration::from_nanos(earned))
    }

    /// Whether forgetting the bucket would give nothing away.
    pub fn is_full(&self) -> bool {
        self.spent_until.load(Ordering::Relaxed) <= self.now()
    }
}

/// How long it takes to earn, nanoseconds.
fn cost(amount: u64, per_second: u64) -> u64 {
    // A year stands for all that is longer: added to a clock reading it must not overflow.
    const MOST: u128 = 365 * 86_400 * FULL as u128;
    let nanos = u128::from(amount) * u128::from(FULL) / u128::from(per_second.max(1));
    nanos.min(MOST) as u64
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep_until};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn taken(bucket: &Bucket, per_second: u32) -> u32 {
        (0..1_000)
            .map(|_| u32::from(bucket.take_one(per_second)))
            .sum()
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_is_there_at_once_and_no_more() {
        for rate in [1, 3, 7, 100] {
            let bucket = Bucket::default();
            assert_eq!(taken(&bucket, rate), rate);
            assert!(!bucket.has_one(rate));
            advance(SECOND / rate + Duration::from_nanos(1)).await;
            assert!(bucket.has_one(rate));
            assert_eq!(taken(&bucket, rate), 1, "{rate}");
            advance(SECOND / 2).await;
            assert_eq!(taken(&bucket, rate), rate / 2);
            advance(SECOND * 3600).await;
            assert!(bucket.is_full());
            assert_eq!(taken(&bucket, rate), rate, "an hour saves no more");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_costs_nothing() {
        let bucket = Bucket::default();
        assert_eq!(taken(&bucket, 10), 10);
        for _ in 0..50 {
            advance(SECOND / 50).await;
            taken(&bucket, 10);
        }
        advance(SECOND / 10).await;
        assert!(bucket.take_one(10), "asking all the time locks nobody out");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_owed_is_earned_at_the_rate() {
        let bucket = Bucket::default();
        let start = Instant::now();
        assert_eq!(bucket.owe(1_000, 1_000), None, "the first second's worth");
        let mut bytes = 0;
        while bytes < 60_000 {
            bytes += 700;
            if let Some(at) = bucket.owe(700, 1_000) {
                sleep_until(at).await;
            }
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(59), "{took:?}");
        assert!(took <= Duration::from_secs(61), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_rate_counts_from_now_on() {
        let bucket = Bucket::default();
        assert_eq!(taken(&bucket, 2), 2);
        advance(SECOND / 4).await;
        assert!(!bucket.take_one(2));
        assert!(bucket.take_one(4));
    }

    #[tokio::test(start_paused = true)]
    async fn no_amount_and_no_rate_overflows() {
        let bucket = Bucket::default();
        for _ in 0..100 {
            assert!(bucket.owe(u64::MAX, 0).is_some());
        }
        assert!(!bucket.take_one(u32::MAX));
        assert!(!bucket.has_one(u32::MAX));
    }

    #[test]
    fn threads_together_take_no_more() {
        let bucket = Bucket::default();
        let all: u32 = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| taken(&bucket, 1)));
            threads.into_iter().map(|t| t.join().unwrap_or(9)).sum()
        });
        assert_eq!(all, 1);
    }
}
