//! What the router's control group and the router itself say of its memory, ten times a second.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use jumpstarter_router::inside::cli::load::usage::Usage;

const LOOK: Duration = Duration::from_millis(100);

/// How long the metrics may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub pid: Option<u32>,
    pub group: Option<PathBuf>,
    pub metrics: Option<SocketAddr>,
}

/// What was seen in one look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Since the first look.
    pub at: Duration,
    /// Bytes charged to the group, kernel memory and sockets included.
    pub charged: u64,
    /// Of these, sockets.
    pub sockets: u64,
    pub resident: u64,
    /// What the router reckons.
    pub used: u64,
    pub pressure: u64,
    /// Bytes by which windows have grown.
    pub windows: u64,
}

/// All looks.
#[derive(Debug, Default)]
pub struct Seen {
    pub samples: Vec<Sample>,
    /// The most that was ever charged, sockets included as far as they were seen.
    pub peak: u64,
    pub limit: u64,
    pub killed: u64,
    /// Looks in which the metrics did not come.
    pub unanswered: u64,
    pub cpu: f64,
}

/// Looks until told to stop.
pub fn watch(places: &Places, stop: &AtomicBool) -> Seen {
    let begin = Instant::now();
    let mut seen = Seen::default();
    while !stop.load(Relaxed) {
        let look = Instant::now();
        let mut sample = Sample {
            at: begin.elapsed(),
            ..Sample::default()
        };
        if let Some(usage) = places.pid.and_then(Usage::of) {
            seen.cpu = usage.cpu;
            sample.resident = usage.rss * 1024;
        }
        if let Some(group) = &places.group {
            (sample.charged, sample.sockets) = charged(group);
            seen.peak = seen.peak.max(sample.charged);
        }
        if let Some(address) = places.metrics {
            match scrape(address) {
                Ok(text) => {
                    sample.used = value(&text, "jumpstarter_router_memory_used_bytes");
                    sample.windows = value(&text, "jumpstarter_router_windows_granted_bytes");
                    sample.pressure = value(&text, "jumpstarter_router_memory_pressure");
                }
                Err(_) => seen.unanswered += 1,
            }
        }
        seen.samples.push(sample);
        thread::sleep(LOOK.saturating_sub(look.elapsed()));
    }
    if let Some(group) = &places.group {
        let of = |name| number(group, name);
        let peak = of("memory.peak").or_else(|| of("memory.max_usage_in_bytes"));
        seen.peak = seen.peak.max(peak.unwrap_or_default());
        let limit = of("memory.max").or_else(|| of("memory.limit_in_bytes"));
        seen.limit = limit.unwrap_or_default();
        seen.killed = killed(group);
    }
    seen
}

/// All that is charged, and what of it is sockets. Version 1 counts sockets apart; version 2 among the rest.
fn charged(group: &Path) -> (u64, u64) {
    if let Some(current) = number(group, "memory.current") {
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        return (current, value(&stat, "sock"));
    }
    let sockets = number(group, "memory.kmem.tcp.usage_in_bytes").unwrap_or_default();
    let rest = number(group, "memory.usage_in_bytes").unwrap_or_default();
    (rest + sockets, sockets)
}

fn killed(group: &Path) -> u64 {
    let read = |name| fs::read_to_string(group.join(name));
    let text = read("memory.events").or_else(|_| read("memory.oom_control"));
    value(&text.unwrap_or_default(), "oom_kill")
}

fn number(group: &Path, name: &str) -> Option<u64> {
    fs::read_to_string(group.join(name))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Of a line "name value".
fn value(text: &str, name: &str) -> u64 {
    let of = |line: &str| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    };
    text.lines().find_map(of).unwrap_or_default()
}

fn scrape(address: SocketAddr) -> io::Result<String> {
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(text)
}
