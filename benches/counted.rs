//! Small operations a given number of times, for `benches/instructions.sh` to count their instructions. Instructions
//! do not depend on how busy the machine is.
//!
//! `counted CASE TIMES`; with no arguments, the names of the cases.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

#[path = "support/case.rs"]
mod case;
#[path = "support/lane.rs"]
mod lane;

use std::{
    env,
    hint::black_box,
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use case::{FRAME, KEY, WHOLE, headers, message};
use jumpstarter_router::inside::{
    auth::{Key, KeyRing, Rules},
    pairing::table::{Place, Refused, Table},
    splice::scanner::Scanner,
    transport::wake_flag::WakeFlag,
};
use lane::Fused;

type Case = (&'static str, fn(u64));

const CASES: [Case; 9] = [
    ("lane_64B", |times| lane(64, 1, times)),
    ("lane_64B_of_32", |times| lane(64, 32, times / 32)),
    ("lane_16KiB", |times| lane(FRAME, 1, times)),
    ("scanner_64B", scanner),
    ("token_check", token_check),
    ("pair", pair),
    ("leave", leave),
    ("wake_flag_set_taken", wake_flag),
    ("wake_flag_quiet_look", quiet_look),
];

fn lane(size: usize, batch: usize, times: u64) {
    let chunk = [Bytes::from(vec![7; size])];
    let mut cx = Context::from_waker(Waker::noop());
    let mut fused = Fused::new();
    for _ in 0..times {
        fused.round(&chunk, batch, &mut cx, |frame| drop(black_box(frame)));
    }
}

fn scanner(times: u64) {
    let message = message(64);
    let mut scanner = Scanner::new(4 << 20, WHOLE, false);
    for _ in 0..times {
        black_box(scanner.feed(black_box(&message)));
    }
}

fn token_check(times: u64) {
    let rules = Rules::new(KeyRing::new([Key::new("key", KEY)]).unwrap());
    let headers = headers(KEY, "019a0000-0000-7000-8000-000000000000");
    let now = SystemTime::now();
    for _ in 0..times {
        rules.check(black_box(&headers), now).unwrap();
    }
}

fn meeting() -> (Table<u64>, Arc<str>, SystemTime) {
    let key = Arc::from("019a0000-0000-7000-8000-000000000000");
    let until = SystemTime::now() + Duration::from_secs(600);
    (Table::new(usize::MAX, false), key, until)
}

/// Keeps nothing.
#[allow(
    clippy::unnecessary_wraps,
    reason = "what `Table::arrive` calls may refuse"
)]
fn offer(offer: u64) -> Result<(u64, ()), Refused> {
    Ok((offer, ()))
}

fn pair(times: u64) {
    let (table, key, until) = meeting();
    for number in 0..times {
        black_box(table.arrive(&key, until, || offer(number)).unwrap());
        black_box(table.arrive(&key, until, || offer(number)).unwrap());
    }
}

fn leave(times: u64) {
    let (table, key, until) = meeting();
    for number in 0..times {
        if let Ok(Place::Waiting(ticket, ())) = table.arrive(&key, until, || offer(number)) {
            black_box(table.leave(&key, ticket));
        }
    }
}

fn wake_flag(times: u64) {
    let flag = WakeFlag::new();
    for _ in 0..times {
        flag.start_looking(Waker::noop());
        flag.set();
        assert!(flag.take());
        assert!(!flag.stop_looking());
    }
}

fn quiet_look(times: u64) {
    let flag = WakeFlag::new();
    flag.take();
    for _ in 0..times {
        assert!(!black_box(&flag).take());
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [case, times] = &arguments[..] else {
        for (name, _) in CASES {
            println!("{name}");
        }
        return;
    };
    let Some((_, run)) = CASES.iter().find(|(name, _)| name == case) else {
        panic!("no such case: {case}");
    };
    run(times.parse().expect("a number of times"));
}
