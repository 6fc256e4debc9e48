//! A router is killed or stands still while another one calls it.

use std::time::Duration;

use crate::helpers::{
    cluster::{Cluster, Member, meets},
    data,
    half::Half,
    last_words,
    nats::{Nats, Tap},
    until, until_async, within,
};
use tonic::Code;

/// A call from one router, of the lower id, to another that hangs, as that one is stopped.
struct Hanging {
    lower: Member,
    higher: Member,
    at_higher: Half,
    at_lower: Half,
    /// One at which whoever is left finds a new partner.
    third: Member,
}

impl Hanging {
    /// `warm`: on a connection that is there, so that all of the call lies there unread. Else the handshake hangs.
    async fn new(nats: &Nats, warm: bool) -> Self {
        let cluster = Cluster::new(nats.url());
        let [lower, higher] = cluster.members().await;
        if warm {
            meets(lower.waits("before").await, higher.half("before").await).await;
            lower.is_at_rest().await;
        }
        let mut tap = Tap::new(nats);
        let at_higher = higher.waits("called").await;
        let announced = tap.hear_from(&higher.id);
        higher.signal("STOP");
        let at_lower = lower.waits("called").await;
        tap.hear_from(&lower.id);
        // Late, as a bus may be; again, as it is not heard right after a call that failed.
        // While it calls, its half is none that others are heard for.
        let others = lower.announcements("of_others");
        until_async("it is called", async || {
            tap.say(&announced);
            tokio::time::sleep(Duration::from_millis(20)).await;
            lower.announcements("of_others") > others && higher.is_called_and_does_not_read()
        })
        .await;
        let third = cluster.member(&[]).await;
        Self {
            lower,
            higher,
            at_higher,
            at_lower,
            third,
        }
    }
}

/// Meets a new partner; or is told that its partner was lost, if a call of one that is gone was answered.
async fn meets_or_is_told(waiting: Half, mut partner: Half) {
    let (mut one, _channel) = waiting.met().await;
    tokio::select! {
        (told, code, text) = last_words(&mut one) => {
            assert!(told, "a GOAWAY frame");
            assert_eq!(
                (code, &*text),
                (Code::Unavailable, "the other side's connection was lost")
            );
            partner.call.abort();
        }
        met = &mut partner.call => {
            let other = met.unwrap().unwrap();
            other.send.send(data(&b"met"[..])).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_a_router_that_is_killed_waits_on() {
    let Some(nats) = Nats::start() else { return };
    for warm in [false, true] {
        let Hanging {
            lower,
            higher,
            at_higher,
            at_lower,
            third,
        } = Hanging::new(&nats, warm).await;
        higher.signal("KILL");
        until("it fails", || lower.calls("unreachable") > 0).await;
        let lost = within("the end", at_higher.call).await.unwrap();
        assert!(lost.is_err());
        meets(at_lower, third.half("called").await).await;
        lower.is_at_rest().await;
        third.is_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_called_by_a_router_that_is_killed_waits_on_or_is_told() {
    let Some(nats) = Nats::start() else { return };
    for warm in [false, true] {
        let Hanging {
            lower,
            higher,
            at_higher,
            at_lower,
            third,
        } = Hanging::new(&nats, warm).await;
        lower.signal("KILL");
        let lost = within("the end", at_lower.call).await.unwrap();
        assert!(lost.is_err());
        higher.signal("CONT");
        meets_or_is_told(at_higher, third.half("called").await).await;
        higher.is_at_rest().await;
        third.is_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_that_is_gone_while_its_router_calls_leaves_nothing_behind() {
    let Some(nats) = Nats::start() else { return };
    for warm in [false, true] {
        let Hanging {
            lower,
            higher,
            at_higher,
            at_lower,
            third,
        } = Hanging::new(&nats, warm).await;
        at_lower.call.abort();
        lower.calls_are("given_up", 1).await;
        lower.is_at_rest().await;
        higher.signal("CONT");
        meets_or_is_told(at_higher, third.half("called").await).await;
        higher.is_at_rest().await;
        third.is_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_called_router_that_pauses_is_waited_for_a_moment() {
    let Some(nats) = Nats::start() else { return };
    for warm in [false, true] {
        let Hanging {
            lower,
            higher,
            at_higher,
            at_lower,
            ..
        } = Hanging::new(&nats, warm).await;
        higher.signal("CONT");
        meets(at_lower, at_higher).await;
        assert_eq!(lower.calls("met"), 1 + i64::from(warm));
        lower.is_at_rest().await;
        higher.is_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_called_router_that_pauses_for_long_is_called_again() {
    let Some(nats) = Nats::start() else { return };
    let Hanging {
        lower,
        higher,
        at_higher,
        at_lower,
        ..
    } = Hanging::new(&nats, false).await;
    until("it fails", || lower.calls("unreachable") > 0).await;
    higher.signal("CONT");
    meets(at_lower, at_higher).await;
    lower.is_at_rest().await;
    higher.is_at_rest().await;

    // The call lies there whole, so its half may be given to a router that asks no more.
    let Hanging {
        lower,
        higher,
        at_higher,
        at_lower,
        third,
    } = Hanging::new(&nats, true).await;
    until("it fails", || lower.calls("unreachable") > 0).await;
    higher.signal("CONT");
    meets_or_is_told(at_higher, at_lower).await;
    lower.is_at_rest().await;
    higher.is_at_rest().await;
    third.is_at_rest().await;
}
