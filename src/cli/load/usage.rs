//! What processes use, from `/proc`.

use crate::common::procfs::Process;

/// One look at a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time, seconds.
    pub cpu: f64,
    /// Resident now, KiB.
    pub rss: u64,
    /// The most that was ever resident, KiB.
    pub peak: u64,
    /// Resident now, its share of what it shares; KiB. `None` if it may not be read.
    pub pss: Option<u64>,
}

impl Usage {
    /// Of a process, `None` if there is no such process.
    pub fn of(pid: u32) -> Option<Self> {
        Self::read(&Process::of(pid))
    }

    /// Of this process.
    pub fn own() -> Self {
        Self::read(&Process::own()).unwrap_or_default()
    }

    fn read(process: &Process) -> Option<Self> {
        let kib = |file, name| Some(process.size(file, name)? / 1024);
        Some(Self {
            cpu: process.cpu_time()?.as_secs_f64(),
            rss: kib("status", "VmRSS:").unwrap_or(0),
            peak: kib("status", "VmHWM:").unwrap_or(0),
            pss: kib("smaps_rollup", "Pss:"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_at_this_process() {
        assert!(Usage::own().rss > 0);
        assert_eq!(Usage::of(u32::MAX), None);
    }
}
