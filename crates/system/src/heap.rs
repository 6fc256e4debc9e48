//! Counts live heap: what was allocated and not freed, by whatever part of the program.
//!
//! Each thread counts for itself and adds to the shared sum only once it has changed by 64 KiB, so an allocation costs
//! no shared memory access. The sum is therefore exact to one step for each thread.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicI64, Ordering},
};

/// A thread adds to the sum once its own count is so far from what it last added, bytes.
const STEP: i64 = 64 * 1024;

/// What the allocator keeps beside each block, and to what it rounds blocks up (glibc on 64 bits).
const HEADER: usize = 8;
const UNIT: usize = 16;
const LEAST: usize = 32;

static LIVE: AtomicI64 = AtomicI64::new(0);

thread_local! {
    // Constant and without a destructor: using it neither allocates nor registers anything.
    static COUNTED: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, counted. Install it with `#[global_allocator]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

/// Bytes now allocated. Zero if [`Counting`] is not the program's allocator.
pub fn live() -> u64 {
    // A block may be freed, and counted, before the thread that allocated it has added its own.
    u64::try_from(LIVE.load(Ordering::Relaxed)).unwrap_or(0)
}

/// Gives memory that was freed, and that the allocator keeps for the next need, back to the system, where the allocator
/// can do so. Takes the locks of the allocator's arenas one after the other: milliseconds for each 100 MiB.
pub fn trim() {
    // SAFETY: `malloc_trim` takes no pointer and may be called at any time by any thread (malloc_trim(3): MT-Safe).
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What a block of this size takes.
fn block(size: usize) -> i64 {
    let size = (size + HEADER).next_multiple_of(UNIT).max(LEAST);
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn count(difference: i64) {
    // A thread that is being torn down counts no more; it has less than a step left.
    let _ = COUNTED.try_with(|counted| {
        let sum = counted.get() + difference;
        if sum.abs() < STEP {
            counted.set(sum);
        } else {
            counted.set(0);
            LIVE.fetch_add(sum, Ordering::Relaxed);
        }
    });
}

// SAFETY: every call is passed to `System` with the arguments it came with, and its result is returned unchanged, so the
// contract of `GlobalAlloc` holds as it does for `System`. Counting touches a thread-local cell and an atomic: it does
// not allocate and does not unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise for `layout` is what `System` asks for.
        let block_at = unsafe { System.alloc(layout) };
        if !block_at.is_null() {
            count(block(layout.size()));
        }
        block_at
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        let block_at = unsafe { System.alloc_zeroed(layout) };
        if !block_at.is_null() {
            count(block(layout.size()));
        }
        block_at
    }

    unsafe fn dealloc(&self, block_at: *mut u8, layout: Layout) {
        // SAFETY: the caller got `block_at` from this allocator, so from `System`, with this layout.
        unsafe { System.dealloc(block_at, layout) };
        count(-block(layout.size()));
    }

    unsafe fn realloc(&self, block_at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as in `dealloc`, and the caller vouches for `new_size`.
        let new_at = unsafe { System.realloc(block_at, layout, new_size) };
        if !new_at.is_null() {
            count(block(new_size) - block(layout.size()));
        }
        new_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn what_is_allocated_counts_until_it_is_freed_by_whichever_thread() {
        const BLOCKS: usize = 4096;
        let near = |value: u64, expected: u64| value.abs_diff(expected) <= 1 << 22;
        let before = live();
        let blocks: Vec<Vec<u8>> = (0..BLOCKS).map(|_| vec![1; 16 * 1024]).collect();
        let held = (BLOCKS * 16 * 1024) as u64;
        assert!(near(live() - before, held), "{} of {held}", live() - before);
        let mut grown = blocks;
        for block in &mut grown {
            block.reserve_exact(16 * 1024);
        }
        assert!(near(live() - before, 2 * held), "{}", live() - before);
        let freed = std::thread::spawn(move || drop(grown)).join();
        assert!(freed.is_ok());
        assert!(near(live(), before), "{} after, {before} before", live());
        trim();
    }

    #[test]
    fn a_block_counts_with_what_the_allocator_adds() {
        assert_eq!([1, 24, 25, 1000].map(block), [32, 32, 48, 1008]);
    }
}
