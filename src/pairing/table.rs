//! Holds what happens to each pairing key.
//!
//! The key is the token's subject. The first stream with a key waits, the second takes its offer, and the key
//! is free again: the same token pairs anew until it expires, as with the upstream router. With single use,
//! a key that has paired stays spent until its token's expiry.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use dashmap::{DashMap, mapref::entry::Entry};
use thiserror::Error;

/// Names one waiter exactly: a late `leave` of an earlier waiter never removes a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// Holds the state of one key in use. `T` is what a waiter leaves for its partner.
#[derive(Debug)]
enum Slot<T> {
    /// One stream waits.
    Waiting { ticket: Ticket, offer: T },
    /// The key has paired and may not again before its token expires.
    Spent { until: SystemTime },
}

/// Tells a stream that was let in what it has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Place<T, K> {
    /// It waits. `K` is what it kept for itself when it made its offer.
    Waiting(Ticket, K),
    /// It takes the waiter's offer.
    Paired(T),
}

/// Says why an arriving stream was turned away.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// The token is for single use, and its subject has paired before.
    #[error("this token has been used")]
    Spent,
    /// Too many streams wait for a partner.
    #[error(
        "{limit} streams wait for their other side already, the limit (pairing.max_waiting); \
         try again later"
    )]
    TooManyWaiting {
        /// The limit.
        limit: usize,
    },
}

/// Holds all pairing keys in use. No function blocks for longer than a map operation, and no guard leaves this module.
#[derive(Debug)]
pub struct Table<T> {
    slots: DashMap<Arc<str>, Slot<T>>,
    next: AtomicU64,
    waiting: AtomicUsize,
    max_waiting: AtomicUsize,
    single_use: AtomicBool,
}

impl<T> Table<T> {
    /// Makes an empty table. `max_waiting`: streams that may wait at once. `single_use`: a key pairs once until its token
    /// expires.
    pub fn new(max_waiting: usize, single_use: bool) -> Self {
        Self {
            slots: DashMap::new(),
            next: AtomicU64::new(1),
            waiting: AtomicUsize::new(0),
            max_waiting: AtomicUsize::new(max_waiting),
            single_use: AtomicBool::new(single_use),
        }
    }

    /// Changes what was given to [`Table::new`], for streams that arrive from now on.
    pub fn configure(&self, max_waiting: usize, single_use: bool) {
        self.max_waiting.store(max_waiting, Ordering::Relaxed);
        self.single_use.store(single_use, Ordering::Relaxed);
    }

    /// Finds the place of a stream that arrives with a key whose token is good until `expires_at`. Only if it has to wait,
    /// `offer` makes what it leaves for its partner and what it keeps for itself. It may refuse, and must not touch the
    /// table.
    pub fn arrive<K, E: From<Refused>>(
        &self,
        key: &Arc<str>,
        expires_at: SystemTime,
        offer: impl FnOnce() -> Result<(T, K), E>,
    ) -> Result<Place<T, K>, E> {
        match self.slots.entry(key.clone()) {
            Entry::Vacant(vacant) => {
                let limit = self.max_waiting.load(Ordering::Relaxed);
                // Reserved first, so that streams arriving at once cannot pass the limit together.
                if self.waiting.fetch_add(1, Ordering::SeqCst) >= limit {
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                    return Err(Refused::TooManyWaiting { limit }.into());
                }
                let (offer, kept) = offer().inspect_err(|_| {
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                })?;
                let ticket = Ticket(self.next.fetch_add(1, Ordering::Relaxed));
                vacant.insert(Slot::Waiting { ticket, offer });
                Ok(Place::Waiting(ticket, kept))
            }
            Entry::Occupied(mut occupied) => {
                if let Slot::Spent { .. } = occupied.get() {
                    return Err(Refused::Spent.into());
                }
                let waited = if self.single_use.load(Ordering::Relaxed) {
                    occupied.insert(Slot::Spent { until: expires_at })
                } else {
                    occupied.remove()
                };
                let Slot::Waiting { offer, .. } = waited else {
                    return Err(Refused::Spent.into());
                };
                self.waiting.fetch_sub(1, Ordering::SeqCst);
                Ok(Place::Paired(offer))
            }
        }
    }

    /// Takes back a waiter's offer. `None` if it has been paired meanwhile.
    pub fn leave(&self, key: &str, ticket: Ticket) -> Option<T> {
        let is_own =
            |slot: &Slot<T>| matches!(slot, Slot::Waiting { ticket: own, .. } if *own == ticket);
        match self.slots.remove_if(key, |_, slot| is_own(slot)) {
            Some((_, Slot::Waiting { offer, .. })) => {
                self.waiting.fetch_sub(1, Ordering::SeqCst);
                Some(offer)
            }
            _ => None,
        }
    }

    /// Puts an offer back that [`Table::leave`] has taken. Fails with it if another waits by now.
    pub fn restore(&self, key: &Arc<str>, ticket: Ticket, offer: T) -> Result<(), T> {
        let Entry::Vacant(vacant) = self.slots.entry(key.clone()) else {
            return Err(offer);
        };
        // It was let in before, so the limit does not matter.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        vacant.insert(Slot::Waiting { ticket, offer });
        Ok(())
    }

    /// Forgets spent keys whose tokens have expired.
    pub fn expire(&self, now: SystemTime) {
        let is_over = |slot: &Slot<T>| matches!(slot, Slot::Spent { until } if *until <= now);
        self.slots.retain(|_, slot| !is_over(slot));
    }

    /// Counts the streams that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}

/// Keeps the place of a stream that waits until it is dropped, unless a partner comes.
#[derive(Debug)]
pub(crate) struct Waiter<T> {
    table: Arc<Table<T>>,
    key: Arc<str>,
    ticket: Ticket,
    reserved: AtomicBool,
}

impl<T> Waiter<T> {
    /// Keeps the place of the stream that was given this ticket when it arrived.
    pub(crate) fn new(table: Arc<Table<T>>, key: Arc<str>, ticket: Ticket) -> Self {
        let reserved = AtomicBool::new(false);
        Self {
            table,
            key,
            ticket,
            reserved,
        }
    }

    /// Takes the offer back. `None` if it has been paired meanwhile.
    pub(crate) fn leave(&self) -> Option<T> {
        self.table.leave(&self.key, self.ticket)
    }

    /// Takes the offer back to meet somebody who does not come to the table. `None` if it has been paired meanwhile.
    pub(crate) fn reserve(&self) -> Option<T> {
        let offer = self.leave()?;
        self.reserved.store(true, Ordering::Relaxed);
        Some(offer)
    }

    /// Tells whether it has taken the offer back by [`Waiter::reserve`].
    pub(crate) fn is_reserved(&self) -> bool {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Waits again after [`Waiter::reserve`]. Fails with the offer if another waits by now.
    pub(crate) fn restore(&self, offer: T) -> Result<(), T> {
        self.table.restore(&self.key, self.ticket, offer)?;
        self.reserved.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Names its place.
    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        // A ticket is good once, so it does not matter whether it was given back before.
        self.leave();
    }
}

#[cfg(test)]
mod tests;
