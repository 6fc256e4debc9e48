//! What lanes hold, in bytes: all together, and those that one connection fills.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// Lanes count in steps of so many bytes, rounded down: one that carries small messages back and forth never
/// touches the shared counter.
const STEP: u64 = 4096;

/// The sum over some lanes.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// The sum now.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, difference: u64) {
        self.0.fetch_add(difference, Ordering::Relaxed);
    }
}

/// One lane's part of the sums; taken off when the lane is gone.
#[derive(Debug, Default)]
pub(crate) struct Part {
    all: Arc<Gauge>,
    own: OnceLock<Arc<Gauge>>,
    bytes: AtomicU64,
}

impl Part {
    /// Nothing yet.
    pub(crate) fn new(all: Arc<Gauge>) -> Self {
        Self {
            all,
            own: OnceLock::new(),
            bytes: AtomicU64::new(0),
        }
    }

    /// Counts in `own`, too. Before the first byte.
    pub(crate) fn count_in(&self, own: Arc<Gauge>) {
        let _ = self.own.set(own);
    }

    /// What the lane holds, bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The lane holds so much more.
    pub(crate) fn add(&self, bytes: u64) {
        self.change(bytes);
    }

    /// The lane holds so much less: no more than was added before.
    pub(crate) fn remove(&self, bytes: u64) {
        self.change(bytes.wrapping_neg());
    }

    /// Both ends may do so at once: each sees the steps that its own change passes.
    fn change(&self, difference: u64) {
        let before = self.bytes.fetch_add(difference, Ordering::Relaxed);
        let after = before.wrapping_add(difference);
        let (before, after) = (before / STEP * STEP, after / STEP * STEP);
        if before != after {
            // Two's complement: adding a negative difference takes it off.
            self.all.add(after.wrapping_sub(before));
            if let Some(own) = self.own.get() {
                own.add(after.wrapping_sub(before));
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let left = *self.bytes.get_mut();
        self.remove(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_follows_its_parts() {
        let gauge = Arc::new(Gauge::default());
        let (one, other) = (Part::new(gauge.clone()), Part::new(gauge.clone()));
        let own = Arc::new(Gauge::default());
        one.count_in(own.clone());
        one.add(100_000);
        assert_eq!(own.bytes(), 98_304);
        other.add(STEP - 1);
        assert_eq!(gauge.bytes(), 98_304, "rounded down");
        other.add(1);
        one.remove(99_990);
        assert_eq!((gauge.bytes(), own.bytes()), (STEP, 0));
        one.add(STEP - 10);
        assert_eq!((gauge.bytes(), own.bytes()), (2 * STEP, STEP));
        drop((one, other));
        assert_eq!((gauge.bytes(), own.bytes()), (0, 0));
    }

    #[test]
    fn both_ends_count_at_once() {
        let gauge = Arc::new(Gauge::default());
        let part = Part::new(gauge.clone());
        part.add(1_000_000);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..10_000).for_each(|_| part.add(777)));
            scope.spawn(|| (0..10_000).for_each(|_| part.remove(99)));
        });
        assert_eq!(gauge.bytes(), (1_000_000 + 6_780_000) / STEP * STEP);
    }
}
