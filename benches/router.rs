//! A whole router on loopback, with one pair. The peers run in the same process and share its two threads, so
//! the figures are those of router and peers together: compare them with themselves, not with other routers.

use std::time::Instant;

use crate::support::{case::message, group, router::Pair};
use criterion::{Criterion, Throughput, criterion_group};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn throughput(criterion: &mut Criterion, tls: bool, name: &str) {
    let runtime = runtime();
    let mut pair = runtime.block_on(Pair::meet(tls));
    let mut group = group(criterion, name);
    for (case, size, bytes) in [("bulk/64KiB", 64 * 1024, true), ("flood/64B", 64, false)] {
        let message = message(size);
        group.throughput(if bytes {
            Throughput::Bytes(message.len() as u64)
        } else {
            Throughput::Elements(1)
        });
        group.bench_function(case, |bencher| {
            bencher.iter_custom(|count| {
                runtime.block_on(async {
                    let start = Instant::now();
                    pair.push(&message, count).await;
                    start.elapsed()
                })
            });
        });
    }
    let message = message(64);
    group.throughput(Throughput::Elements(1));
    group.bench_function("pingpong/64B", |bencher| {
        bencher.iter_custom(|count| {
            runtime.block_on(async {
                let start = Instant::now();
                pair.ping_pong(&message, count).await;
                start.elapsed()
            })
        });
    });
    group.finish();
}

fn with_tls(criterion: &mut Criterion) {
    throughput(criterion, true, "router/tls");
}

fn plaintext(criterion: &mut Criterion) {
    throughput(criterion, false, "router/plaintext");
}

criterion_group!(benches, with_tls, plaintext);
