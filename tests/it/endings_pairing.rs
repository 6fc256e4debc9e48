//! Who meets whom: waiters that leave, and further streams with the same token.

use crate::helpers::{
    self, Harness, Kind, Options, assert_completed, call, data, goaway, line::Cut, message, noise,
    peer::KINDS, token, until, within,
};
use tonic::Code;

/// A waiter that goes makes room at once: its token can wait, and pair, again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_leaves() {
    let harness = Harness::start(|_| {}).await;
    for kind in [Kind::Tonic, Kind::Raw] {
        for (how, half_closed) in ["cancel", "FIN", "RST"]
            .into_iter()
            .flat_map(|how| [(how, false), (how, true)])
        {
            let case = format!("waiter leaves by {how}, {kind:?}, half-closed: {half_closed}");
            let mut waiter = harness.waiter(kind, &case, Options::default()).await;
            waiter.send_data(b"of the first").await;
            waiter.written(message(b"of the first").len()).await;
            if half_closed {
                waiter.half_close();
            }
            match how {
                "cancel" => waiter.cancel(),
                "FIN" => waiter.cut(Cut::Fin),
                _ => waiter.cut(Cut::Rst),
            }
            until("the waiter to be gone", || harness.waiting() == 0).await;
            let (mut first, mut second) = harness.pair((kind, Kind::Raw), &case).await;
            first.send_data(b"of the second").await;
            second.arrived(1).await;
            first.half_close();
            second.half_close();
            assert_completed(&case, &second.collect().await, &message(b"of the second"));
            assert_completed(&case, &first.collect().await, &[]);
            drop((waiter, first, second));
            harness.idle(&case).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn third_and_fourth() {
    let harness = Harness::start(|_| {}).await;
    for kinds in KINDS {
        let case = format!("third and fourth, {kinds:?}");
        let (mut first, mut second) = harness.pair(kinds, &case).await;
        first.send_data(b"one").await;
        second.arrived(message(b"one").len()).await;
        let (mut third, mut fourth) = harness.pair(kinds, &case).await;
        third.send_data(b"three").await;
        fourth.send_data(b"four").await;
        second.send_data(b"two").await;
        third.half_close();
        fourth.half_close();
        assert_completed(&case, &fourth.collect().await, &message(b"three"));
        assert_completed(&case, &third.collect().await, &message(b"four"));
        first.arrived(message(b"two").len()).await;
        assert!(!second.has_ended(), "{case}: the first pair goes on");
        first.half_close();
        second.half_close();
        assert_completed(&case, &first.collect().await, &message(b"two"));
        assert_completed(&case, &second.collect().await, &message(b"one"));
        drop((first, second, third, fourth));
        harness.idle(&case).await;
    }
}

/// Many streams come and go with one token at once: each meets exactly one other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_with_one_token() {
    let harness = Harness::start(|_| {}).await;
    let mut peers = Vec::new();
    for number in 0..20_u8 {
        let kind = if number % 2 == 0 {
            Kind::Raw
        } else {
            Kind::Tonic
        };
        let mut peer = harness.peer(kind, "crowd").await;
        peer.send_data(&[number; 1_000]).await;
        peer.half_close();
        peers.push(peer);
    }
    let mut heard = Vec::new();
    for peer in &mut peers {
        let got = peer.collect().await;
        let said = *got.bytes.last().unwrap();
        assert_completed("crowd", &got, &message(&[said; 1_000]));
        heard.push(said);
    }
    for (number, said) in heard.iter().enumerate() {
        assert_eq!(usize::from(heard[usize::from(*said)]), number, "{heard:?}");
    }
    drop(peers);
    harness.idle("crowd").await;
}

/// What other programs use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_this_package() {
    let harness = Harness::start(|_| {}).await;
    let token = token("client");
    let channels = (
        harness.connector.channel().await.unwrap(),
        harness.connector.channel().await.unwrap(),
    );
    let early = vec![data(noise(1, 60_000)), data("second")];
    let waiting = tokio::spawn({
        let token = token.clone();
        async move { call(channels.0, &token, early).await }
    });
    let mut second = within("the second", call(channels.1, &token, Vec::new()))
        .await
        .unwrap();
    let mut first = within("the first", waiting).await.unwrap().unwrap();
    for want in [noise(1, 60_000), b"second".to_vec()] {
        let got = within("early data", second.receive.message()).await;
        assert_eq!(got.unwrap().unwrap().payload, want);
    }
    second.send.send(goaway()).await.unwrap();
    drop((first.send, second.send));
    let got = within("GOAWAY", first.receive.message()).await;
    assert_eq!(got.unwrap().unwrap().frame_type, 7);
    assert!(
        within("OK", first.receive.message())
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        within("OK", second.receive.message())
            .await
            .unwrap()
            .is_none()
    );
    drop((first.receive, second.receive));
    harness.idle("client").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_only_a_status() {
    let harness = Harness::start(|config| {
        config.pairing.max_waiting = Some(1);
        config.auth.single_use = true;
    })
    .await;
    let (first, second) = harness.pair((Kind::Raw, Kind::Raw), "spent").await;
    let waiter = harness.waiter(Kind::Raw, "one", Options::default()).await;
    for (subject, code) in [
        ("spent", Code::Unauthenticated),
        ("two", Code::ResourceExhausted),
    ] {
        for kind in [Kind::Tonic, Kind::Raw] {
            let mut refused = harness.peer(kind, subject).await;
            let got = refused.collect().await;
            assert!(got.head.is_none() && got.bytes.is_empty(), "{subject}");
            assert!(
                matches!(got.end, helpers::End::Status(found, _) if found == code),
                "{subject}: {got:?}"
            );
        }
    }
    drop((first, second, waiter));
    harness.idle("refusals").await;
}
