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
        // Not a store: whoever answers must see the work of all who rang, not only of the last.
        self.rung.swap(true, Ordering::SeqCst);
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

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use std::{future::poll_fn, task::Poll};

    use loom::{future::block_on, thread};

    use super::*;
    use crate::splice::sync::{AtomicU64, Ordering};

    /// Polls as a connection does: attends, answers until nothing is rung, leaves. A lost wake leaves
    /// `block_on` asleep for ever, which loom reports as a deadlock.
    fn wait_for(bell: &Arc<Doorbell>, work: &AtomicU64, all: u64) {
        block_on(poll_fn(|cx| {
            bell.attend(cx.waker());
            let mut done = false;
            while bell.answer() {
                done |= work.load(Ordering::Relaxed) == all;
                if !bell.is_rung() {
                    break;
                }
            }
            if bell.leave() {
                cx.waker().wake_by_ref();
            }
            if done { Poll::Ready(()) } else { Poll::Pending }
        }));
    }

    fn ringers(count: u64) {
        // Three preemptions take seconds, and all of them would take too long.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = model.preemption_bound.or(Some(3));
        model.check(move || {
            let bell = Doorbell::new();
            assert!(bell.answer(), "starts rung");
            let work = loom::sync::Arc::new(AtomicU64::new(0));
            let threads: Vec<_> = (0..count)
                .map(|_| {
                    let (bell, work) = (bell.clone(), work.clone());
                    thread::spawn(move || {
                        work.fetch_add(1, Ordering::Relaxed);
                        bell.ring();
                    })
                })
                .collect();
            wait_for(&bell, &work, count);
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn loom_a_ring_is_never_lost() {
        ringers(1);
    }

    #[test]
    fn loom_two_ringers_are_both_heard() {
        ringers(2);
    }
}
