//! Three routers are replaced, one after the other, while pairs come and go all the time.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::helpers::{
    Call,
    cluster::{Cluster, Member},
    half::{Half, says},
    nats::Nats,
    within,
};
use jumpstarter_router::client::Connector;
use tonic::{Code, transport::Channel};

/// What the load balancer has: who is ready, and whose turn it is.
#[derive(Default)]
struct Balancer {
    ready: Mutex<Vec<Connector>>,
    turn: AtomicUsize,
    tried_again: AtomicUsize,
}

impl Balancer {
    fn next(&self) -> Connector {
        let ready = self.ready.lock().unwrap();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        ready[turn % ready.len()].clone()
    }

    /// As a stock peer: who is refused by a router that is about to go connects again.
    async fn peer(&self, subject: &str) -> (Call, Channel) {
        loop {
            let half = Half::open(&self.next(), subject, &[]).await;
            match within("the other side", half.call).await.unwrap() {
                Ok(call) => return (call, half.channel),
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable, "{status}");
                    self.tried_again.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// A pair that says something now and then, for a while.
    async fn pair(&self, subject: String) {
        let (one, other) = tokio::join!(self.peer(&subject), self.peer(&subject));
        let ((mut one, _one), (mut other, _other)) = (one, other);
        for n in 0..10 {
            says(&mut one, &mut other, &format!("there {n}")).await;
            says(&mut other, &mut one, &format!("back {n}")).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        drop((one.send, other.send));
        for receive in [&mut one.receive, &mut other.receive] {
            let end = within("the end", receive.message()).await;
            assert_eq!(end.unwrap(), None, "{subject}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routers_are_replaced_one_by_one_and_no_pair_is_split() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let mut members: Vec<Member> = cluster.members::<3>().await.into();
    let balancer = Arc::new(Balancer::default());
    let connectors = |members: &[Member]| members.iter().map(|m| m.connector.clone()).collect();
    *balancer.ready.lock().unwrap() = connectors(&members);
    let over = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (balancer, over) = (balancer.clone(), over.clone());
        async move {
            let mut pairs = tokio::task::JoinSet::new();
            while !over.load(Ordering::Relaxed) {
                let (balancer, subject) = (balancer.clone(), format!("pair {}", pairs.len()));
                let subject = format!("{subject} {:?}", std::time::Instant::now());
                pairs.spawn(async move { balancer.pair(subject).await });
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            let count = pairs.len();
            pairs.join_all().await;
            count
        }
    });
    for _ in 0..3 {
        let new = cluster.member(&[]).await;
        let old = members.remove(0);
        members.push(new);
        *balancer.ready.lock().unwrap() = connectors(&members);
        old.signal("TERM");
        let ended = within("the drain", old.router.ends()).await;
        assert_eq!(ended.code(), Some(0), "{:#?}", ended.lines);
    }
    over.store(true, Ordering::Relaxed);
    let count = load.await.unwrap();
    let tried_again = balancer.tried_again.load(Ordering::Relaxed);
    let called: i64 = members.iter().map(|member| member.calls("met")).sum();
    println!(
        "{count} pairs, {tried_again} halves tried again, {called} met at the routers that are left"
    );
    assert!(count > 20 && called > 0);
    for member in &members {
        member.is_at_rest().await;
    }
}
