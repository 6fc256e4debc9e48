//! What happens to one pairing key.
//!
//! The key is the token's subject. The first stream with a key waits, the second takes its offer, and the key
//! is free again: the same token pairs anew until it expires, as with the upstream router. With single use,
//! a key that has paired stays spent until its token's expiry.

use std::time::SystemTime;

/// Names one waiter exactly: a late `leave` of an earlier waiter never removes a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// The state of one key. `T` is what a waiter leaves for its partner.
#[derive(Debug, Default)]
pub enum Slot<T> {
    /// Nobody waits.
    #[default]
    Free,
    /// One stream waits.
    Waiting {
        /// Its name.
        ticket: Ticket,
        /// For its partner.
        offer: T,
    },
    /// Single use only: the key has paired and may not again.
    Spent {
        /// When its token expires and the slot may be forgotten.
        until: SystemTime,
    },
}

/// What an arriving stream is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival<T> {
    /// It waits; the ticket is its own.
    Waiting(Ticket),
    /// It takes the waiter's offer.
    Paired(T),
    /// The key is spent.
    Spent,
}

impl<T> Slot<T> {
    /// A stream arrives. `offer` is made only if it has to wait. `spend_until`: single use, expiry of the token.
    pub fn arrive(
        &mut self,
        ticket: Ticket,
        spend_until: Option<SystemTime>,
        offer: impl FnOnce() -> T,
    ) -> Arrival<T> {
        match std::mem::take(self) {
            Self::Free => {
                *self = Self::Waiting {
                    ticket,
                    offer: offer(),
                };
                Arrival::Waiting(ticket)
            }
            Self::Waiting { offer, .. } => {
                if let Some(until) = spend_until {
                    *self = Self::Spent { until };
                }
                Arrival::Paired(offer)
            }
            spent @ Self::Spent { .. } => {
                *self = spent;
                Arrival::Spent
            }
        }
    }

    /// A waiter leaves (cancelled, timed out, told to end). Its offer comes back; `None` if it is not the one
    /// that waits here, that is, if it has been paired.
    pub fn leave(&mut self, ticket: Ticket) -> Option<T> {
        match std::mem::take(self) {
            Self::Waiting { ticket: own, offer } if own == ticket => Some(offer),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Frees a spent key whose token has expired.
    pub fn expire(&mut self, now: SystemTime) {
        if matches!(self, Self::Spent { until } if *until <= now) {
            *self = Self::Free;
        }
    }

    /// Whether the slot may be forgotten.
    pub fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }
}
