//! What is seen of a pair that lies apart, at both of its routers.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{
    super::helpers::{
        free_port,
        half::says,
        program::{program, run},
        until_async,
        web::{self, aside, get},
    },
    *,
};

/// A member whose administrator looks at it.
struct Seen {
    member: Member,
    admin: SocketAddr,
    /// What its own status says of it.
    name: String,
    address: String,
}

impl Seen {
    async fn join(cluster: &Cluster) -> Self {
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let member = cluster
            .member(&[("listen.admin_address", &admin.to_string())])
            .await;
        let status = ask(admin, "/api/status").await;
        assert_eq!(status["process"]["id"], status["cluster"]["router"]);
        let status = status["cluster"].clone();
        assert_eq!(status["bus_connected"], true, "{status}");
        let text = |key: &str| status[key].as_str().unwrap().to_owned();
        Self {
            name: text("router"),
            address: text("address"),
            member,
            admin,
        }
    }

    async fn top(&self) -> String {
        let admin = format!("http://{}", self.admin);
        let args = ["streams", "list", "--admin", &admin].map(ToOwned::to_owned);
        let done = aside(move || run(program(&args, false), b"")).await;
        done.ended(0, &[]);
        done.text()
    }

    /// The pair is shown with the other router, which has called or was called.
    async fn shows(&self, other: &Self) {
        let calls = self.member.router.metric("cluster_pairs_called") == 1;
        let listing = ask(self.admin, &format!("/api/streams?q={}", other.name)).await;
        let [row] = &listing["streams"].as_array().unwrap()[..] else {
            panic!("one pair with the other router: {listing}");
        };
        assert_eq!(row["peers"][0]["router"], Value::Null, "a peer: {row}");
        let router = &row["peers"][1]["router"];
        assert_eq!(router["name"], *other.name, "{row}");
        let address = if calls { &*other.address } else { "127.0.0.1" };
        assert_eq!(router["address"], address, "{row}");
        let status = ask(self.admin, "/api/status").await;
        assert_eq!(status["pairs"], 1, "{status}");
        let line = format!("router {} {address}", other.name);
        let top = self.top().await;
        assert!(top.contains(&line), "{line:?} in {top}");
        let own = format!("{} of a cluster, bus connected for ", self.name);
        assert!(top.contains(&own), "{own:?} in {top}");
    }

    /// The pair has ended, and names the other router still.
    async fn remembers(&self, other: &Self) {
        let path = format!("/api/past?q={}", other.name);
        let mut row = Value::Null;
        until_async("the end of the pair", async || {
            row = ask(self.admin, &path).await["streams"][0].clone();
            row["peers"]
                .as_array()
                .is_some_and(|peers| peers.len() == 2)
        })
        .await;
        assert_eq!(
            (&row["subject"], &row["kind"]),
            (&json!("apart"), &json!("ended"))
        );
        assert_eq!(row["peers"][0]["router"], Value::Null, "a peer: {row}");
        assert_eq!(row["peers"][1]["router"]["name"], *other.name, "{row}");
        assert!(row["waited_seconds"].is_f64(), "{row}");
    }

    /// Both records of the pair name the other router. Gives the bytes that went to the peer.
    fn recorded(&mut self, other: &Self) -> i64 {
        let process = &mut self.member.router.process;
        let records = [process.line("stream ended"), process.line("stream ended")];
        for record in &records {
            assert_eq!(record["stream"], "apart", "{record}");
            assert_eq!(record["other_router"], *other.name, "{record}");
            let address = record["other_router_address"].as_str().unwrap();
            assert!(
                [&*other.address, "127.0.0.1"].contains(&address),
                "{record}"
            );
        }
        assert_eq!(records[0]["id"], records[1]["id"]);
        assert_eq!(records[0]["bytes_in"], records[1]["bytes_out"]);
        // What came from one end has gone to the other, and both ways the same was said.
        assert_eq!(records[0]["bytes_in"], records[0]["bytes_out"]);
        records[0]["bytes_out"].as_i64().unwrap()
    }
}

async fn ask(admin: SocketAddr, path: &str) -> Value {
    let path = path.to_owned();
    aside(move || get(admin, &path).json()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_lies_apart_names_the_other_router_and_counts_once() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let (mut one, mut other) = (Seen::join(&cluster).await, Seen::join(&cluster).await);
    let sum = |one: &Seen, other: &Seen, name: &str| {
        one.member.router.metric(name) + other.member.router.metric(name)
    };
    let halves = (
        one.member.half("apart").await,
        other.member.half("apart").await,
    );
    let ((mut first, _one), (mut second, _other)) = tokio::join!(halves.0.met(), halves.1.met());
    says(&mut first, &mut second, "ping").await;
    says(&mut second, &mut first, "pong").await;
    one.shows(&other).await;
    other.shows(&one).await;
    for name in [
        "streams_paired",
        "pairs_total",
        "pairing_wait_seconds_count",
        "cluster_pairs_called",
        "cluster_pairs_taken",
        "cluster_meeting_seconds_count",
    ] {
        assert_eq!(sum(&one, &other, name), 1, "{name}");
    }
    drop((first.send, second.send));
    for receive in [&mut first.receive, &mut second.receive] {
        assert_eq!(within("the end", receive.message()).await.unwrap(), None);
    }
    one.member.is_at_rest().await;
    other.member.is_at_rest().await;
    one.remembers(&other).await;
    other.remembers(&one).await;
    let bytes = one.recorded(&other) + other.recorded(&one);
    for (name, expected) in [
        ("streams_total", 2),
        (r#"stream_ends_total{reason="completed"}"#, 2),
        ("stream_bytes_count", 2),
        ("stream_duration_seconds_count", 2),
        ("forwarded_messages_total", 2),
        ("forwarded_bytes_total", bytes),
    ] {
        assert_eq!(sum(&one, &other, name), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sees_that_the_bus_is_away_and_ends_a_pair_at_either_router() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    let (one, other) = (Seen::join(&cluster).await, Seen::join(&cluster).await);
    let halves = (
        one.member.half("apart").await,
        other.member.half("apart").await,
    );
    let ((mut first, _one), (mut second, _other)) = tokio::join!(halves.0.met(), halves.1.met());
    nats.stop();
    one.member
        .router
        .metric_is("cluster_bus_connected", 0)
        .await;
    let status = ask(one.admin, "/api/status").await["cluster"].clone();
    assert_eq!(status["bus_connected"], false, "{status}");
    assert!(status["bus_seconds"].as_f64().unwrap() < 30.0, "{status}");
    assert!(one.top().await.contains("bus NOT CONNECTED for "));

    let id = ask(one.admin, "/api/streams").await["streams"][0]["id"].clone();
    let path = format!("/api/streams/{id}/end");
    let admin = one.admin;
    let ended = aside(move || web::send(admin, "POST", &path, "{}").status).await;
    assert_eq!(ended, 202);
    for peer in [&mut first, &mut second] {
        let (told, code, text) = last_words(peer).await;
        assert!(told, "a GOAWAY frame");
        assert_eq!((code, &*text), (Code::Aborted, "ended by an administrator"));
    }
    one.member.is_at_rest().await;
    other.member.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routers_that_do_not_reach_each_other_are_named() {
    let Some(nats) = Nats::start() else { return };
    let cluster = Cluster::new(nats.url());
    // Nothing listens there.
    let nowhere = [("cluster.advertise", "127.0.0.1:1")];
    let mut members: [Member; 2] = [(); 2].map(|()| cluster.start(&nowhere));
    let mut names = Vec::new();
    for member in &mut members {
        let line = member
            .router
            .process
            .line("the routers' message bus is connected");
        assert_eq!(line["address"], "127.0.0.1:1");
        names.push(line["router"].as_str().unwrap().to_owned());
    }
    // The lower one calls.
    let [one, other] = members;
    let (mut caller, mut other) = if names[0] < names[1] {
        (one, other)
    } else {
        names.reverse();
        (other, one)
    };
    let (calling, waiting) = (caller.half("apart").await, other.half("apart").await);
    let line = "cannot call the router where the other side waits";
    let line = caller.router.process.line(line);
    assert_eq!(line["router"], *names[1], "{line}");
    assert_eq!(line["address"], "127.0.0.1:1", "{line}");
    let (calling, waiting) = (is_told_so(calling), is_told_so(waiting));
    let (mut calling, waiting) = (std::pin::pin!(calling), std::pin::pin!(waiting));
    tokio::select! {
        // Had the last call come before the last announcement, nobody would be left to wait for.
        () = &mut calling => {}
        () = waiting => {
            let line = "the router where the other side waits should call this one, and does not";
            let line = other.router.process.line(line);
            assert_eq!(line["stream"], "apart", "{line}");
            assert_eq!(line["router"], *names[0], "{line}");
            let record = other.router.process.line("stream ended");
            assert_eq!(record["reason"], "router_unreached", "{record}");
            // It comes to the same router again. That is one call too many.
            let _again = other.half("apart").await;
            calling.await;
        }
    }
    let record = caller.router.process.line("stream ended");
    assert_eq!(record["reason"], "router_unreached", "{record}");
    assert_eq!(record["other_router"], *names[1], "{record}");
    assert_eq!(record["other_router_address"], "127.0.0.1:1", "{record}");
    let failed = r#"cluster_calls_total{result="unreachable"}"#;
    assert!(caller.router.metric(failed) > 3);
}

async fn is_told_so(half: Half) {
    let (mut peer, _channel) = half.met().await;
    let (told, code, text) = last_words(&mut peer).await;
    assert!(told, "a GOAWAY frame");
    assert_eq!(code, Code::Unavailable);
    assert!(
        text.contains("waits at a router that does not answer"),
        "{text}"
    );
}
