//! When a connection is told with a GOAWAY that the router drains.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::transport::phase::{Life, Phase};

/// Whether the peer has been told.
pub enum Goaway {
    /// The drain has not begun, as far as is known.
    Waiting(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// It has begun, and the peer is not told yet.
    Due,
    /// The peer was told.
    Sent,
}

impl fmt::Debug for Goaway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting(_) => "Waiting",
            Self::Due => "Due",
            Self::Sent => "Sent",
        })
    }
}

impl Goaway {
    /// Waits for the drain of this process.
    pub fn new(life: &Life) -> Self {
        Self::Waiting(Box::pin(life.until(Phase::is_draining)))
    }

    /// Looks whether the drain has begun; if not, `cx` is woken once it does.
    pub fn watch(&mut self, cx: &mut Context<'_>) {
        if let Self::Waiting(draining) = self
            && let Poll::Ready(()) = draining.as_mut().poll(cx)
        {
            *self = Self::Due;
        }
    }

    /// Whether to tell the peer now, which is done once. A connection that is opened during the drain is told by its first
    /// stream's status, which says why; one that is spare may never have a stream. So it must have had a call, or be spare.
    pub fn take_due(&mut self, had_call_or_is_spare: bool) -> bool {
        let due = matches!(self, Self::Due) && had_call_or_is_spare;
        if due {
            *self = Self::Sent;
        }
        due
    }

    /// Whether the peer was told.
    pub fn is_sent(&self) -> bool {
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
