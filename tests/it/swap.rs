//! An old and a new process swap on one host, under load and half by half.

use std::{
    net::TcpListener,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::helpers::{
    Call, Certificate, Pair, call, data,
    half::{Half, Router, hears, says},
    last_words,
    process::{Process, get, run, usual},
    token, until, within,
};
use jumpstarter_router::client::Connector;
use serde_json::Value;
use tokio::task::JoinHandle;
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// What a stock client waits for its other side.
const PATIENCE: Duration = Duration::from_secs(20);

/// A command with this certificate, and probes on a port of its own.
fn with(certificate: &Certificate, settings: &[(&str, &str)]) -> Command {
    let (chain, key) = (certificate.certificate(), certificate.key());
    let mut all = vec![
        ("tls.certificate", chain.to_str().unwrap()),
        ("tls.key", key.to_str().unwrap()),
        ("listen.health_address", "127.0.0.1:0"),
    ];
    all.extend(settings);
    usual(&all)
}

async fn not_serving(channel: Channel) {
    let mut health = HealthClient::new(channel);
    let request = HealthCheckRequest::default();
    let answer = within("health", health.check(request)).await.unwrap();
    assert_eq!(answer.into_inner().status().as_str_name(), "NOT_SERVING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lame_duck_serves_on_and_then_closes() {
    let certificate = Certificate::new();
    let settings = [("drain.lame_duck", "3s"), ("drain.timeout", "1h")];
    let process = Process::start(with(&certificate, &settings));
    let (mut router, address) = Router::serving(process);
    let connector = Connector::new(&address, certificate.trust()).unwrap();
    let mut before = Pair::open(&connector, "before").await;
    assert_eq!(router.metric("drain_deadline_timestamp_seconds"), 0);
    let signalled = Instant::now();
    router.process.signal("TERM");
    let line = router.process.line("lame duck for 3s");
    assert_eq!(line["signal"], "SIGTERM");

    let answer = get(&router.health, "/readyz");
    assert!(
        answer.contains(" 503 ") && answer.ends_with("lame_duck"),
        "{answer}"
    );
    not_serving(connector.channel().await.unwrap()).await;
    let mut during = Pair::open(&connector, "during").await;
    during.ping_pong().await;
    assert_eq!(
        [router.metric("lame_duck"), router.metric("draining")],
        [1, 0]
    );
    let left = |router: &Router| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        router.metric("drain_deadline_timestamp_seconds") - now.unwrap().as_secs().cast_signed()
    };
    assert!((3590..=3603).contains(&left(&router)));
    assert!(
        signalled.elapsed() < Duration::from_secs(3),
        "too slow to tell"
    );

    router.process.line("draining for at most 3600s");
    assert!(signalled.elapsed() >= Duration::from_secs(3));
    router.drains().await;
    assert_eq!(router.metric("lame_duck"), 0);
    assert!((3580..=3600).contains(&left(&router)));
    let refused = connector.tcp().await.unwrap_err().to_string();
    assert!(refused.contains("refused"), "{refused}");
    before.ping_pong().await;
    during.ping_pong().await;
    drop((before, during));
    assert_eq!(router.ends().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_lame_duck_at_once() {
    let mut process = Process::start(usual(&[("drain.lame_duck", "10m")]));
    process.address();
    process.signal("TERM");
    process.line("lame duck for 600s");
    assert!(process.is_running());
    process.signal("TERM");
    let ended = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    assert_eq!(ended.code(), Some(1));
    let said = |line: &String| line.contains("second signal");
    assert!(ended.lines.iter().any(said), "{ended:?}");
}

/// Two processes on one socket: the old one drains with a stream that waits, and the partner comes to the new one.
struct Swap {
    old: Router,
    new: Router,
    connector: Connector,
}

impl Swap {
    const SELF: (&str, &str) = ("drain.forward_to", "self");

    /// `before`: done while only the old one is there.
    async fn begin<T>(
        settings: &[(&str, &str)],
        before: impl AsyncFnOnce(&Connector, &Router) -> T,
    ) -> (Self, T) {
        let certificate = Certificate::new();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let connector = Connector::new(&address, certificate.trust()).unwrap();
        let command = with(&certificate, &[&[Self::SELF], settings].concat());
        let start = || Router::serving(Process::start_on(&command, &[("grpc", &socket)]));
        let (old, on) = start();
        assert_eq!(on, address);
        let done = before(&connector, &old).await;
        old.process.signal("TERM");
        old.drains().await;
        let (new, _) = start();
        let swap = Self {
            old,
            new,
            connector,
        };
        (swap, done)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn halves_in_two_processes_meet() {
    let (swap, (early, mut pair)) = Swap::begin(&[], async |connector, old| {
        let pair = Pair::open(connector, "established").await;
        let half = Half::open(connector, "split", &["early 1", "early 2"]).await;
        old.metric_is("streams_waiting", 1).await;
        (half, pair)
    })
    .await;
    let mut old = swap.old;
    let late = Half::open(&swap.connector, "split", &["late"]).await;
    let ((mut early, _one), (mut late, _other)) = tokio::join!(early.met(), late.met());
    for text in ["early 1", "early 2"] {
        hears(&mut late, text).await;
    }
    hears(&mut early, "late").await;
    says(&mut early, &mut late, "there").await;
    says(&mut late, &mut early, "and back").await;
    pair.ping_pong().await;
    let line = old.process.line("forwarded to the successor");
    assert_eq!(line["stream"], "split");
    let now = ["streams_paired", "successor_streams_open"].map(|name| old.metric(name));
    assert_eq!(now, [2, 1]);
    assert_eq!(swap.new.metric("streams_paired"), 1);

    // One half-closes; the other direction goes on. Then all is well.
    let Call { send, mut receive } = early;
    drop(send);
    let said = late.send.send(data(&b"last"[..]));
    said.await.unwrap();
    let heard = within("the last", receive.message()).await.unwrap();
    assert_eq!(heard.unwrap().payload, &b"last"[..]);
    drop(late.send);
    for receive in [&mut receive, &mut late.receive] {
        let end = within("the end", receive.message()).await.unwrap();
        assert_eq!(end, None, "OK, and no GOAWAY frame");
    }
    drop(pair);
    let ended = old.ends().await;
    assert_eq!(ended.code(), Some(0));
    let record = |line: &String| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["msg"] == "stream ended" && line["stream"] == "split" && line["reason"] == "completed"
    };
    assert_eq!(ended.lines.iter().filter(|line| record(line)).count(), 2);
}

/// The one at the new process comes first, and the other on a connection that the old one still has.
#[tokio::test(flavor = "multi_thread")]
async fn halves_meet_in_the_other_order() {
    let (swap, (channel, pair)) = Swap::begin(&[], async |connector, _| {
        let pair = Pair::open(connector, "keeps it draining").await;
        // Without a stream yet, so it is not told to go away.
        let channel = connector.channel().await.unwrap();
        (channel, pair)
    })
    .await;
    let first = Half::open(&swap.connector, "split", &["first"]).await;
    swap.new.metric_is("streams_waiting", 1).await;
    let second = Half::on(channel, "split", &["second"]);
    let ((mut first, one_channel), (mut second, other_channel)) =
        tokio::join!(first.met(), second.met());
    hears(&mut second, "first").await;
    hears(&mut first, "second").await;
    assert_eq!(swap.old.metric("successor_streams_open"), 1);
    let forwarded = r#"successor_streams_total{result="forwarded"}"#;
    assert_eq!(swap.old.metric(forwarded), 1);
    drop((pair, first, second, one_channel, other_channel));
    assert_eq!(swap.old.ends().await.code(), Some(0));
}

/// The deadline of the old process ends what it forwards, like everything else, and both peers are told.
#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_holds_for_what_is_forwarded() {
    let (swap, early) = Swap::begin(&[("drain.timeout", "4s")], async |connector, old| {
        let half = Half::open(connector, "split", &[]).await;
        old.metric_is("streams_waiting", 1).await;
        half
    })
    .await;
    let late = Half::open(&swap.connector, "split", &[]).await;
    let ((mut early, one_channel), (mut late, other_channel)) =
        tokio::join!(early.met(), late.met());
    says(&mut early, &mut late, "there").await;
    let (early, late) = tokio::join!(last_words(&mut early), last_words(&mut late));
    let text = "the router is shutting down; connect again".to_owned();
    assert_eq!(early, (true, Code::Unavailable, text.clone()));
    assert_eq!(late, (true, Code::Unavailable, text));
    drop((one_channel, other_channel));
    assert_eq!(swap.old.ends().await.code(), Some(0));
    swap.new.metric_is("streams_paired", 0).await;
}

/// How new pairs fared while the processes swapped.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    pairs: AtomicUsize,
    again: AtomicUsize,
}

impl Load {
    /// One pair after the other, each half on a connection of its own. `retries`: connections that may fail.
    async fn run(self: Arc<Self>, worker: usize, connector: Connector, retries: usize) {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            let subject = format!("worker {worker} pair {number}");
            let half = async || {
                loop {
                    match connector.channel().await {
                        Ok(channel) => {
                            let token = token(&subject);
                            let met = call(channel.clone(), &token, vec![]);
                            let met = tokio::time::timeout(PATIENCE, met).await;
                            return (met.expect("in time"), channel);
                        }
                        Err(error) => {
                            let before = self.again.fetch_add(1, Ordering::Relaxed);
                            assert!(before < retries, "{subject}: {error}");
                        }
                    }
                }
            };
            let ((one, _first), (other, _second)) = tokio::join!(half(), half());
            let failed = |status| panic!("{subject}: {status:?}");
            let mut one = one.unwrap_or_else(failed);
            let mut other = other.unwrap_or_else(failed);
            says(&mut one, &mut other, "there").await;
            says(&mut other, &mut one, "and back").await;
            self.pairs.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Swaps two processes while pairs come and go; `start` starts one.
async fn swaps_under_load(
    start: impl Fn() -> Process,
    connect: impl Fn(&str) -> Connector,
    retries: usize,
) {
    let (mut old, address) = Router::serving(start());
    let connector = connect(&address);
    let mut established = Pair::open(&connector, "established").await;
    let waits = Half::open(&connector, "waits in the old process", &[]).await;
    old.metric_is("streams_waiting", 1).await;
    let load = Arc::new(Load::default());
    let workers: Vec<_> = (0..6)
        .map(|worker| tokio::spawn(load.clone().run(worker, connector.clone(), retries)))
        .collect();
    let more = async |count: usize| {
        let enough = load.pairs.load(Ordering::Relaxed) + count;
        until("pairs", || {
            load.pairs.load(Ordering::Relaxed) >= enough
                || workers.iter().any(JoinHandle::is_finished)
        })
        .await;
    };
    more(10).await;
    let (mut new, _) = Router::serving(start());
    old.process.signal("TERM");
    old.process.line("lame duck");
    old.process.line("draining for");
    more(60).await;
    let comes = Half::open(&connector, "waits in the old process", &[]).await;
    let ((mut one, _first), (mut other, _second)) = tokio::join!(waits.met(), comes.met());
    says(&mut one, &mut other, "there").await;
    drop((one, other));
    established.ping_pong().await;
    load.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        within("a worker", worker).await.unwrap();
    }
    assert!(new.metric("pairs_total") > 0);
    assert!(new.process.is_running());
    established.ping_pong().await;
    drop(established);
    let ended = old.ends().await;
    assert_eq!(ended.code(), Some(0), "well before the deadline");
    let forwarded = |line: &&String| line.contains("forwarded to the successor");
    let split = ended.lines.iter().filter(forwarded).count();
    assert!(split > 0, "of one pair, a half waited in the old process");
    println!(
        "{} pairs, {split} with halves in both processes",
        load.pairs.load(Ordering::Relaxed)
    );
}

const SWAPPING: [(&str, &str); 3] = [
    ("drain.lame_duck", "500ms"),
    ("drain.timeout", "10m"),
    Swap::SELF,
];

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_a_swap_on_a_socket_that_is_handed_over() {
    let certificate = Certificate::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let command = with(&certificate, &SWAPPING);
    let start = || Process::start_on(&command, &[("grpc", &socket)]);
    let connect = |address: &str| Connector::new(address, certificate.trust()).unwrap();
    swaps_under_load(start, connect, 0).await;
}

/// Closing one of two sockets side by side may cost a connection between its last accept and the close (docs/deploy.md).
#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_a_swap_side_by_side() {
    let certificate = Certificate::new();
    // Holds the port between the processes, and never listens.
    let port = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    port.set_reuse_address(true).unwrap();
    port.set_reuse_port(true).unwrap();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    port.bind(&any.into()).unwrap();
    let address = port.local_addr().unwrap().as_socket().unwrap().to_string();
    let own = [("listen.address", &*address), ("listen.reuse_port", "true")];
    let settings = [&SWAPPING[..], &own].concat();
    let start = || Process::start(with(&certificate, &settings));
    let connect = |address: &str| Connector::new(address, certificate.trust()).unwrap();
    swaps_under_load(start, connect, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_an_admin_port_says_that_it_is_one() {
    const SAID: &str = "another process listens on 127.0.0.1:";
    let holder = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    holder.set_reuse_address(true).unwrap();
    holder.set_reuse_port(true).unwrap();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    holder.bind(&any.into()).unwrap();
    let address = holder
        .local_addr()
        .unwrap()
        .as_socket()
        .unwrap()
        .to_string();
    let settings = [
        ("listen.admin_address", &*address),
        ("listen.reuse_port", "true"),
    ];
    let mut first = Process::start(usual(&settings));
    first.address();
    let mut second = Process::start(usual(&settings));
    let line = second.line(SAID);
    assert_eq!(line["level"], "warning");
    assert!(line["msg"].as_str().unwrap().contains(&address), "{line}");
    second.address();
    assert!(
        !first.lines.iter().any(|line| line.contains(SAID)),
        "it was alone"
    );
    // Of sockets that are handed over nobody knows who has them.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut third = Process::start_on(&usual(&[]), &[("admin", &socket)]);
    third.line("the socket of 127.0.0.1:");
    third.address();
}

/// Probes at a shared address are answered by the one that serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_address_for_probes_goes_to_the_new_process() {
    let certificate = Certificate::new();
    let [socket, probes] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let health = probes.local_addr().unwrap().to_string();
    let command = with(&certificate, &[("drain.timeout", "10m")]);
    let start = || Process::start_on(&command, &[("health", &probes), ("grpc", &socket)]);
    let (old, address) = Router::serving(start());
    assert_eq!(old.health, health);
    let connector = Connector::new(&address, certificate.trust()).unwrap();
    let pair = Pair::open(&connector, "keeps it draining").await;
    let (_new, _) = Router::serving(start());
    old.process.signal("TERM");
    let mut old = old;
    old.process.line("draining");
    // The old one may answer once more while it lets go, even after the new one has.
    let mut in_turn = 0;
    until("only the new one", || {
        let new = get(&health, "/readyz").contains(" 200 ");
        in_turn = if new { in_turn + 1 } else { 0 };
        in_turn == 20
    })
    .await;
    drop(pair);
    assert_eq!(old.ends().await.code(), Some(0));
}

#[test]
fn sockets_that_make_no_sense_are_refused() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    for (sockets, said) in [
        (
            &[("gprc", &socket)][..],
            "expected grpc, health, metrics or admin",
        ),
        (
            &[("grpc", &socket), ("grpc", &socket)],
            "two sockets were handed over",
        ),
    ] {
        let ended = Process::start_on(&usual(&[]), sockets).wait();
        assert_eq!(ended.code(), Some(78), "{ended:?}");
        assert!(ended.lines.concat().contains(said), "{ended:?}");
    }
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let ended = Process::start_on(&usual(&[]), &[("admin", &everywhere)]).wait();
    assert_eq!(ended.code(), Some(78), "{ended:?}");
    assert!(
        ended.lines.concat().contains("set admin.token"),
        "{ended:?}"
    );
    // Not a socket at all.
    let mut no_socket = usual(&[]);
    no_socket.env("LISTEN_FDS", "1");
    let ended = run(no_socket);
    assert_eq!(ended.code(), Some(78), "{ended:?}");
    assert!(ended.lines.concat().contains("is not for TCP"), "{ended:?}");
}

/// While nobody runs, the one who holds the socket keeps connections for the next process.
#[tokio::test(flavor = "multi_thread")]
async fn who_connects_during_a_restart_is_served_by_the_next_process() {
    let certificate = Certificate::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let command = with(&certificate, &[]);
    let start = || Router::serving(Process::start_on(&command, &[("grpc", &socket)]));
    let (old, address) = start();
    old.process.signal("TERM");
    assert_eq!(old.ends().await.code(), Some(0));
    let connector = Connector::new(&address, certificate.trust()).unwrap();
    let early = tokio::spawn(async move { Pair::open(&connector, "early").await });
    // However long it takes; TCP says at once that somebody listens.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!early.is_finished());
    let (_new, _) = start();
    within("the pair", early).await.unwrap().ping_pong().await;
}
