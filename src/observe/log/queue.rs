//! Holds the lines that wait to be written: so many bytes, and never more.
//!
//! Who logs only appends here. When the room is used up, lines are lost and counted, until half of it is free again:
//! so that a slow reader gets long stretches of whole log with a gap between, not a gap after every line.

use std::{
    collections::VecDeque,
    io::Read as _,
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;

use crate::common::lock;

/// Holds the lines, and counts those for which there was no room.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Told when the writer has something to do.
    filled: Condvar,
    /// Told when all is written.
    emptied: Condvar,
    /// How many bytes of lines may wait.
    most: usize,
    lost: Counter,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    /// Lines that were lost since that was last said.
    lost: u64,
    /// Lines are lost until half of the room is free.
    is_full: bool,
    /// The writer waits for `filled`.
    is_idle: bool,
    /// The writer has taken bytes, or the number of lost lines, and has not come back yet.
    is_writing: bool,
}

impl State {
    fn is_done(&self) -> bool {
        self.bytes.is_empty() && self.lost == 0 && !self.is_writing
    }
}

/// Says what the writer has to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes put into the writer's buffer.
    pub bytes: usize,
    /// Lines that were lost since that was last said. There is room again to say it.
    pub lost: u64,
}

impl Queue {
    /// Makes an empty queue for at most `most` bytes. Lost lines are counted in `lost`, too.
    pub(super) fn new(most: usize, lost: Counter) -> Self {
        Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            most,
            lost,
        }
    }

    /// Appends a line, with its line feed, or loses it. Waits for nothing but other lines being appended.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = lock(&self.state);
        if state.is_full || state.bytes.len() + line.len() > self.most {
            state.is_full = true;
            state.lost += 1;
            self.lost.inc();
        } else {
            state.bytes.extend(line);
        }
        // To wake is a system call each time, so it is done only for a writer that sleeps.
        if std::mem::take(&mut state.is_idle) {
            self.filled.notify_one();
        }
    }

    /// For the writer: says that what was taken before is written, waits at most `patience` for more, and takes it.
    pub(super) fn take(&self, into: &mut [u8], patience: Duration) -> Taken {
        let mut state = lock(&self.state);
        state.is_writing = false;
        if state.is_done() {
            // A burst may have grown it to the whole of its room.
            state.bytes.shrink_to(into.len());
            self.emptied.notify_all();
            state.is_idle = true;
            let woken = self
                .filled
                .wait_timeout_while(state, patience, |state| state.is_idle);
            (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
            state.is_idle = false;
        }
        // Each gives what lies in one piece, and there are two at most.
        let mut bytes = state.bytes.read(into).unwrap_or(0);
        bytes += state.bytes.read(&mut into[bytes..]).unwrap_or(0);
        let lost = if state.bytes.len() <= self.most / 2 {
            state.is_full = false;
            std::mem::take(&mut state.lost)
        } else {
            0
        };
        state.is_writing = bytes > 0 || lost > 0;
        Taken { bytes, lost }
    }

    /// Waits until all is written, at most for `patience`. True if it is.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let done = self
            .emptied
            .wait_timeout_while(lock(&self.state), patience, |state| !state.is_done());
        !done.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Instant};

    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    fn queue(most: usize) -> (Queue, Counter) {
        let lost = Counter::default();
        (Queue::new(most, lost.clone()), lost)
    }

    fn taken(queue: &Queue, most: usize) -> (String, u64) {
        let mut buffer = vec![0; most];
        let taken = queue.take(&mut buffer, AT_ONCE);
        buffer.truncate(taken.bytes);
        (
            String::from_utf8(buffer).expect("whole characters"),
            taken.lost,
        )
    }

    #[test]
    fn lines_come_out_as_they_went_in() {
        let (queue, lost) = queue(100);
        for line in ["one\n", "two\n", "three\n"] {
            queue.push(line.as_bytes());
        }
        assert_eq!(taken(&queue, 6), ("one\ntw".to_owned(), 0));
        queue.push(b"four\n");
        assert_eq!(taken(&queue, 99), ("o\nthree\nfour\n".to_owned(), 0));
        assert_eq!(taken(&queue, 99), (String::new(), 0));
        assert_eq!(lost.get(), 0);
    }

    #[test]
    fn what_does_not_fit_is_lost_until_half_is_free_and_said_once() {
        let (queue, lost) = queue(10);
        for line in ["12345\n", "678\n", "x\n", "y\n"] {
            queue.push(line.as_bytes());
        }
        assert_eq!(lost.get(), 2);
        assert_eq!(taken(&queue, 4), ("1234".to_owned(), 0), "6 are left");
        queue.push(b"z\n");
        assert_eq!(taken(&queue, 2), ("5\n".to_owned(), 3), "4 are left");
        queue.push(b"in\n");
        assert_eq!(taken(&queue, 99), ("678\nin\n".to_owned(), 0));
        assert_eq!(lost.get(), 3);
        // One that never fits costs itself alone.
        queue.push(b"much longer than all of it\n");
        assert_eq!(taken(&queue, 99), (String::new(), 1));
        queue.push(b"in\n");
        assert_eq!(taken(&queue, 99), ("in\n".to_owned(), 0));
    }

    #[test]
    fn a_flush_waits_for_the_writer_and_no_longer_than_it_may() {
        let (queue, _) = queue(100);
        assert!(queue.flush(AT_ONCE), "nothing to write");
        queue.push(b"one\n");
        let begun = Instant::now();
        assert!(!queue.flush(Duration::from_millis(50)), "nobody writes");
        assert!(begun.elapsed() >= Duration::from_millis(50));
        assert_eq!(taken(&queue, 99).0, "one\n");
        assert!(!queue.flush(AT_ONCE), "taken, but not written");
        thread::scope(|scope| {
            let flushed = scope.spawn(|| queue.flush(Duration::from_secs(60)));
            let mut buffer = [0; 99];
            queue.take(&mut buffer, AT_ONCE);
            assert!(flushed.join().is_ok_and(|done| done));
        });
    }

    #[test]
    fn an_idle_writer_is_woken() {
        let (queue, _) = queue(100);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut buffer = [0; 99];
                queue.take(&mut buffer, Duration::from_secs(60))
            });
            queue.push(b"one\n");
            let taken = writer.join().expect("no panic");
            assert_eq!(taken, Taken { bytes: 4, lost: 0 });
        });
    }
}
