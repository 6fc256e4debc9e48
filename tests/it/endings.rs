//! Pairs that end because a peer closes, cancels or vanishes: what the other one is told.

use crate::helpers::{
    Harness, Kind, Options, Peer, assert_completed, assert_told, line::Cut, message, noise,
    peer::KINDS,
};
use tonic::Code;

const CANCELLED: &str = "the other side cancelled its stream";
const LOST: &str = "the other side's connection was lost";

/// The one that acts and the one that is watched, whichever arrived first.
fn roles(first: Peer, second: Peer, first_acts: bool) -> (Peer, Peer) {
    if first_acts {
        (first, second)
    } else {
        (second, first)
    }
}

fn name(what: &str, kinds: (Kind, Kind), first_acts: bool) -> String {
    let actor = if first_acts { "first" } else { "second" };
    format!("{what}, {kinds:?}, the {actor} acts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_half_close() {
    let harness = Harness::start(|_| {}).await;
    for kinds in KINDS {
        for first_acts in [true, false] {
            let case = name("half-close", kinds, first_acts);
            let (first, second) = harness.pair(kinds, &case).await;
            let (mut closer, mut other) = roles(first, second, first_acts);
            let (early, late) = (noise(1, 40_000), noise(2, 90_000));
            closer.send_data(&early).await;
            closer.half_close();
            other.arrived(message(&early).len()).await;
            // One direction is over; the other one still carries whatever it likes.
            let mut sent = Vec::new();
            for payload in late.chunks(30_000) {
                other.send_data(payload).await;
                sent.extend_from_slice(&message(payload));
                closer.arrived(sent.len()).await;
                assert!(!other.has_ended(), "{case}: ended too early");
            }
            other.half_close();
            assert_completed(&case, &closer.collect().await, &sent);
            assert_completed(&case, &other.collect().await, &message(&early));
            drop((closer, other));
            harness.idle(&case).await;
        }
    }
    assert_eq!(harness.ends("completed"), 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_half_closes_before_its_partner_comes() {
    let harness = Harness::start(|_| {}).await;
    for kinds in KINDS {
        let case = name("early half-close", kinds, true);
        let mut first = harness.waiter(kinds.0, &case, Options::default()).await;
        let early = noise(3, 50_000);
        first.send_data(&early).await;
        first.half_close();
        first.written(message(&early).len()).await;
        let mut second = harness.peer(kinds.1, &case).await;
        second.arrived(message(&early).len()).await;
        let answer = noise(4, 70_000);
        second.send_data(&answer).await;
        first.arrived(message(&answer).len()).await;
        second.half_close();
        assert_completed(&case, &first.collect().await, &message(&answer));
        assert_completed(&case, &second.collect().await, &message(&early));
        drop((first, second));
        harness.idle(&case).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Cancel,
    Lose(Cut),
}

impl Act {
    fn on(self, peer: &mut Peer) {
        match self {
            Self::Cancel => peer.cancel(),
            Self::Lose(how) => peer.cut(how),
        }
    }

    fn status(self) -> (Code, &'static str) {
        match self {
            Self::Cancel => (Code::Unavailable, CANCELLED),
            Self::Lose(_) => (Code::Unavailable, LOST),
        }
    }
}

const ACTS: [Act; 3] = [Act::Cancel, Act::Lose(Cut::Fin), Act::Lose(Cut::Rst)];

/// What was accepted arrives first, then the GOAWAY frame, then the status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_goes_away() {
    let harness = Harness::start(|_| {}).await;
    for (kinds, act, first_acts) in cases() {
        let case = name(&format!("{act:?}"), kinds, first_acts);
        let (first, second) = harness.pair(kinds, &case).await;
        let (mut actor, mut survivor) = roles(first, second, first_acts);
        let payload = noise(5, 30_000);
        actor.send_data(&payload).await;
        let mut sent = message(&payload).to_vec();
        survivor.arrived(sent.len()).await;
        // A reset of the connection also drops what its own kernel still holds, so then nothing is on its way.
        if act != Act::Lose(Cut::Rst) {
            // More than the survivor's window: some of it still waits in the router when the end comes.
            survivor.read(false);
            for seed in 6..12 {
                let payload = noise(seed, 30_000);
                actor.send_data(&payload).await;
                sent.extend_from_slice(&message(&payload));
            }
            actor.written(sent.len()).await;
        }
        act.on(&mut actor);
        survivor.read(true);
        let (code, text) = act.status();
        assert_told(&case, &survivor.collect().await, &sent, code, text);
        drop((actor, survivor));
        harness.idle(&case).await;
    }
}

/// The survivor has said all it had to say and only reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_goes_away_from_one_that_half_closed() {
    let harness = Harness::start(|_| {}).await;
    for (kinds, act, first_acts) in cases() {
        let actor = if first_acts { kinds.0 } else { kinds.1 };
        if (act, actor) == (Act::Cancel, Kind::Tonic) {
            // tonic half-closes, then resets: by then both have half-closed, and the pair may be complete.
            continue;
        }
        let case = name(&format!("{act:?} after half-close"), kinds, first_acts);
        let (first, second) = harness.pair(kinds, &case).await;
        let (mut actor, mut survivor) = roles(first, second, first_acts);
        survivor.send_data(b"the last word").await;
        survivor.half_close();
        actor.arrived(message(b"the last word").len()).await;
        actor.send_data(b"one more").await;
        survivor.arrived(message(b"one more").len()).await;
        act.on(&mut actor);
        let (code, text) = act.status();
        let got = survivor.collect().await;
        assert_told(&case, &got, &message(b"one more"), code, text);
        drop((actor, survivor));
        harness.idle(&case).await;
    }
}

/// The actor has half-closed and gone on reading; nothing it sends could tell any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_goes_away_after_its_half_close() {
    let harness = Harness::start(|_| {}).await;
    for (kinds, act, first_acts) in cases() {
        let case = name(&format!("half-close, then {act:?}"), kinds, first_acts);
        let (first, second) = harness.pair(kinds, &case).await;
        let (mut actor, mut survivor) = roles(first, second, first_acts);
        actor.send_data(b"the last word").await;
        actor.half_close();
        survivor.arrived(message(b"the last word").len()).await;
        // The answer proves that the half-close ended nothing else.
        survivor.send_data(b"an answer").await;
        actor.arrived(message(b"an answer").len()).await;
        act.on(&mut actor);
        let (code, text) = act.status();
        let got = survivor.collect().await;
        assert_told(&case, &got, &message(b"the last word"), code, text);
        drop((actor, survivor));
        harness.idle(&case).await;
    }
}

fn cases() -> impl Iterator<Item = ((Kind, Kind), Act, bool)> {
    KINDS.into_iter().flat_map(|kinds| {
        ACTS.into_iter()
            .flat_map(move |act| [(kinds, act, true), (kinds, act, false)])
    })
}

/// Every reset code means that the peer gave up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_reset_code() {
    let harness = Harness::start(|_| {}).await;
    for code in [0, 1, 2, 5, 7, 8, 11, 13, 4_711] {
        let case = format!("reset with code {code}");
        let (mut first, mut second) = harness.pair((Kind::Raw, Kind::Raw), &case).await;
        second.reset(code.into());
        assert_told(
            &case,
            &first.collect().await,
            &[],
            Code::Unavailable,
            CANCELLED,
        );
        drop((first, second));
        harness.idle(&case).await;
    }
}
