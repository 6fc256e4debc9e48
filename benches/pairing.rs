//! The table in which streams meet.

use std::{
    sync::{Arc, Barrier},
    time::{Duration, Instant, SystemTime},
};

use crate::support::group;
use criterion::{Criterion, Throughput, criterion_group};
use jumpstarter_router::inside::pairing::table::{Place, Refused, Table};

/// Different keys that are used in turn: with one alone, everything would stay in the first cache.
const KEYS: usize = 1024;

/// As long as the subjects of stock tokens.
fn keys(prefix: usize) -> Vec<Arc<str>> {
    (0..KEYS)
        .map(|number| Arc::from(format!("019a{prefix:04x}-0000-7000-8000-{number:012x}")))
        .collect()
}

/// Keeps nothing.
#[allow(
    clippy::unnecessary_wraps,
    reason = "what `Table::arrive` calls may refuse"
)]
fn offer(offer: u64) -> Result<(u64, ()), Refused> {
    Ok((offer, ()))
}

fn pair(table: &Table<u64>, key: &Arc<str>, until: SystemTime) {
    assert!(matches!(
        table.arrive(key, until, || offer(1)),
        Ok(Place::Waiting(..))
    ));
    assert!(matches!(
        table.arrive(key, until, || offer(2)),
        Ok(Place::Paired(1))
    ));
}

fn leave(table: &Table<u64>, key: &Arc<str>, until: SystemTime) {
    let Ok(Place::Waiting(ticket, ())) = table.arrive(key, until, || offer(1)) else {
        unreachable!("nobody waits with this key")
    };
    assert_eq!(table.leave(key, ticket), Some(1));
}

/// Each of two threads pairs `count` times with keys of its own: they meet only in the table's shards.
fn contended(
    table: &Table<u64>,
    sets: &[Vec<Arc<str>>; 2],
    count: u64,
    until: SystemTime,
) -> Duration {
    let barrier = Barrier::new(2);
    let run = |keys: &[Arc<str>]| {
        barrier.wait();
        let start = Instant::now();
        for key in keys.iter().cycle().take(count as usize) {
            pair(table, key, until);
        }
        start.elapsed()
    };
    let times = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(&sets[1]));
        [run(&sets[0]), other.join().unwrap()]
    });
    times.into_iter().max().unwrap_or_default()
}

fn pairing(criterion: &mut Criterion) {
    let mut group = group(criterion, "pairing");
    group.throughput(Throughput::Elements(1));
    let until = SystemTime::now() + Duration::from_secs(600);
    let sets = [keys(0), keys(1)];
    let crowded = Table::new(usize::MAX, false);
    for number in 0..100_000 {
        let key = Arc::from(format!("waiting-{number}"));
        crowded.arrive(&key, until, || offer(0)).unwrap();
    }
    let empty = Table::new(usize::MAX, false);
    for (name, table) in [("alone", &empty), ("beside_100000", &crowded)] {
        let mut turn = sets[0].iter().cycle();
        group.bench_function(format!("pair/{name}"), |bencher| {
            bencher.iter(|| pair(table, turn.next().unwrap(), until));
        });
        group.bench_function(format!("leave/{name}"), |bencher| {
            bencher.iter(|| leave(table, turn.next().unwrap(), until));
        });
    }
    // Pairs of one thread; the other makes as many meanwhile.
    group.bench_function("pair/two_threads", |bencher| {
        bencher.iter_custom(|count| contended(&empty, &sets, count, until));
    });
    group.finish();
}

criterion_group!(benches, pairing);
