//! What all lanes hold together, in bytes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Lanes count in steps of so many bytes, rounded down: one that carries small messages back and forth never
/// touches the shared counter.
const STEP: u64 = 4096;

/// The sum over all lanes.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// The sum now.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One lane's part of the sum; taken off when the lane is gone.
#[derive(Debug, Default)]
pub struct Part {
    gauge: Arc<Gauge>,
    counted: AtomicU64,
}

impl Part {
    /// Nothing yet.
    pub fn new(gauge: Arc<Gauge>) -> Self {
        Self {
            gauge,
            counted: AtomicU64::new(0),
        }
    }

    /// The lane holds `bytes`. Only its producer says so.
    pub fn set(&self, bytes: u64) {
        let now = bytes / STEP * STEP;
        let before = self.counted.load(Ordering::Relaxed);
        if now != before {
            self.counted.store(now, Ordering::Relaxed);
            // Two's complement: adding a negative difference takes it off.
            self.gauge
                .0
                .fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_follows_its_parts() {
        let gauge = Arc::new(Gauge::default());
        let (one, other) = (Part::new(gauge.clone()), Part::new(gauge.clone()));
        one.set(100_000);
        other.set(STEP - 1);
        assert_eq!(gauge.bytes(), 98_304, "rounded down");
        other.set(STEP);
        one.set(10);
        assert_eq!(gauge.bytes(), STEP);
        drop((one, other));
        assert_eq!(gauge.bytes(), 0);
    }
}
