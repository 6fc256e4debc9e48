//! What the benchmarks share.

pub mod case;
pub mod lane;
pub mod memory;
pub mod router;
pub mod tasks;

use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};

use case::FRAME;

/// A group whose benchmarks take about a second and a half each, so that all together take a few minutes.
pub fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    group
}

/// The message as it arrives in DATA frames.
pub fn frames(message: &Bytes) -> Vec<Bytes> {
    (0..message.len())
        .step_by(FRAME)
        .map(|at| message.slice(at..message.len().min(at + FRAME)))
        .collect()
}

/// For names of benchmarks.
pub fn size_name(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..0x10_0000 => format!("{}KiB", bytes >> 10),
        _ => format!("{}MiB", bytes >> 20),
    }
}
