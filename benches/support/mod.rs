//! What the benchmarks share. Each of them uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod lane;
pub mod memory;
pub mod router;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jumpstarter_router::auth::{Claims, mint};

/// The largest DATA frame that peers send unless told otherwise.
pub const FRAME: usize = 16 * 1024;

/// Signs the tokens.
pub const KEY: &[u8] = b"a key of thirty-two bytes or more";

/// A group whose benchmarks take about a second and a half each, so that all together take a few minutes.
pub fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    group
}

/// A gRPC message of `length` bytes behind its prefix.
pub fn message(length: usize) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    bytes.resize(5 + length, 7);
    bytes.into()
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

/// The headers of a call with a token for `subject`.
pub fn headers(key: &[u8], subject: &str) -> HeaderMap {
    let token = mint(key, &Claims::new(subject, SystemTime::now()));
    let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}
