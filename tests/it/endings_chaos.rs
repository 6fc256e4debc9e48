//! Everything at once, in random order: nothing is left behind, and an innocent pair does not notice.

use std::time::Duration;

use crate::helpers::{self, Harness, Kind, Options, Peer, line::Cut, message, noise};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRng, TestRunner},
};
use tokio::task::JoinSet;

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Garbage,
    HalfClose,
    StopReading,
    Read,
    Pause(u64),
}

#[derive(Clone, Copy, Debug)]
enum Last {
    Cancel,
    Cut(Cut),
    Drop,
    HalfClose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..90_000_usize).prop_map(Step::Send),
        1 => Just(Step::Garbage),
        1 => Just(Step::HalfClose),
        2 => Just(Step::StopReading),
        2 => Just(Step::Read),
        3 => (0..20_u64).prop_map(Step::Pause),
    ]
}

fn last() -> impl Strategy<Value = Last> {
    prop_oneof![
        Just(Last::Cancel),
        Just(Last::Cut(Cut::Fin)),
        Just(Last::Cut(Cut::Rst)),
        Just(Last::Drop),
        Just(Last::HalfClose),
    ]
}

async fn play(mut peer: Peer, kind: Kind, steps: Vec<Step>, last: Last) {
    let mut open = true;
    for step in steps {
        match step {
            Step::HalfClose if open => {
                open = false;
                peer.half_close();
            }
            Step::Send(length) if open => {
                // The partner may not read, or may be gone: then there is never room, or an error.
                let payload = noise(1, length);
                open = peer.try_send(&payload, Duration::from_millis(100)).await;
            }
            Step::Garbage if open && kind == Kind::Raw => {
                open = peer
                    .try_send_bytes(vec![9; 9], Duration::from_millis(100))
                    .await;
            }
            Step::StopReading => peer.read(false),
            Step::Read => peer.read(true),
            Step::Pause(long) => tokio::time::sleep(Duration::from_millis(long)).await,
            _ => {}
        }
    }
    match last {
        Last::Cancel => peer.cancel(),
        Last::Cut(how) => peer.cut(how),
        Last::HalfClose if open => peer.half_close(),
        Last::HalfClose | Last::Drop => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_behind() {
    let harness = Harness::start(|config| {
        config.pairing.timeout = Duration::from_millis(300);
        config.streams.linger = Duration::from_millis(300);
        config.streams.idle_timeout = Some(Duration::from_secs(20));
    })
    .await;
    let rng = TestRng::deterministic_rng(prop::test_runner::RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let script = (prop::collection::vec(step(), 0..8), last(), any::<bool>());
    let (mut first, mut second) = harness.pair((Kind::Raw, Kind::Tonic), "innocent").await;
    let mut sent = Vec::new();
    for round in 0..20 {
        let mut players = JoinSet::new();
        for number in 0..16 {
            let (steps, last, raw) = script.new_tree(&mut runner).unwrap().current();
            let kind = if raw { Kind::Raw } else { Kind::Tonic };
            let subject = format!("{round} {}", number / 3);
            let peer = harness.peer_with(kind, &subject, Options::default()).await;
            players.spawn(play(peer, kind, steps, last));
        }
        let payload = noise(round, 40_000);
        first.send_data(&payload).await;
        second.send_data(&payload).await;
        sent.extend_from_slice(&message(&payload));
        second.arrived(sent.len()).await;
        first.arrived(sent.len()).await;
        helpers::within("all players", players.join_all()).await;
    }
    first.half_close();
    second.half_close();
    helpers::assert_completed("innocent", &first.collect().await, &sent);
    helpers::assert_completed("innocent", &second.collect().await, &sent);
    drop((first, second));
    harness.idle("chaos").await;
}
