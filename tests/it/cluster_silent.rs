//! A pair's router is killed or falls silent; and a router that is called is out of reach, or out of memory.

use std::{
    fs,
    net::{SocketAddr, TcpListener as StdListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use crate::helpers::{
    Call,
    cluster::{Cluster, Member, meets},
    data, free_port,
    half::{hears, says},
    last_words,
    nats::{Nats, Tap},
    until, within,
};
use tokio::net::TcpSocket;
use tonic::{Code, transport::Channel};

type Side = (Call, Channel);

async fn pair(one: &Member, other: &Member) -> (Side, Side) {
    let subject = format!("{} and {}", one.id, other.id);
    let (first, second) = (one.waits(&subject).await, other.half(&subject).await);
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
    one.0.send.send(data(&b"over"[..])).await.unwrap();
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

const UNREACHED: &str = "the other side waits at a router that does not answer; connect again";

/// Both routers say that they are reached there, which neither is; so it does not matter which of them calls.
async fn out_of_reach(nats: &Nats, address: SocketAddr) {
    let cluster = Cluster::new(nats.url());
    let address = address.to_string();
    let settings = [("cluster.advertise", &*address)];
    let [lower, higher] = cluster.members_with([&settings; 2]).await;
    let mut tap = Tap::new(nats);
    let start = Instant::now();
    let halves = [higher.waits(&address).await, lower.half(&address).await];
    for half in halves {
        let (mut call, _channel) = half.met().await;
        let (told, code, text) = last_words(&mut call).await;
        assert!(told, "a GOAWAY frame");
        assert_eq!((code, &*text), (Code::Unavailable, UNREACHED));
    }
    let took = start.elapsed();
    println!("{address}: told after {took:?}");
    // Ten seconds of failures, and what the first and the last call take, on a machine that may be busy.
    assert!((9..25).contains(&took.as_secs()), "{took:?}");
    for member in [&lower, &higher] {
        member.is_at_rest().await;
    }
    // By this the one that is called has heard of it. Repeated, it does nothing to who comes later.
    let farewell = loop {
        let announced = tap.hear_from(&lower.id);
        if announced.address().is_empty() {
            break announced;
        }
    };
    let later = higher.waits(&address).await;
    let heard = higher.announcements("heard");
    tap.say(&farewell);
    until("it is heard", || higher.announcements("heard") == heard + 1).await;
    assert!(!later.call.is_finished());
    meets(later, higher.half(&address).await).await;
    for member in [&lower, &higher] {
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

const ROOM: i64 = 64 << 30;

fn set_limit(file: &Path, limit: i64) {
    fs::write(file, format!("memory.limit = {limit}")).unwrap();
}

/// False if the half there had to make room before anybody called for it: what is in use changes with the limit.
async fn is_short_of_memory(nats: &Nats) -> bool {
    let cluster = Cluster::new(nats.url());
    let dir = tempfile::tempdir().unwrap();
    // Either may have to be called.
    let files = ["one", "other"].map(|name| dir.path().join(name));
    let mut members = Vec::new();
    for file in &files {
        set_limit(file, ROOM);
        let settings = [("reload.interval", "50ms")];
        let mut member = cluster.start_with(&settings, |command| {
            command.arg("--config").arg(file);
        });
        member.joins().await;
        members.push((member, file));
    }
    members.sort_by(|one, other| one.0.id.cmp(&other.0.id));
    let [(lower, _), (higher, file)] = <[_; 2]>::try_from(members).ok().unwrap();
    let waiting = higher.waits("full").await;
    // From 69 % on new streams are refused, from 75 % on connections.
    for percent in [66, 71, 71] {
        let used = higher.router.metric("memory_used_bytes");
        set_limit(file, used * 100 / percent);
        // It is looked at once a second.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        if higher.router.metric("memory_pressure") == 3 {
            break;
        }
    }
    let half = lower.half("full").await;
    let over = || lower.calls("refused") > 0 || waiting.call.is_finished();
    until("it is refused", over).await;
    if lower.calls("refused") == 0 {
        return false;
    }
    // It stands still, so it ends to make room; the other one has another router to hope for.
    let (mut call, _channel) = waiting.met().await;
    let (_, code, text) = last_words(&mut call).await;
    assert_eq!(code, Code::ResourceExhausted, "{text}");
    let third = cluster.member(&[]).await;
    meets(half, third.half("full").await).await;
    lower.is_at_rest().await;
    third.is_at_rest().await;
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_called_router_that_is_short_of_memory_refuses_and_the_half_that_calls_waits_on() {
    let Some(nats) = Nats::start() else { return };
    for _ in 0..10 {
        if is_short_of_memory(&nats).await {
            return;
        }
    }
    panic!("was never short of memory, or always too soon");
}
