//! A waker that knows whether its owner is already at work.
//!
//! One task polls a connection and its streams. Each wakes the other through its waker, and a plain task waker
//! would schedule the task once more for work it has just done. A doorbell wakes the task only if it is not
//! being polled; otherwise the task sees that the bell was rung before it sleeps.

use std::{
    sync::Arc,
    task::{Wake, Waker},
};

use crate::splice::sync::{AtomicBool, AtomicWaker, Ordering};

/// One source of wake-ups of a task.
#[derive(Debug)]
pub struct Doorbell {
    rung: AtomicBool,
    attended: AtomicBool,
    task: AtomicWaker,
}

impl Doorbell {
    /// Starts rung, so that the first look finds work.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            rung: AtomicBool::new(true),
            attended: AtomicBool::new(false),
            task: AtomicWaker::new(),
        })
    }

    /// The task starts to look: until [`Doorbell::leave`], ringing does not wake it.
    pub fn attend(&self, task: &Waker) {
        self.task.register(task);
        self.attended.store(true, Ordering::SeqCst);
    }

    /// Whether it was rung since the last answer.
    pub fn answer(&self) -> bool {
        // Most looks find nothing: a load is cheaper than a swap.
        self.rung.load(Ordering::SeqCst) && self.rung.swap(false, Ordering::SeqCst)
    }

    /// Whether [`Doorbell::answer`] would find it rung.
    pub fn is_rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst)
    }

    /// The task stops looking. True if it was rung meanwhile: then the task must look again.
    ///
    /// Either the ringer sees `attended` false and wakes, or its `rung` is seen here: both sides store, then
    /// load the other's variable.
    #[must_use]
    pub fn leave(&self) -> bool {
        self.attended.store(false, Ordering::SeqCst);
        self.rung.load(Ordering::SeqCst)
    }

    /// Rings.
    pub fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        if !self.attended.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
