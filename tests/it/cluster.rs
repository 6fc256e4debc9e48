//! Several routers behind one address, as processes, with a real nats-server between them.

mod sight;

use std::time::Duration;

use crate::helpers::{
    KEY,
    cluster::{Cluster, Member, meets},
    half::{Half, hears},
    last_words,
    nats::Nats,
    process::{command, run, usual},
    until, within,
};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn halves_meet_wherever_they_wait() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let members: [Member; 3] = cluster.members().await;
    for round in 0..2 {
        for (first, one) in members.iter().enumerate() {
            for (second, other) in members.iter().enumerate() {
                let subject = format!("{round}: {first} and {second}");
                let early = one.half(&subject).await;
                one.router.metric_is("streams_waiting", 1).await;
                meets(early, other.half(&subject).await).await;
            }
        }
    }
    for member in &members {
        member.is_at_rest().await;
    }
    let sum = |name: &str| {
        members
            .iter()
            .map(|member| member.router.metric(name))
            .sum::<i64>()
    };
    assert_eq!(sum("pairs_total"), 18, "a pair that lies apart counts once");
    let met = sum(r#"cluster_calls_total{result="met"}"#);
    assert_eq!(met, 12);
    let gone = sum(r#"cluster_calls_total{result="nobody"}"#);
    assert_eq!(gone, 0, "nobody was called in vain");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_the_bus_is_away_meets_when_it_is_back() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let [one, other] = cluster.members().await;
    let port = nats.stop();
    for member in [&one, &other] {
        member.router.metric_is("cluster_bus_connected", 0).await;
    }
    let apart = [one.half("apart").await, other.half("apart").await];
    let at_home = [one.half("at home").await, one.half("at home").await];
    let [first, second] = at_home;
    meets(first, second).await;
    let _nats = Nats::start_on(port, &[]).unwrap();
    let [first, second] = apart;
    meets(first, second).await;
    one.is_at_rest().await;
    other.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_starts_without_the_bus_and_joins_it_later() {
    let port = crate::helpers::free_port();
    let cluster = Cluster::new(format!("nats://127.0.0.1:{port}"));
    let [one, other] = [(); 2].map(|()| cluster.start(&[]));
    let [first, second] = [one.half("home").await, one.half("home").await];
    meets(first, second).await;
    let apart = [one.half("apart").await, other.half("apart").await];
    let Some(_nats) = Nats::start_on(port, &[]) else {
        return;
    };
    let [first, second] = apart;
    meets(first, second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_router_ends_its_pairs_and_others_go_on() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let [one, other, third] = cluster.members().await;
    let halves = [one.half("split").await, other.half("split").await];
    let [(mut survivor, _one), (_gone, _other)] = {
        let [first, second] = halves;
        let (first, second) = tokio::join!(first.met(), second.met());
        [first, second]
    };
    let waiting = one.half("waits").await;
    other.router.process.signal("KILL");
    let (told, code, text) = last_words(&mut survivor).await;
    assert!(told, "a GOAWAY frame");
    assert_eq!(
        (code, &*text),
        (Code::Unavailable, "the other side's connection was lost")
    );
    meets(waiting, third.half("waits").await).await;
    one.is_at_rest().await;
    third.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_at_a_router_that_drains_is_met_from_elsewhere() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let [one, other] = cluster.members().await;
    let waiting = one.half("waits").await;
    one.router.metric_is("streams_waiting", 1).await;
    one.router.process.signal("TERM");
    one.router.drains().await;
    meets(waiting, other.half("waits").await).await;
    let ended = within("the end", one.router.ends()).await;
    assert_eq!(ended.code(), Some(0));
    other.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_one_waits_on() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let members: [Member; 3] = cluster.members().await;
    for round in 0..20 {
        let subject = format!("three {round}");
        let halves = members.iter().map(|member| member.half(&subject));
        let mut halves = futures_util::future::join_all(halves).await;
        until("two of three", || {
            halves.iter().filter(|half| half.call.is_finished()).count() >= 2
        })
        .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let waits = halves.iter().position(|half| !half.call.is_finished());
        let third = halves.remove(waits.expect("two meet, not three"));
        let [one, other] = <[Half; 2]>::try_from(halves).ok().unwrap();
        meets(one, other).await;
        meets(third, members[round % 3].half(&subject).await).await;
    }
    for member in &members {
        member.is_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_pass_whole_and_in_order() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let [one, other] = cluster.members().await;
    let early: Vec<String> = (0..50).map(|n| format!("early {n}")).collect();
    let texts: Vec<&str> = early.iter().map(String::as_str).collect();
    let first = Half::open(&one.connector, "early", &texts).await;
    one.router.metric_is("streams_waiting", 1).await;
    let second = other.half("early").await;
    let ((_one, _first), (mut two, _second)) = tokio::join!(first.met(), second.met());
    for text in texts {
        hears(&mut two, text).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_vain_is_told_that_the_bus_is_away() {
    let cluster = Cluster::new(format!("nats://127.0.0.1:{}", crate::helpers::free_port()));
    let alone = cluster.start(&[("pairing.timeout", "200ms")]);
    let (mut call, _channel) = alone.half("alone").await.met().await;
    let (told, code, text) = last_words(&mut call).await;
    assert_eq!((told, code), (true, Code::DeadlineExceeded));
    assert!(text.contains("message bus was not reached"), "{text}");
    alone.is_at_rest().await;
}

/// An old and a new process side by side: the port for routers belongs to the old one to its end.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_of_one_address_have_a_port_each_for_routers() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let port = crate::helpers::free_port().to_string();
    let address = format!("127.0.0.1:{port}");
    let settings = [
        ("listen.reuse_port", "true"),
        ("cluster.address", &*address),
    ];
    let [one, other] = cluster.members_with([&settings; 2]).await;
    let advertised = [&one, &other].map(|member| member.address == address);
    assert_eq!(advertised.iter().filter(|own| **own).count(), 1);
    meets(one.waits("apart").await, other.half("apart").await).await;
    let url = nats.url();
    let alone = usual(&[("cluster.servers", &url), ("cluster.address", &address)]);
    let ended = run(alone).lines.concat();
    assert!(ended.contains("(cluster.address)"), "{ended}");
}

#[test]
fn check_tries_the_bus() {
    let Some(nats) = Nats::start() else { return };
    let check = |url: &str| {
        let mut command = command();
        command.args(["check", "--bus", "--set", &format!("cluster.servers={url}")]);
        command.env("ROUTER_KEY", KEY);
        let ended = run(command);
        (ended.code(), ended.lines.concat())
    };
    let (code, said) = check(&nats.url());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the bus is connected"), "{said}");
    let nobody = format!("nats://127.0.0.1:{}", crate::helpers::free_port());
    let (code, said) = check(&nobody);
    assert_eq!(code, Some(78), "{said}");
    let (code, said) = check("");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("there is no bus"), "{said}");
}
