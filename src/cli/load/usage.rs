//! What processes use, from `/proc`.

use std::fs;

/// Clock ticks in `/proc/PID/stat`: Linux shows 100 a second to programs, whatever the kernel counts in.
const TICKS: f64 = 100.0;

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
        Self::read(&pid.to_string())
    }

    /// Of this process.
    pub fn own() -> Self {
        Self::read("self").unwrap_or_default()
    }

    fn read(pid: &str) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
        Some(Self {
            cpu: cpu(&stat)?,
            rss: kib(&status, "VmRSS:").unwrap_or(0),
            peak: kib(&status, "VmHWM:").unwrap_or(0),
            pss: rollup.and_then(|text| kib(&text, "Pss:")),
        })
    }
}

fn cpu(stat: &str) -> Option<f64> {
    // The name in parentheses may hold anything, even parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::float_cmp)]

    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        let stat = "12 (a ) b) S 1 1 1 0 -1 4 5 6 7 8 250 50 0 0 20 0 1 0 9";
        assert_eq!(cpu(stat), Some(3.0));
        assert_eq!(kib("VmHWM:\t 77 kB\nVmRSS:\t  42 kB\n", "VmRSS:"), Some(42));
        assert!(Usage::own().rss > 0);
        assert_eq!(Usage::of(u32::MAX), None);
    }
}
