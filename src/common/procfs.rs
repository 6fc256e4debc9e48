//! Reads what Linux tells about a process in `/proc` (proc(5)).

use std::{fs, time::Duration};

/// How long one tick of the kernel's accounting is. Programs see 100 ticks a second on every architecture that Rust's standard
/// library supports on Linux.
const TICK_MILLIS: u64 = 10;

/// Which fields of `stat` these are, counted from the one after the command's name.
const UTIME: usize = 11;
const STIME: usize = 12;
const START_TIME: usize = 19;

/// Gives the machine's name, or the container's; empty if nobody knows.
pub(crate) fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname");
    name.unwrap_or_default().trim_end().to_owned()
}

/// Reads about one process. What cannot be read is `None`.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    directory: String,
}

impl Process {
    /// Looks at this process.
    pub(crate) fn own() -> Self {
        Self {
            directory: "/proc/self".to_owned(),
        }
    }

    /// Looks at another process, which need not exist.
    pub(crate) fn of(pid: u32) -> Self {
        Self {
            directory: format!("/proc/{pid}"),
        }
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(format!("{}/{file}", self.directory)).ok()
    }

    /// Gives its time on processors, user and system together.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let stat = self.read("stat")?;
        Some(ticks(&stat, UTIME)? + ticks(&stat, STIME)?)
    }

    /// Tells when it started, since the epoch.
    pub(crate) fn started(&self) -> Option<Duration> {
        let system = fs::read_to_string("/proc/stat").ok()?;
        let boot = figure(&system, "btime ")?;
        Some(Duration::from_secs(boot) + ticks(&self.read("stat")?, START_TIME)?)
    }

    /// Gives a size from `status` or `smaps_rollup`, in bytes.
    pub(crate) fn size(&self, file: &str, name: &str) -> Option<u64> {
        figure(&self.read(file)?, name)?.checked_mul(1024)
    }

    /// Gives the memory that is resident, and how much of that is shared with files or other processes, in bytes.
    pub(crate) fn resident(&self) -> Option<(u64, u64)> {
        let text = self.read("statm")?;
        let mut fields = text.split_ascii_whitespace().skip(1);
        let mut bytes =
            || Some(fields.next()?.parse::<u64>().ok()? * rustix::param::page_size() as u64);
        Some((bytes()?, bytes()?))
    }

    /// Counts the descriptors that it has open.
    pub(crate) fn open_fds(&self) -> Option<u64> {
        let directory = format!("{}/fd", self.directory);
        // Kernels since 6.2 tell the count as the directory's size; that spares a walk over it.
        let size = fs::metadata(&directory).ok()?.len();
        if size > 0 {
            return Some(size);
        }
        let entries = u64::try_from(fs::read_dir(directory).ok()?.count()).ok()?;
        // One of them is the descriptor of the walk itself.
        entries.checked_sub(1)
    }

    /// Tells how many descriptors it may have open.
    pub(crate) fn max_fds(&self) -> Option<u64> {
        figure(&self.read("limits")?, "Max open files")
    }
}

/// Reads the first word after `name` at the beginning of a line.
pub(crate) fn figure(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Reads the field at `index` as a time. The command's name before it may hold spaces and parentheses.
fn ticks(stat: &str, index: usize) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let count: u64 = fields.split_whitespace().nth(index)?.parse().ok()?;
    count.checked_mul(TICK_MILLIS).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_fields() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 17 18 4000 20";
        assert_eq!(ticks(stat, UTIME), Some(Duration::from_millis(2500)));
        assert_eq!(ticks(stat, STIME), Some(Duration::from_millis(500)));
        assert_eq!(ticks(stat, START_TIME), Some(Duration::from_secs(40)));
        assert_eq!(ticks("", UTIME), None);
        assert_eq!(
            figure("VmHWM:\t 77 kB\nVmRSS:\t  42 kB\n", "VmRSS:"),
            Some(42)
        );
    }

    #[test]
    fn reads_this_process() {
        let own = Process::own();
        let (resident, shared) = own.resident().unwrap();
        assert!(shared < resident && resident > 1 << 20);
        assert!(own.size("status", "VmRSS:").unwrap() > 1 << 20);
        assert!(own.open_fds().unwrap() >= 3);
        assert!(own.max_fds().unwrap() >= own.open_fds().unwrap());
        assert!(own.cpu_time().is_some());
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.checked_sub(own.started().unwrap()).unwrap();
        assert!(age < Duration::from_secs(3600), "{age:?}");
        assert_eq!(Process::of(u32::MAX).cpu_time(), None);
    }
}
