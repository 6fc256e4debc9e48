//! Buffers that a connection holds only while bytes pass through it, lent by a small pool for each thread.
//!
//! A connection that kept its own would pay 128 KiB for being idle.

use std::cell::RefCell;

/// Bytes of each buffer. One read fills it with up to four TLS records, one write empties it.
pub(crate) const SIZE: usize = 64 * 1024;

/// Buffers a thread keeps for the next connection.
const KEPT: usize = 8;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of [`SIZE`] bytes with any content.
fn take() -> Box<[u8]> {
    POOL.with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| vec![0; SIZE].into_boxed_slice())
}

/// Gives a buffer back.
fn give(buffer: Box<[u8]>) {
    POOL.with_borrow_mut(|pool| {
        if pool.len() < KEPT {
            pool.push(buffer);
        }
    });
}

/// Bytes on their way between the socket and TLS, in a lent buffer while there are any.
#[derive(Default)]
pub(crate) struct Staged {
    pub(crate) buffer: Option<Box<[u8]>>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Staged {
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        match &mut self.buffer {
            Some(buffer) => &mut buffer[self.start..self.end],
            None => &mut [],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn capacity(&self) -> usize {
        self.buffer.as_ref().map_or(0, |buffer| buffer.len())
    }

    /// The free end of a lent buffer.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let buffer = self.buffer.get_or_insert_with(take);
        if buffer.len() < SIZE {
            let mut lent = take();
            lent[self.start..self.end].copy_from_slice(&buffer[self.start..self.end]);
            *buffer = lent;
        }
        &mut buffer[self.end..]
    }

    /// Gives the lent buffer back; what is in it waits in one of its own size.
    pub(crate) fn shelve(&mut self) {
        if self.capacity() < SIZE || self.len() == SIZE {
            return;
        }
        let rest: Box<[u8]> = self.bytes().into();
        let count = self.len();
        self.discard(count);
        if count > 0 {
            (self.buffer, self.end) = (Some(rest), count);
        }
    }

    /// Drops bytes from the front; an empty buffer is given back.
    pub(crate) fn discard(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if let Some(buffer) = self.buffer.take()
                && buffer.len() == SIZE
            {
                give(buffer);
            }
        }
    }

    /// Moves the bytes to the front.
    pub(crate) fn compact(&mut self) {
        if self.start > 0
            && let Some(buffer) = &mut self.buffer
        {
            buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }
}
