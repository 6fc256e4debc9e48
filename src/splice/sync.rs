//! The primitives the lane stands on, with their loom twins, so that loom checks the lane's own protocol.

#[cfg(not(all(test, feature = "loom")))]
mod real {
    pub(crate) use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    };

    pub(crate) use futures_util::task::AtomicWaker;
    pub(crate) use rtrb::{Consumer, Producer};

    pub(crate) fn ring<T>(slots: usize) -> (Producer<T>, Consumer<T>) {
        rtrb::RingBuffer::new(slots)
    }

    /// Set once, read often.
    #[derive(Debug)]
    pub(crate) struct Once<T>(std::sync::OnceLock<T>);

    impl<T: Copy> Once<T> {
        pub(crate) fn new() -> Self {
            Self(std::sync::OnceLock::new())
        }
        pub(crate) fn set(&self, value: T) {
            let _ = self.0.set(value);
        }
        pub(crate) fn get(&self) -> Option<T> {
            self.0.get().copied()
        }
    }
}

#[cfg(all(test, feature = "loom"))]
mod real {
    pub(crate) use loom::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    };

    /// loom's waker cell under the name and signature of the real one.
    #[derive(Debug)]
    pub(crate) struct AtomicWaker(loom::future::AtomicWaker);

    impl AtomicWaker {
        pub(crate) fn new() -> Self {
            Self(loom::future::AtomicWaker::new())
        }
        pub(crate) fn register(&self, waker: &std::task::Waker) {
            self.0.register_by_ref(waker);
        }
        pub(crate) fn wake(&self) {
            self.0.wake();
        }
    }

    /// Set once, read often.
    #[derive(Debug)]
    pub(crate) struct Once<T>(Mutex<Option<T>>);

    impl<T: Copy> Once<T> {
        pub(crate) fn new() -> Self {
            Self(Mutex::new(None))
        }
        pub(crate) fn set(&self, value: T) {
            self.0
                .lock()
                .unwrap_or_else(|_| unreachable!())
                .get_or_insert(value);
        }
        pub(crate) fn get(&self) -> Option<T> {
            *self.0.lock().unwrap_or_else(|_| unreachable!())
        }
    }

    /// A bounded queue with the ring's interface: loom cannot see inside the real ring, which has
    /// its own tests, so the lane's protocol is checked around this one.
    #[derive(Debug)]
    pub(crate) struct Producer<T>(Arc<Mutex<std::collections::VecDeque<T>>>, usize);
    #[derive(Debug)]
    pub(crate) struct Consumer<T>(Arc<Mutex<std::collections::VecDeque<T>>>);

    pub(crate) fn ring<T>(slots: usize) -> (Producer<T>, Consumer<T>) {
        let queue = Arc::new(Mutex::new(std::collections::VecDeque::new()));
        (Producer(queue.clone(), slots), Consumer(queue))
    }

    impl<T> Producer<T> {
        pub(crate) fn push(&mut self, item: T) -> Result<(), rtrb::PushError<T>> {
            let mut queue = self.0.lock().unwrap_or_else(|_| unreachable!());
            if queue.len() == self.1 {
                return Err(rtrb::PushError::Full(item));
            }
            queue.push_back(item);
            Ok(())
        }
        pub(crate) fn is_full(&self) -> bool {
            self.0.lock().unwrap_or_else(|_| unreachable!()).len() == self.1
        }
    }

    impl<T> Consumer<T> {
        pub(crate) fn pop(&mut self) -> Result<T, rtrb::PopError> {
            let mut queue = self.0.lock().unwrap_or_else(|_| unreachable!());
            queue.pop_front().ok_or(rtrb::PopError::Empty)
        }
    }
}

pub(crate) use real::*;
