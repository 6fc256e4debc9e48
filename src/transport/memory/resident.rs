//! What the system holds for the process beyond its live heap: the program itself, stacks, gaps between allocations, and,
//! in a control group that is limited, all else that the group is charged for, such as the kernel's socket buffers.

use std::time::Duration;

use tokio::time::Instant;

use crate::{common::procfs::Process, transport::memory::cgroup::Group};

/// Less than this is noise of the system's own counting, bytes.
const NOISE: u64 = 1 << 20;

/// The page cache is asked for so seldom, as the kernel has to sum it up.
const CACHE_LOOK: Duration = Duration::from_millis(500);

/// Tells gaps between allocations from memory that the allocator keeps for the next need.
///
/// Both are resident and not allocated, but only gaps come on top of what will be allocated. While the resident memory
/// grows, the allocator finds no room in what it keeps, so all that is beyond the heap then is gaps.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    resident: u64,
    bytes: u64,
}

impl Gaps {
    /// What comes on top of the heap. `resident` and `heap`: now, bytes.
    pub(crate) fn look(&mut self, resident: u64, heap: u64) -> u64 {
        let beyond = resident.saturating_sub(heap);
        if resident > self.resident + NOISE || heap == 0 {
            self.resident = resident;
            self.bytes = beyond;
        } else {
            self.resident = self.resident.min(resident);
            self.bytes = self.bytes.min(beyond);
        }
        self.bytes
    }
}

/// What the system holds, bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// For this process.
    pub process: u64,
    /// Besides that, in its control group.
    pub others: u64,
}

/// Asks the system again and again.
#[derive(Debug)]
pub(crate) struct Resident {
    own: Process,
    group: Option<Group>,
    cache: Option<(Instant, u64)>,
}

impl Resident {
    /// `group`: counts all that this control group is charged for, too.
    pub(crate) fn new(group: Option<Group>) -> Self {
        Self {
            own: Process::own(),
            group,
            cache: None,
        }
    }

    /// What the system holds now and cannot take back.
    pub(crate) fn held(&mut self) -> Option<Held> {
        let (resident, shared) = self.own.resident()?;
        let Some(group) = &self.group else {
            return Some(Held {
                process: resident,
                others: 0,
            });
        };
        let now = Instant::now();
        let cache = match self.cache {
            Some((at, cache)) if now - at < CACHE_LOOK => cache,
            _ => {
                let cache = group.cache()?;
                self.cache = Some((now, cache));
                cache
            }
        };
        // What it shares with others, such as the program's own file, is cache.
        let process = resident.saturating_sub(shared);
        let charged = group.charged()?.saturating_sub(cache);
        Some(Held {
            process,
            others: charged.saturating_sub(process),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn resident_memory_can_be_read() {
        let held = Resident::new(None).held();
        assert!(held.is_some_and(|held| held.process > MIB && held.others == 0));
    }

    #[test]
    fn what_the_allocator_keeps_is_no_gap() {
        let mut gaps = Gaps::default();
        assert_eq!(gaps.look(20 * MIB, 5 * MIB), 15 * MIB, "at the start");
        assert_eq!(gaps.look(220 * MIB, 200 * MIB), 20 * MIB, "it grows");
        assert_eq!(gaps.look(220 * MIB, 50 * MIB), 20 * MIB, "freed, and kept");
        assert_eq!(gaps.look(220 * MIB, 150 * MIB), 20 * MIB, "used again");
        assert_eq!(gaps.look(60 * MIB, 50 * MIB), 10 * MIB, "given back");
        let grown = gaps.look(100 * MIB, 60 * MIB);
        assert_eq!(grown, 40 * MIB, "it grows though there should be room");
    }

    #[test]
    fn without_a_counted_heap_all_is_beyond() {
        let mut gaps = Gaps::default();
        for resident in [20 * MIB, 200 * MIB, 200 * MIB + 1, 50 * MIB] {
            assert_eq!(gaps.look(resident, 0), resident);
        }
    }
}
