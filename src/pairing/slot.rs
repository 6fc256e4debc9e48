//! Decides what happens to one pairing key.
//!
//! The key is the token's subject. The first stream with a key waits, the second takes its offer, and the key
//! is free again: the same token pairs anew until it expires, as with the upstream router. With single use,
//! a key that has paired stays spent until its token's expiry.

use std::time::SystemTime;

/// Names one waiter exactly: a late `leave` of an earlier waiter never removes a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// Holds the state of one key. `T` is what a waiter leaves for its partner.
#[derive(Debug, Default)]
pub(super) enum Slot<T> {
    /// Nobody waits; the slot may be forgotten.
    #[default]
    Free,
    /// One stream waits.
    Waiting { ticket: Ticket, offer: T },
    /// The key has paired and may not again before its token expires.
    Spent { until: SystemTime },
}

impl<T> Slot<T> {
    /// A second stream takes the waiter's offer; `None` if nobody waits. `spend_until`: single use, expiry of the token.
    pub(super) fn take(&mut self, spend_until: Option<SystemTime>) -> Option<T> {
        let after = spend_until.map_or(Self::Free, |until| Self::Spent { until });
        match std::mem::replace(self, after) {
            Self::Waiting { offer, .. } => Some(offer),
            other => {
                *self = other;
                None
            }
        }
    }

    /// A waiter leaves (cancelled, timed out, told to end). Its offer comes back; `None` if it is not the one
    /// that waits here, that is, if it has been paired.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<T> {
        match self {
            Self::Waiting { ticket: own, .. } if *own == ticket => self.take(None),
            _ => None,
        }
    }

    /// Frees a spent key whose token has expired.
    pub(super) fn expire(&mut self, now: SystemTime) {
        if matches!(self, Self::Spent { until } if *until <= now) {
            *self = Self::Free;
        }
    }

    pub(super) fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }
}
