//! The row "administrator" of the table of endings: both peers are told, whoever came first and whatever they do.

use std::net::SocketAddr;

use crate::helpers::web::{aside, get, send};
use crate::helpers::{
    self, Harness, Kind, Options, assert_told, message, noise, peer::KINDS, until,
};
use serde_json::Value;
use tonic::Code;

const TEXT: &str = "ended by an administrator";

async fn harness() -> Harness {
    Harness::start(|config| {
        config.listen.admin_address = Some(([127, 0, 0, 1], 0).into());
    })
    .await
}

/// The row with this subject.
async fn row(admin: SocketAddr, subject: &str) -> Option<Value> {
    let listing = aside(move || get(admin, "/api/streams").json()).await;
    let rows = listing["streams"].as_array().unwrap();
    rows.iter().find(|row| row["subject"] == subject).cloned()
}

/// Ends the stream with this subject, as it is listed.
async fn end(admin: SocketAddr, subject: &str) {
    let row = row(admin, subject).await.expect("it is listed");
    let path = format!("/api/streams/{}/end", row["id"]);
    let answer = aside(move || send(admin, "POST", &path, "{}")).await;
    assert_eq!(
        (answer.status, &*answer.body),
        (202, r#"{"state":"ending"}"#)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_peers_of_a_pair_are_told_after_what_was_accepted() {
    let harness = harness().await;
    let admin = harness.admin();
    for kinds in KINDS {
        for half_closed in [false, true] {
            let case = format!("{kinds:?}, half-closed: {half_closed}");
            let (mut first, mut second) = harness.pair(kinds, &case).await;
            let (there, back) = (noise(1, 70_000), noise(2, 30_000));
            first.send_data(&there).await;
            second.send_data(&back).await;
            second.arrived(message(&there).len()).await;
            first.arrived(message(&back).len()).await;
            if half_closed {
                first.half_close();
            }
            end(admin, &case).await;
            for (peer, got) in [(&mut first, &back), (&mut second, &there)] {
                let collected = peer.collect().await;
                assert_told(&case, &collected, &message(got), Code::Aborted, TEXT);
            }
            drop((first, second));
            harness.idle(&case).await;
            assert_eq!(row(admin, &case).await, None, "{case}: still listed");
        }
    }
    assert_eq!(harness.ends("administrator"), 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_waits_is_told_and_its_token_serves_again() {
    let harness = harness().await;
    let admin = harness.admin();
    for kind in [Kind::Tonic, Kind::Raw] {
        let case = format!("waiting, {kind:?}");
        let mut peer = harness.waiter(kind, &case, Options::default()).await;
        peer.send_data(b"early").await;
        end(admin, &case).await;
        assert_told(&case, &peer.collect().await, &[], Code::Aborted, TEXT);
        drop(peer);
        harness.idle(&case).await;
        let pair = harness.pair((kind, Kind::Raw), &case).await;
        drop(pair);
        harness.idle(&case).await;
    }
    assert_eq!(harness.ends("administrator"), 2);
}

/// Of a pair that stands still the list says where, for how long, and how much; ending it resets nobody who reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_pair_is_seen_and_ended() {
    let harness = harness().await;
    let admin = harness.admin();
    let options = (Options::stopped(1_000), Options::default());
    let (mut stopped, mut sender) = harness
        .pair_with((Kind::Raw, Kind::Raw), "stalled", options)
        .await;
    sender.send_data(&noise(3, 60_000)).await;
    sender.written(60_000).await;
    let mut seen = Value::Null;
    for _ in 0..200 {
        seen = row(admin, "stalled").await.unwrap();
        if seen["peers"][0]["stalled_seconds"].is_number() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let [slow, quick] = [&seen["peers"][0], &seen["peers"][1]];
    assert!(slow["stalled_seconds"].as_f64().unwrap() >= 0.5, "{seen}");
    assert!(slow["held_bytes"].as_u64().unwrap() > 50_000, "{seen}");
    assert_eq!(quick["stalled_seconds"], Value::Null, "{seen}");
    assert_eq!(quick["held_bytes"], 0, "{seen}");
    assert_eq!(
        quick["bytes_in"],
        message(&noise(3, 60_000)).len(),
        "{seen}"
    );

    end(admin, "stalled").await;
    assert_told("sender", &sender.collect().await, &[], Code::Aborted, TEXT);
    // The other one takes nothing, so it is still being told.
    let seen = row(admin, "stalled").await.unwrap();
    assert_eq!(seen["state"], "ending");
    assert_eq!(seen["peers"].as_array().unwrap().len(), 1, "{seen}");
    stopped.read(true);
    let want = message(&noise(3, 60_000));
    assert_told(
        "stopped",
        &stopped.collect().await,
        &want,
        Code::Aborted,
        TEXT,
    );
    drop((stopped, sender));
    until("the row to go", || harness.router.streams.count() == 0).await;
    harness.idle("stalled").await;
}

/// Its partner has gone, and it has not yet taken what came before: nobody asked for this end from outside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_being_told_is_shown_as_ending() {
    let harness = harness().await;
    let admin = harness.admin();
    let options = (Options::stopped(1_000), Options::default());
    let (mut stopped, mut sender) = harness
        .pair_with((Kind::Raw, Kind::Raw), "left", options)
        .await;
    sender.send_data(&noise(4, 30_000)).await;
    sender.written(30_000).await;
    assert_eq!(row(admin, "left").await.unwrap()["state"], "paired");
    sender.cancel();
    let mut seen = Value::Null;
    for _ in 0..200 {
        seen = row(admin, "left").await.unwrap();
        if seen["state"] == "ending" && seen["peers"].as_array().unwrap().len() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert_eq!(seen["state"], "ending", "{seen}");
    assert_eq!(seen["peers"].as_array().unwrap().len(), 1, "{seen}");
    stopped.read(true);
    let text = "the other side cancelled its stream";
    let got = stopped.collect().await;
    // As much as was accepted before the reset.
    assert_eq!(
        got.end,
        helpers::End::Status(Code::Unavailable, text.to_owned())
    );
    drop((stopped, sender));
    harness.idle("left").await;
}
