//! Ends one stream from outside its task: drain, an administrator.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

use super::ending::Cause;

/// Shared between a stream's task and whoever may end it.
#[derive(Debug, Default)]
pub struct Control {
    cause: OnceLock<Cause>,
    paired: AtomicBool,
    waker: AtomicWaker,
}

impl Control {
    /// Asks the stream to end. Only the first cause counts.
    pub fn end(&self, cause: Cause) {
        let _ = self.cause.set(cause);
        self.waker.wake();
    }

    /// Whether the stream has met its partner.
    pub fn is_paired(&self) -> bool {
        self.paired.load(Ordering::Acquire)
    }

    /// The stream has met its partner.
    pub fn set_paired(&self) {
        self.paired.store(true, Ordering::Release);
    }

    /// For the stream's task only: the last caller is the one that is woken.
    pub fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Cause> {
        self.waker.register(cx.waker());
        match self.cause.get() {
            Some(cause) => Poll::Ready(*cause),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests;
