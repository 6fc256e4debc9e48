//! One budget for all windows that have grown.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Bytes that may be granted beyond the windows every stream starts with.
#[derive(Debug)]
pub struct Budget {
    limit: AtomicU64,
    granted: AtomicU64,
}

impl Budget {
    /// `limit` in bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicU64::new(limit),
            granted: AtomicU64::new(0),
        })
    }

    /// Changes the limit. What is granted beyond a lower one stays until it comes back.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes granted now.
    pub fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        self.granted
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |granted| {
                let sum = granted.checked_add(bytes)?;
                (sum <= limit).then_some(sum)
            })
            .is_ok()
    }

    fn give(&self, bytes: u64) {
        self.granted.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A part of the budget; given back on drop.
#[derive(Debug)]
pub(crate) struct Grant {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Grant {
    /// Nothing yet.
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Whether more than half of the budget is granted.
    pub(crate) fn is_tight(&self) -> bool {
        self.budget.granted() > self.budget.limit.load(Ordering::Relaxed) / 2
    }

    /// Makes it `bytes`, more or less than before. False, and nothing changes, if the budget has not so much.
    pub(crate) fn resize(&mut self, bytes: u64) -> bool {
        if bytes > self.bytes {
            if !self.budget.take(bytes - self.bytes) {
                return false;
            }
        } else {
            self.budget.give(self.bytes - bytes);
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_limit_and_all_comes_back() {
        let budget = Budget::new(100);
        let mut first = Grant::new(budget.clone());
        let mut second = Grant::new(budget.clone());
        assert!(first.resize(70));
        assert!(!second.resize(31));
        assert_eq!(budget.granted(), 70);
        assert!(first.resize(60));
        assert!(second.resize(40));
        drop(first);
        assert_eq!(budget.granted(), 40);
        budget.set_limit(30);
        assert!(!second.resize(41));
        assert!(second.resize(30));
        drop(second);
        assert_eq!(budget.granted(), 0);
    }
}
