//! A waker that knows whether its owner is already at work.
//!
//! One task polls a connection and its streams. Each wakes the other through its waker, and a plain task waker
//! would schedule the task once more for work it has just done. A wake flag wakes the task only if it is not
//! being polled; otherwise the task sees that the flag is set before it sleeps.

use std::{
    sync::Arc,
    task::{Context, Wake, Waker},
};

use crate::splice::sync::{AtomicBool, AtomicWaker, Ordering};

/// One source of wake-ups of a task.
#[derive(Debug)]
pub struct WakeFlag {
    set: AtomicBool,
    looking: AtomicBool,
    task: AtomicWaker,
}

impl WakeFlag {
    /// Starts set, so that the first look finds work.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            set: AtomicBool::new(true),
            looking: AtomicBool::new(false),
            task: AtomicWaker::new(),
        })
    }

    /// Tells that the task begins to look: until [`WakeFlag::stop_looking`], setting the flag does not wake it.
    pub fn start_looking(&self, task: &Waker) {
        self.task.register(task);
        self.looking.store(true, Ordering::SeqCst);
    }

    /// Clears the flag. True if it was set.
    pub fn take(&self) -> bool {
        // Most looks find nothing: a load is cheaper than a swap.
        self.set.load(Ordering::SeqCst) && self.set.swap(false, Ordering::SeqCst)
    }

    /// Whether [`WakeFlag::take`] would find it set.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    /// Tells that the task stops looking. True if the flag was set meanwhile: then the task must look again.
    ///
    /// Either whoever sets the flag sees `looking` false and wakes, or the flag is seen set here: both sides store,
    /// then load the other's variable.
    #[must_use]
    pub fn stop_looking(&self) -> bool {
        self.looking.store(false, Ordering::SeqCst);
        self.set.load(Ordering::SeqCst)
    }

    /// Sets the flag, and wakes the task unless it is looking.
    pub fn set(&self) {
        // Not a store: whoever takes it must see the work of all who set it, not only of the last.
        self.set.swap(true, Ordering::SeqCst);
        if !self.looking.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.set();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.set();
    }
}

/// A flag with a waker that sets it.
#[derive(Debug)]
pub(super) struct Woken {
    pub(super) flag: Arc<WakeFlag>,
    waker: Waker,
}

impl Woken {
    /// Makes both.
    pub(super) fn new() -> Self {
        let flag = WakeFlag::new();
        Self {
            waker: Waker::from(flag.clone()),
            flag,
        }
    }

    /// For polling what sets the flag when it has work.
    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }
}

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use std::{future::poll_fn, task::Poll};

    use loom::{future::block_on, thread};

    use super::*;
    use crate::splice::sync::{AtomicU64, Ordering};

    /// Polls as a connection does: looks, takes the flag until it is not set, stops looking. A lost wake leaves
    /// `block_on` asleep for ever, which loom reports as a deadlock.
    fn wait_for(flag: &Arc<WakeFlag>, work: &AtomicU64, all: u64) {
        block_on(poll_fn(|cx| {
            flag.start_looking(cx.waker());
            let mut done = false;
            while flag.take() {
                done |= work.load(Ordering::Relaxed) == all;
                if !flag.is_set() {
                    break;
                }
            }
            if flag.stop_looking() {
                cx.waker().wake_by_ref();
            }
            if done { Poll::Ready(()) } else { Poll::Pending }
        }));
    }

    fn setters(count: u64) {
        // Three preemptions take seconds, and all of them would take too long.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = model.preemption_bound.or(Some(3));
        model.check(move || {
            let flag = WakeFlag::new();
            assert!(flag.take(), "starts set");
            let work = loom::sync::Arc::new(AtomicU64::new(0));
            let threads: Vec<_> = (0..count)
                .map(|_| {
                    let (flag, work) = (flag.clone(), work.clone());
                    thread::spawn(move || {
                        work.fetch_add(1, Ordering::Relaxed);
                        flag.set();
                    })
                })
                .collect();
            wait_for(&flag, &work, count);
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn loom_a_flag_is_never_lost() {
        setters(1);
    }

    #[test]
    fn loom_two_who_set_it_are_both_heard() {
        setters(2);
    }
}
