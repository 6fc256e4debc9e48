//! A router is killed, paused, out of reach or out of memory while others call it or it calls them.

use std::{
    fs,
    net::{SocketAddr, TcpListener as StdListener, TcpStream},
    time::{Duration, Instant},
};

use crate::helpers::{
    Call,
    cluster::{Cluster, Member, meets},
    free_port,
    half::{Half, hears, says},
    last_words,
    nats::{Nats, Tap},
    within,
};
use tokio::net::TcpSocket;
use tonic::{Code, Status, transport::Channel};

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
        // Late, as a bus may be.
        tap.say(&announced);
        crate::helpers::until("it is called", || callee.is_called_and_does_not_read()).await;
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
            let mut other = met.unwrap().unwrap();
            other.send.send(crate::helpers::data(&b"met"[..])).await.unwrap();
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
        caller.calls_are("unreachable", 1).await;
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
    caller.calls_are("unreachable", 1).await;
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
    caller.calls_are("unreachable", 1).await;
    callee.signal("CONT");
    meets_or_is_told(at_callee, at_caller).await;
    caller.is_at_rest().await;
    callee.is_at_rest().await;
    third.is_at_rest().await;
}

type Side = (Call, Channel);

async fn pair(one: &Member, other: &Member) -> (Side, Side) {
    let (first, second) = (one.waits("pair").await, other.half("pair").await);
    tokio::join!(first.met(), second.met())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_ends_with_either_of_its_routers() {
    let Some(nats) = Nats::start() else { return };
    for killed in [0, 1] {
        let cluster = Cluster::new(nats.url());
        let members: [Member; 2] = cluster.members().await;
        let (first, second) = pair(&members[0], &members[1]).await;
        let mut sides = [first, second];
        let waiting = members[killed].waits("waits").await;
        members[killed].signal("KILL");
        let (survivor, left) = (&members[1 - killed], &mut sides[1 - killed].0);
        let (told, code, text) = last_words(left).await;
        assert!(told, "a GOAWAY frame");
        assert_eq!(
            (code, &*text),
            (Code::Unavailable, "the other side's connection was lost")
        );
        assert!(within("the end", waiting.call).await.unwrap().is_err());
        survivor.is_at_rest().await;
        let fresh = cluster.member(&[]).await;
        meets(survivor.waits("waits").await, fresh.half("waits").await).await;
    }
}

/// One of a pair's routers stands still for a moment, and then for good.
async fn pauses(nats: &Nats, paused: usize) {
    let cluster = Cluster::new(nats.url());
    let members: [Member; 2] = cluster.members().await;
    let (mut one, mut other) = pair(&members[0], &members[1]).await;
    members[paused].signal("STOP");
    one.0
        .send
        .send(crate::helpers::data(&b"over"[..]))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    members[paused].signal("CONT");
    hears(&mut other.0, "over").await;
    says(&mut other.0, &mut one.0, "and back").await;

    members[paused].signal("STOP");
    let start = Instant::now();
    let mut sides = [one.0, other.0];
    let (told, code, text) = last_words(&mut sides[1 - paused]).await;
    println!("told after {:?}: {text}", start.elapsed());
    assert!(told, "a GOAWAY frame");
    assert_eq!(code, Code::Unavailable, "{text}");
    members[1 - paused].is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_may_stand_still_for_a_moment_and_not_for_good() {
    let Some(nats) = Nats::start() else { return };
    // No wait in here is longer than 30 s.
    tokio::join!(pauses(&nats, 0), pauses(&nats, 1));
}

/// Both routers say that they are reached there, which neither is; so it does not matter which of them calls.
async fn out_of_reach(nats: &Nats, address: SocketAddr) {
    let cluster = Cluster::new(nats.url());
    let address = address.to_string();
    let settings = [("cluster.advertise", &*address)];
    let [caller, callee] = cluster.members_with([&settings; 2]).await;
    let start = Instant::now();
    let halves = (callee.waits("apart").await, caller.half("apart").await);
    let ends = tokio::join!(halves.0.call, halves.1.call);
    let took = start.elapsed();
    println!("{address}: told after {took:?}");
    for end in [ends.0, ends.1] {
        let status = end.unwrap().unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (
                Code::Unavailable,
                "the other side waits at a router that does not answer; connect again"
            )
        );
    }
    // Ten of failures, and what the last call takes.
    assert!((9..20).contains(&took.as_secs()), "{took:?}");
    for member in [&caller, &callee] {
        member.is_at_rest().await;
        meets(member.half("home").await, member.half("home").await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_routers_do_not_reach_each_other_both_peers_are_told() {
    let Some(nats) = Nats::start() else { return };
    let refuses = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let silent = StdListener::bind("127.0.0.1:0").unwrap();
    let silent = (silent.local_addr().unwrap(), silent);
    // A queue that is full: the system drops what would open one more connection.
    let full = TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(1).unwrap();
    let drops = full.local_addr().unwrap();
    let moment = Duration::from_millis(200);
    let filling: Vec<TcpStream> =
        std::iter::from_fn(|| TcpStream::connect_timeout(&drops, moment).ok()).collect();
    assert!(filling.len() < 10);
    tokio::join!(
        out_of_reach(&nats, refuses),
        out_of_reach(&nats, silent.0),
        out_of_reach(&nats, drops)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_called_router_that_is_short_of_memory_says_so() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let dir = tempfile::tempdir().unwrap();
    // Either may have to be called.
    let files = ["one", "other"].map(|name| dir.path().join(name));
    let mut members = Vec::new();
    for file in &files {
        fs::write(file, "").unwrap();
        let settings = [("reload.interval", "50ms")];
        let mut member = cluster.start_with(&settings, |command| {
            command.arg("--config").arg(file);
        });
        member.joins().await;
        members.push((member, file));
    }
    members.sort_by(|one, other| one.0.id.cmp(&other.0.id));
    let [(caller, _), (callee, file)] = <[_; 2]>::try_from(members).ok().unwrap();
    let _waiting = callee.waits("full").await;
    // From 69 % on new streams are refused, from 75 % on connections.
    let used = callee.router.metric("memory_used_bytes");
    fs::write(file, format!("memory.limit = \"{}\"", used * 100 / 72)).unwrap();
    callee.router.metric_is("memory_pressure", 3).await;
    let refused = within("the end", caller.half("full").await.call).await;
    let status: Status = refused.unwrap().unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::ResourceExhausted,
            "the other side waits at a router that is short of memory or streams; try again later"
        )
    );
    assert!(caller.calls("refused") > 1);
    caller.is_at_rest().await;
}
