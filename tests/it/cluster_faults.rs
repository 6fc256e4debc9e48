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

/// A call from one router to another that hangs, as the other one is stopped.
struct Hanging {
    caller: Member,
    callee: Member,
    /// Its half waits at the callee, at the caller, and a router that can be called is `third`.
    at_callee: Half,
    at_caller: Half,
    third: Member,
}

impl Hanging {
    /// `warm`: on a connection that is there, so that all of the call lies there unread. Else the handshake hangs.
    async fn new(nats: &Nats, warm: bool) -> Self {
        let cluster = Cluster::new(nats.url());
        let [caller, callee] = cluster.members().await;
        if warm {
            meets(caller.waits("before").await, callee.half("before").await).await;
            caller.is_at_rest().await;
        }
        let mut tap = Tap::new(nats);
        let at_callee = callee.waits("called").await;
        let announced = tap.hear_from(&callee.id);
        callee.signal("STOP");
        let at_caller = caller.waits("called").await;
        tap.hear_from(&caller.id);
        // Late, as a bus may be; again, as it is not heard right after a call that failed.
        // While it calls, its half is none that others are heard for.
        let others = caller.announcements("of_others");
        until_async("it is called", async || {
            tap.say(&announced);
            tokio::time::sleep(Duration::from_millis(20)).await;
            caller.announcements("of_others") > others && callee.is_called_and_does_not_read()
        })
        .await;
        let third = cluster.member(&[]).await;
        Self {
            caller,
            callee,
            at_callee,
            at_caller,
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
            caller,
            callee,
            at_callee,
            at_caller,
            third,
        } = Hanging::new(&nats, warm).await;
        callee.signal("KILL");
        until("it fails", || caller.calls("unreachable") > 0).await;
        let lost = within("the end", at_callee.call).await.unwrap();
        assert!(lost.is_err());
        meets(at_caller, third.half("called").await).await;
        caller.is_at_rest().await;
        third.is_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_called_by_a_router_that_is_killed_waits_on_or_is_told() {
    let Some(nats) = Nats::start() else { return };
    for warm in [false, true] {
        let Hanging {
            caller,
            callee,
            at_callee,
            at_caller,
            third,
        } = Hanging::new(&nats, warm).await;
        caller.signal("KILL");
        let lost = within("the end", at_caller.call).await.unwrap();
        assert!(lost.is_err());
        callee.signal("CONT");
        meets_or_is_told(at_callee, third.half("called").await).await;
        callee.is_at_rest().await;
        third.is_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_that_is_gone_while_its_router_calls_leaves_nothing_behind() {
    let Some(nats) = Nats::start() else { return };
    for warm in [false, true] {
        let Hanging {
            caller,
            callee,
            at_callee,
            at_caller,
            third,
        } = Hanging::new(&nats, warm).await;
        at_caller.call.abort();
        caller.calls_are("given_up", 1).await;
        caller.is_at_rest().await;
        callee.signal("CONT");
        meets_or_is_told(at_callee, third.half("called").await).await;
        callee.is_at_rest().await;
        third.is_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_called_router_that_pauses_is_waited_for_a_moment() {
    let Some(nats) = Nats::start() else { return };
    for warm in [false, true] {
        let Hanging {
            caller,
            callee,
            at_callee,
            at_caller,
            ..
        } = Hanging::new(&nats, warm).await;
        callee.signal("CONT");
        meets(at_caller, at_callee).await;
        assert_eq!(caller.calls("met"), 1 + i64::from(warm));
        caller.is_at_rest().await;
        callee.is_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_called_router_that_pauses_for_long_is_called_again() {
    let Some(nats) = Nats::start() else { return };
    let Hanging {
        caller,
        callee,
        at_callee,
        at_caller,
        ..
    } = Hanging::new(&nats, false).await;
    until("it fails", || caller.calls("unreachable") > 0).await;
    callee.signal("CONT");
    meets(at_caller, at_callee).await;
    caller.is_at_rest().await;
    callee.is_at_rest().await;

    // The call lies there whole, so its half may be given to a router that asks no more.
    let Hanging {
        caller,
        callee,
        at_callee,
        at_caller,
        third,
    } = Hanging::new(&nats, true).await;
    until("it fails", || caller.calls("unreachable") > 0).await;
    callee.signal("CONT");
    meets_or_is_told(at_callee, at_caller).await;
    caller.is_at_rest().await;
    callee.is_at_rest().await;
    third.is_at_rest().await;
}
