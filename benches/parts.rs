//! The parts and the whole, with criterion: docs/benchmarks.md.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod auth;
mod pairing;
mod router;
mod splice;
mod support;

criterion::criterion_main!(
    splice::benches,
    pairing::benches,
    auth::benches,
    router::benches
);
