//! When a connection is told with a GOAWAY that the router drains.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::transport::phase::{Life, Phase};

/// Remembers whether the peer has been told.
pub(super) enum Goaway {
    /// The drain has not begun, as far as is known.
    Waiting(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// It has begun, and the peer is not told yet.
    Due,
    /// The peer was told.
    Sent,
}

impl Goaway {
    /// Waits for the drain of this process.
    pub(super) fn new(life: &Life) -> Self {
        Self::Waiting(Box::pin(life.until(Phase::is_draining)))
    }

    /// Looks whether the drain has begun; if not, `cx` is woken once it does.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>) {
        if let Self::Waiting(draining) = self
            && let Poll::Ready(()) = draining.as_mut().poll(cx)
        {
            *self = Self::Due;
        }
    }

    /// Whether to tell the peer now, which is done once. A connection that is opened during the drain is told by its first
    /// stream's status, which says why; one that is spare may never have a stream. So it must have had a call, or be spare.
    pub(super) fn take_due(&mut self, had_call_or_is_spare: bool) -> bool {
        let due = matches!(self, Self::Due) && had_call_or_is_spare;
        if due {
            *self = Self::Sent;
        }
        due
    }

    /// Whether the peer was told.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self, Self::Sent)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn is_sent_once_when_the_drain_has_begun_and_the_connection_is_of_use() {
        let mut cx = Context::from_waker(Waker::noop());
        let life = Life::default();
        let mut goaway = Goaway::new(&life);
        goaway.watch(&mut cx);
        assert!(!goaway.take_due(true), "the drain has not begun");
        life.advance(Phase::Draining { forwarding: true });
        goaway.watch(&mut cx);
        assert!(!goaway.take_due(false), "its first stream will tell");
        assert!(!goaway.is_sent());
        assert!(goaway.take_due(true));
        assert!(!goaway.take_due(true), "it was told");
        assert!(goaway.is_sent());
    }
}
