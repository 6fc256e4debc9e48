//! Credit: whatever the lengths of messages, a whole one always fits what the sender is granted.

use std::time::Duration;

use crate::helpers::{
    self, Harness, Kind, assert_bytes, call, data, message, noise, token, within,
};
use jumpstarter_router::inside::{cli::load::delay, config::Size};

/// A message that is held back until it is complete needs credit for all of it, though what was forwarded before
/// it has not been worth a `WINDOW_UPDATE` yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_message_always_gets_its_credit() {
    let smallest = Size::new(128 * 1024);
    let harness = Harness::start(|config| config.streams.initial_window = smallest).await;
    for (before, held) in [
        (40_000, 98_000),
        (33_500, 98_290),
        (35_000, 98_290),
        (37_000, 98_290),
        (43_000, 90_000),
        (65_000, 80_000),
        (65_500, 65_536),
        (20_000, 85_000),
        (43_600, 81_900),
        (1, 81_900),
    ] {
        let case = format!("{before} bytes, then {held}");
        let (mut first, mut second) = harness.pair((Kind::Raw, Kind::Raw), &case).await;
        let (small, large) = (noise(1, before), noise(2, held));
        let mut arrived = 0;
        for _ in 0..5 {
            // The first message has left the router before the second begins.
            first.send_data(&small).await;
            arrived += message(&small).len();
            second.arrived(arrived).await;
            first.send_data(&large).await;
            arrived += message(&large).len();
            second.arrived(arrived).await;
        }
        let want = [message(&small), message(&large)].concat().repeat(5);
        assert_bytes(&case, second.arrived(want.len()).await, &want);
        drop((first, second));
        harness.idle(&case).await;
    }
}

/// Both ends of many pairs on two connections: nobody's credit is another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pairs_share_connections() {
    let harness = Harness::start(|_| {}).await;
    let channels = [
        harness.connector.channel().await.unwrap(),
        harness.connector.channel().await.unwrap(),
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..40_usize {
        // Some pairs meet on one connection, some across the two.
        for channel in [number % 2, number / 2 % 2] {
            let channel = channels[channel].clone();
            let token = token(&format!("shared {number}"));
            tasks.spawn(async move {
                let mut call = call(channel, &token, Vec::new()).await.unwrap();
                let send = call.send;
                let sender = tokio::spawn(async move {
                    for seed in 0..16 {
                        send.send(data(noise(seed, 65_536))).await.unwrap();
                    }
                });
                for seed in 0..16 {
                    let got = call.receive.message().await.unwrap().unwrap();
                    assert_bytes("shared", &got.payload, &noise(seed, 65_536));
                }
                assert!(call.receive.message().await.unwrap().is_none());
                sender.await.unwrap();
            });
        }
    }
    helpers::within("all pairs", tasks.join_all()).await;
    drop(channels);
    harness.idle("shared").await;
}

/// A window that has grown on a long path is taken back while nothing moves. What was not worth a `WINDOW_UPDATE` of the
/// large window may be all of the small one: the sender must get it then, or it waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_shrinks_leaves_the_sender_some() {
    const PAIRS: usize = 8;
    const PATIENCE: Duration = Duration::from_secs(10);
    let start = Size::new(128 * 1024);
    let mut harness = Harness::start(|config| {
        config.streams.initial_window = start;
        config.streams.max_window = Size::new(2 << 20);
    })
    .await;
    let distance = delay::start(
        harness.connector.endpoint().to_owned(),
        Duration::from_millis(20),
    );
    harness.connector = harness.connector.clone().via(distance.await.unwrap());
    let largest = |harness: &Harness| {
        let mut largest = 0;
        harness
            .router
            .streams
            .for_each(|live| largest = largest.max(live.window()));
        largest as usize
    };

    let mut pairs = Vec::new();
    for number in 0..PAIRS {
        let case = format!("pair {number}");
        pairs.push(harness.pair((Kind::Raw, Kind::Raw), &case).await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (number, (mut first, mut second)) in pairs.into_iter().enumerate() {
        tasks.spawn(async move {
            let mut sent = 0;
            // Each stops at another place between two returns of credit.
            let lengths = [2 << 20, 2 << 20, 2 << 20, 2 << 20, 1 + number * 60_000];
            for part in lengths.map(|length| noise(1, length)) {
                first.send_data(&part).await;
                sent += message(&part).len();
            }
            second.arrived(sent).await;
            (first, second, sent)
        });
    }
    let pairs = within("all windows to grow", tasks.join_all()).await;
    assert!(largest(&harness) > start.bytes(), "none has grown");
    // What is granted beyond it is taken back early.
    harness.router.limits.windows.set_limit(0);
    helpers::until("all windows to shrink", || {
        largest(&harness) == start.bytes()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    for (number, (mut first, mut second, sent)) in pairs.into_iter().enumerate() {
        let more = noise(3, 256 * 1024);
        assert!(
            first.try_send(&more, PATIENCE).await,
            "pair {number} has no credit"
        );
        second.arrived(sent + message(&more).len()).await;
    }
}
