//! Counts what is open, of which there may be only so many.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Counts what is open; clones count the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    /// Tells how many are open.
    pub(crate) fn open(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one more until what is returned is dropped.
    pub(crate) fn add(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.0.clone())
    }

    /// Counts `N` more, each until it is dropped, unless more than `limit` would be open.
    pub(crate) fn take<const N: usize>(&self, limit: Option<usize>) -> Option<[Counted; N]> {
        let limit = limit.unwrap_or(usize::MAX);
        let more = |open| Some(open + N).filter(|sum| *sum <= limit);
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0.fetch_update(set, get, more).ok()?;
        Some([(); N].map(|()| Counted(self.0.clone())))
    }
}

/// Is counted as one until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn never_more_than_the_limit_and_all_come_back() {
        let seats = Count::default();
        let first = seats.take::<2>(Some(5)).unwrap();
        let [own, partner] = seats.take::<2>(Some(5)).unwrap();
        assert!(seats.take::<2>(Some(5)).is_none());
        drop(own);
        assert!(seats.take::<2>(Some(4)).is_none(), "half a pair is left");
        assert!(seats.take::<2>(Some(5)).is_some());
        assert!(seats.take::<2>(None).is_some());
        drop((partner, first));
        assert_eq!(seats.open(), 0);
    }
}
