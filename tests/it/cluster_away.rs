//! The routers' bus is stopped, paused, restarted or short of a server; and tokens and keys on which routers do not agree.

use std::time::{Duration, SystemTime};

use crate::helpers::{
    KEY,
    cluster::{Cluster, Member, meets},
    free_port,
    half::{Half, says},
    nats::{Nats, Tap},
    until, within,
};
use jumpstarter_router::inside::auth::{Claims, mint};
use tonic::Code;

const SUBJECT: &str = "who-meets-whom-is-nobody's-business";
const OTHER_KEY: &str = "another signing key of 32 bytes or more";

/// A peer whose token is signed with this key.
async fn signed(member: &Member, key: &str, subject: &str) -> Half {
    let token = mint(key.as_bytes(), &Claims::new(subject, SystemTime::now()));
    let channel = within("connect", member.connector.channel()).await.unwrap();
    Half::with_token(channel, &token, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_stands_still_or_is_restarted_delays_only_who_needs_it() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let members: [Member; 2] = cluster.members().await;
    let [lower, higher] = &members;
    let (one, other) = tokio::join!(lower.half("lasts"), higher.half("lasts"));
    let ((mut one, _one), (mut other, _other)) = tokio::join!(one.met(), other.met());

    nats.signal("STOP");
    let apart = [lower.waits("apart").await, higher.waits("apart").await];
    for member in &members {
        meets(member.half("home").await, member.half("home").await).await;
    }
    says(&mut one, &mut other, "while it stands still").await;
    assert!(apart.iter().all(|half| !half.call.is_finished()));
    nats.signal("CONT");
    let [first, second] = apart;
    meets(first, second).await;

    let mut nats = Some(nats);
    for round in 0..3 {
        let subject = format!("restart {round}");
        // Its first announcements are heard by nobody who needs them.
        let early = higher.waits(&subject).await;
        let port = nats.take().unwrap().stop();
        nats = Nats::start_on(port, &[]);
        meets(early, lower.half(&subject).await).await;
        says(&mut other, &mut one, &subject).await;
    }
    drop((one, other));
    for member in &members {
        member.is_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_of_the_bus_may_lose_one() {
    let ports: [u16; 3] = std::array::from_fn(|_| free_port());
    let routes: [u16; 3] = std::array::from_fn(|_| free_port());
    let all = routes
        .map(|port| format!("nats://127.0.0.1:{port}"))
        .join(",");
    let mut servers = Vec::new();
    for (port, route) in ports.into_iter().zip(routes) {
        let own = format!("nats://127.0.0.1:{route}");
        let options = ["--cluster_name", "c", "--cluster", &own, "--routes", &all];
        let Some(nats) = Nats::start_on(port, &options) else {
            return;
        };
        servers.push(nats);
    }
    // Each router knows all, and begins with one of its own, so that two are sure to be at different ones.
    let urls: Vec<String> = servers.iter().map(Nats::url).collect();
    let clusters = [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
        .map(|order| Cluster::new(order.map(|at: usize| &*urls[at]).join(",")));
    let mut members = Vec::new();
    for cluster in &clusters {
        members.push(cluster.member(&[]).await);
    }
    let all_meet = async |when: &str| {
        for (first, one) in members.iter().enumerate() {
            for (second, other) in members.iter().enumerate() {
                let subject = format!("{when}: {first} and {second}");
                meets(one.waits(&subject).await, other.half(&subject).await).await;
            }
        }
    };
    all_meet("with three").await;
    let waiting = members[0].waits("waits").await;
    drop(servers.remove(0));
    meets(waiting, members[1].half("waits").await).await;
    all_meet("with two").await;
    for member in &members {
        member.is_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routers_in_the_middle_of_a_rotation_meet_under_either_key() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let before = [("auth.key", KEY), ("auth.extra_keys", OTHER_KEY)];
    let after = [("auth.key", OTHER_KEY), ("auth.extra_keys", KEY)];
    let members: [Member; 2] = cluster.members_with([&before, &after]).await;
    for key in [KEY, OTHER_KEY] {
        for [first, second] in [[0, 1], [1, 0]] {
            let subject = format!("{key} {first}");
            let early = signed(&members[first], key, &subject).await;
            meets(early, signed(&members[second], key, &subject).await).await;
        }
    }
    for member in &members {
        member.is_at_rest().await;
        assert_eq!(member.announcements("unproven"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routers_with_different_keys_do_not_meet_and_learn_nothing() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let mut tap = Tap::new(&nats);
    let members = [
        cluster.member(&[("auth.key", KEY)]).await,
        cluster.member(&[("auth.key", OTHER_KEY)]).await,
    ];
    let mut halves = Vec::new();
    for (member, key) in members.iter().zip([KEY, OTHER_KEY]) {
        halves.push(signed(member, key, SUBJECT).await);
    }
    for member in &members {
        until("it is not believed", || {
            member.announcements("unproven") > 1
        })
        .await;
        assert_eq!(member.announcements("heard"), 0);
    }
    for _ in 0..4 {
        let announced = tap.hear();
        let text = SUBJECT.as_bytes();
        assert!(announced.bytes.windows(text.len()).all(|part| part != text));
        assert!(!announced.subject.contains(SUBJECT));
    }
    assert!(halves.iter().all(|half| !half.call.is_finished()));
    for ((member, key), half) in members.iter().zip([KEY, OTHER_KEY]).zip(halves) {
        meets(half, signed(member, key, SUBJECT).await).await;
        member.is_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_expired_meanwhile_is_as_good_at_another_router() {
    let port = free_port();
    let cluster = Cluster::new(format!("nats://127.0.0.1:{port}"));
    let [one, other] = [(); 2].map(|()| cluster.start(&[]));
    let life = Duration::from_secs(2);
    let mut claims = Claims::new("short", SystemTime::now());
    claims.exp = claims.iat + life.as_secs();
    let token = mint(KEY.as_bytes(), &claims);
    let open = async |member: &Member| {
        let channel = within("connect", member.connector.channel()).await.unwrap();
        Half::with_token(channel, &token, &[])
    };
    let (first, second) = (open(&one).await, open(&other).await);
    for member in [&one, &other] {
        member.router.metric_is("streams_waiting", 1).await;
    }
    let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(claims.exp);
    until("it has expired", || SystemTime::now() > expires).await;
    let late = within("a refusal", open(&other).await.call).await.unwrap();
    assert_eq!(late.unwrap_err().code(), Code::Unauthenticated);
    let Some(_nats) = Nats::start_on(port, &[]) else {
        return;
    };
    meets(first, second).await;
    one.is_at_rest().await;
    other.is_at_rest().await;
}
