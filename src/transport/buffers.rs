//! Buffers that a connection holds only while bytes pass through it, lent by a small pool for each thread.
//!
//! A connection that kept its own would pay 128 KiB for being idle.

use std::cell::RefCell;

/// Bytes of each buffer. One read fills it with up to four TLS records, one write empties it.
pub const SIZE: usize = 64 * 1024;

/// Buffers a thread keeps for the next connection.
const KEPT: usize = 8;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of [`SIZE`] bytes with any content.
pub fn take() -> Box<[u8]> {
    POOL.with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| vec![0; SIZE].into_boxed_slice())
}

/// Gives a buffer back.
pub fn give(buffer: Box<[u8]>) {
    POOL.with_borrow_mut(|pool| {
        if pool.len() < KEPT {
            pool.push(buffer);
        }
    });
}
