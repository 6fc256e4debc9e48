//! What Linux tells about the process, read from `/proc` at each scrape.
//!
//! Names follow the convention that all Prometheus clients share, so they carry no prefix of ours.
//! What cannot be read is left out.

use std::{fmt, fs, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// How long one tick of the kernel's accounting is. User space sees 100 ticks per second on every
/// architecture that Rust's standard library supports on Linux.
const TICK_MILLIS: u64 = 10;

/// Fields of `/proc/self/stat` counted from the one after the command's name.
const UTIME: usize = 11;
const STIME: usize = 12;
const START_TIME: usize = 19;

/// Encodes the process's metrics.
#[derive(Debug)]
pub struct Process {
    /// Since the epoch. Does not change, so it is read once.
    started: Option<Duration>,
}

impl Process {
    /// For this process.
    pub fn new() -> Self {
        Self { started: started() }
    }
}

impl Collector for Process {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(time) = cpu_time() {
            let help = "Time spent on processors, user and system together.";
            let unit = Some(&Unit::Seconds);
            ConstCounter::new(time.as_secs_f64()).encode(to.encode_descriptor(
                "process_cpu",
                help,
                unit,
                MetricType::Counter,
            )?)?;
        }
        if let Some(bytes) = resident_bytes() {
            let help = "Memory in physical pages.";
            gauge(
                &mut to,
                "process_resident_memory",
                help,
                Some(&Unit::Bytes),
                bytes,
            )?;
        }
        if let Some(count) = open_fds() {
            gauge(
                &mut to,
                "process_open_fds",
                "Open file descriptors.",
                None,
                count,
            )?;
        }
        if let Some(count) = max_fds() {
            let help = "Limit on open file descriptors.";
            gauge(&mut to, "process_max_fds", help, None, count)?;
        }
        if let Some(started) = self.started {
            let help = "When the process started, since the epoch.";
            let unit = Some(&Unit::Seconds);
            ConstGauge::new(started.as_secs_f64()).encode(to.encode_descriptor(
                "process_start_time",
                help,
                unit,
                MetricType::Gauge,
            )?)?;
        }
        Ok(())
    }
}

fn gauge(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> fmt::Result {
    let to = to.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    ConstGauge::new(value.cast_signed()).encode(to)
}

fn cpu_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    Some(ticks(&stat, UTIME)? + ticks(&stat, STIME)?)
}

fn started() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let boot = system
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?;
    Some(Duration::from_secs(boot.trim().parse().ok()?) + ticks(&stat, START_TIME)?)
}

/// The field at `index`, as a time. The command's name before it may hold spaces and parentheses.
fn ticks(stat: &str, index: usize) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let count: u64 = fields.split_whitespace().nth(index)?.parse().ok()?;
    count.checked_mul(TICK_MILLIS).map(Duration::from_millis)
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn open_fds() -> Option<u64> {
    const DIRECTORY: &str = "/proc/self/fd";
    // Kernels since 6.2 tell the count as the directory's size; that spares a walk over it.
    let size = fs::metadata(DIRECTORY).ok()?.len();
    if size > 0 {
        return Some(size);
    }
    let entries = u64::try_from(fs::read_dir(DIRECTORY).ok()?.count()).ok()?;
    // One of them is the descriptor of the walk itself.
    entries.checked_sub(1)
}

fn max_fds() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
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
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn reads_this_process() {
        assert!(resident_bytes().unwrap() > 64 * 1024);
        assert!(open_fds().unwrap() >= 3);
        assert!(max_fds().unwrap() >= open_fds().unwrap());
        assert!(cpu_time().is_some());
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.checked_sub(started().unwrap()).unwrap();
        assert!(age < Duration::from_secs(3600), "{age:?}");
    }
}
