//! Moving bytes from one peer to the other, with no socket: the lane against other ways to hand bytes over, the
//! scanner, the joining of small chunks, and whole sides.

use std::{
    hint::black_box,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use crate::support::{
    case::{FRAME, WHOLE, message},
    frames, group,
    lane::Fused,
    memory::Pair,
    size_name,
    tasks::{consume, produce},
};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group};
use jumpstarter_router::inside::splice::{lane::lane, scanner::Scanner};
use tokio::{runtime::Builder, sync::mpsc};

const SIZES: [usize; 6] = [1, 64, 1 << 10, 16 << 10, 64 << 10, 1 << 20];

/// Messages handed over at once.
const BATCHES: [usize; 2] = [1, 32];

/// Chunks that wait in the channel which the lane is compared with.
const CAPACITY: usize = 32;

/// A payload as it comes in DATA frames.
fn chunks(size: usize) -> Vec<Bytes> {
    frames(&vec![7; size].into())
}

/// Both ends in one task.
fn one_task(criterion: &mut Criterion) {
    let mut group = group(criterion, "lane/one_task");
    for size in SIZES {
        let chunks = chunks(size);
        for batch in BATCHES {
            group.throughput(Throughput::Bytes((size * batch) as u64));
            let case = format!("{}x{batch}", size_name(size));
            let mut cx = Context::from_waker(Waker::noop());

            let mut fused = Fused::new();
            group.bench_function(format!("lane/{case}"), |bencher| {
                bencher
                    .iter(|| fused.round(&chunks, batch, &mut cx, |frame| drop(black_box(frame))));
            });

            let (tx, mut rx) = mpsc::channel(CAPACITY);
            group.bench_function(format!("mpsc/{case}"), |bencher| {
                bencher.iter(|| {
                    for _ in 0..batch {
                        for chunk in &chunks {
                            if let Err(full) = tx.try_send(chunk.clone()) {
                                while let Ok(chunk) = rx.try_recv() {
                                    black_box(chunk);
                                }
                                tx.try_send(full.into_inner()).unwrap();
                            }
                        }
                    }
                    while let Ok(chunk) = rx.try_recv() {
                        black_box(chunk);
                    }
                });
            });

            let mut deliver: Box<dyn FnMut(Bytes)> = Box::new(|chunk| drop(black_box(chunk)));
            group.bench_function(format!("call/{case}"), |bencher| {
                bencher.iter(|| {
                    for _ in 0..batch {
                        chunks.iter().cloned().for_each(&mut deliver);
                    }
                });
            });
        }
    }
    group.finish();
}

/// Two tasks on two threads, with flow control.
fn two_tasks(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let mut group = group(criterion, "lane/two_tasks");
    for size in SIZES {
        let chunks = chunks(size);
        for batch in BATCHES {
            group.throughput(Throughput::Bytes((size * batch) as u64));
            group.bench_function(format!("lane/{}x{batch}", size_name(size)), |bencher| {
                bencher.iter_custom(|rounds| {
                    let (tx, rx) = lane();
                    let bytes = rounds * (size * batch) as u64;
                    let producing = produce(tx, chunks.clone(), batch, rounds);
                    runtime.block_on(time(producing, consume(rx, bytes)))
                });
            });
        }
        // A channel knows no batches.
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("mpsc/{}", size_name(size)), |bencher| {
            bencher.iter_custom(|rounds| {
                let (tx, mut rx) = mpsc::channel(CAPACITY);
                let chunks = chunks.clone();
                let producing = async move {
                    for _ in 0..rounds {
                        for chunk in &chunks {
                            tx.send(chunk.clone()).await.unwrap();
                        }
                    }
                };
                runtime.block_on(time(producing, async move {
                    while let Some(chunk) = rx.recv().await {
                        black_box(chunk);
                    }
                }))
            });
        });
    }
    group.finish();
}

async fn time<T: Send + 'static>(
    producing: impl Future<Output = T> + Send + 'static,
    consuming: impl Future<Output = ()> + Send + 'static,
) -> Duration {
    let start = Instant::now();
    let tasks = (tokio::spawn(producing), tokio::spawn(consuming));
    let (produced, consumed) = tokio::join!(tasks.0, tasks.1);
    let elapsed = start.elapsed();
    consumed.unwrap();
    drop(produced.unwrap());
    elapsed
}

/// Source, scanner, lane and sink together, with peers in memory.
fn sides(criterion: &mut Criterion) {
    let mut group = group(criterion, "sides");
    for size in SIZES {
        let message = message(size);
        let mut pair = Pair::new(&frames(&message));
        for batch in BATCHES {
            group.throughput(Throughput::Bytes((message.len() * batch) as u64));
            group.bench_function(format!("{}x{batch}", size_name(size)), |bencher| {
                bencher.iter(|| pair.pass(batch as u64));
            });
        }
    }
    group.finish();
}

fn scanner(criterion: &mut Criterion) {
    let mut group = group(criterion, "scanner");
    let mut scanner = Scanner::new(4 << 20, WHOLE, false);
    let small = message(64);
    let packed = small.repeat(FRAME / small.len());
    group.throughput(Throughput::Elements((packed.len() / small.len()) as u64));
    group.bench_function("messages/64B_many_in_a_frame", |bencher| {
        bencher.iter(|| scanner.feed(black_box(&packed)));
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("messages/64B_one_in_a_frame", |bencher| {
        bencher.iter(|| scanner.feed(black_box(&small)));
    });
    for size in [1 << 10, 64 << 10, 1 << 20] {
        let message = message(size);
        let frames = frames(&message);
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(format!("bytes/{}", size_name(size)), |bencher| {
            bencher.iter(|| {
                for frame in &frames {
                    black_box(scanner.feed(black_box(frame)));
                }
            });
        });
    }
    group.finish();
}

/// The cost of joining for each small chunk. In the sender they are joined while they wait to be flushed, in the
/// receiver if each was flushed and the receiver comes late.
fn joining(criterion: &mut Criterion) {
    const CHUNKS: usize = 32;
    let mut group = group(criterion, "joining");
    group.throughput(Throughput::Elements(CHUNKS as u64));
    for size in [20, 64, 512] {
        let chunk = Bytes::from(vec![7; size]);
        for (place, flush_each) in [("sender", false), ("receiver", true)] {
            let (mut tx, mut rx) = lane();
            group.bench_function(format!("{place}/{size}B"), |bencher| {
                bencher.iter(|| {
                    for _ in 0..CHUNKS {
                        tx.push(chunk.clone(), size);
                        if flush_each {
                            tx.flush(1);
                        }
                    }
                    tx.flush(0);
                    while let Some(frame) = rx.take(usize::MAX) {
                        black_box(frame);
                    }
                    rx.commit();
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, one_task, two_tasks, sides, scanner, joining);
