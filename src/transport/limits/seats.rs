//! Limits how many streams are open at once, in all.
//!
//! A stream that has to wait takes two seats, its own and its partner's. So a partner always finds room, and waiting
//! streams cannot fill the router in such a way that nobody is left to pair.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Counts the seats that are taken.
#[derive(Debug, Default)]
pub(crate) struct Seats(Arc<AtomicUsize>);

impl Seats {
    /// Takes two seats, unless more than `limit` would be taken.
    pub(crate) fn take_two(&self, limit: Option<usize>) -> Option<[SeatPermit; 2]> {
        let limit = limit.unwrap_or(usize::MAX);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken + 2 <= limit).then_some(taken + 2)
            })
            .ok()?;
        Some([(); 2].map(|()| SeatPermit(self.0.clone())))
    }
}

/// Allows one stream; gives its seat back when it is dropped.
#[derive(Debug)]
pub(crate) struct SeatPermit(Arc<AtomicUsize>);

impl Drop for SeatPermit {
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
        let seats = Seats::default();
        let first = seats.take_two(Some(5)).unwrap();
        let [own, partner] = seats.take_two(Some(5)).unwrap();
        assert!(seats.take_two(Some(5)).is_none());
        drop(own);
        assert!(seats.take_two(Some(4)).is_none(), "half a pair is left");
        assert!(seats.take_two(Some(5)).is_some());
        assert!(seats.take_two(None).is_some());
        drop((partner, first));
        assert_eq!(seats.0.load(Ordering::Relaxed), 0);
    }
}
