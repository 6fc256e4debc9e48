//! A router that has run out of file descriptors.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::helpers::{
    KEY, LONG, Pair,
    process::{Process, command, get, ticks},
    program::{Program, run},
    within,
};
use jumpstarter_router::client::{Connector, Trust};
use tokio::net::TcpStream;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// The most file descriptors the router may have.
const MOST: usize = 64;

/// The program, from a shell that lowers its limits and then becomes it, so that the pid stays the same.
fn under(limits: &str, args: &[&str]) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell
        .env_clear()
        .env("ROUTER_KEY", KEY)
        .arg("-c")
        .arg(format!("ulimit {limits}; exec \"$0\" \"$@\""))
        .arg(command().get_program())
        .args(args);
    shell
}

fn limited() -> Command {
    let mut shell = under(&format!("-n {MOST}"), &["serve"]);
    for setting in [
        "listen.address=127.0.0.1:0",
        "listen.health_address=127.0.0.1:0",
        "listen.admin_address=0",
        "connections.tls_handshake_timeout=10m",
    ] {
        shell.arg("--set").arg(setting);
    }
    shell
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_descriptors_it_waits_without_spinning_and_then_goes_on() {
    let mut process = Process::start(limited());
    let serving = process.line("serving");
    let address = serving["address"].as_str().unwrap().to_owned();
    let health_address = serving["health"].as_str().unwrap().to_owned();
    let connector = Connector::new(&address, Trust::Insecure).unwrap();
    let mut pair = Pair::open(&connector, "innocent").await;
    pair.ping_pong().await;

    // Somebody who was there before, and would be told.
    let channel = connector.channel().await.unwrap();
    let mut health = HealthClient::new(channel);
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let watch = within("a watch", health.watch(request)).await;
    let mut watch = watch.unwrap().into_inner();
    let mut status = async || {
        let update = within("an update", watch.message()).await;
        update.unwrap().unwrap().status()
    };
    assert_eq!(status().await, ServingStatus::Serving);

    // The kernel completes these whether or not the router accepts them.
    let mut crowd = Vec::new();
    for _ in 0..MOST + 40 {
        crowd.push(TcpStream::connect(&address).await.unwrap());
    }
    let line = process.line("cannot accept connections");
    assert_eq!(line["level"], "warning");
    assert!(
        line["error"].as_str().unwrap().contains("24"),
        "EMFILE: {line}"
    );

    assert_eq!(status().await, ServingStatus::NotServing);

    // Two seconds of nothing: a loop that tries again at once would take all of them.
    let before = ticks(process.pid());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = ticks(process.pid()) - before;
    assert!(used < 40, "{used} ticks of 10 ms in 2 s");
    let start = Instant::now();
    for _ in 0..20 {
        pair.ping_pong().await;
    }
    assert!(start.elapsed() < LONG);

    drop(crowd);
    assert_eq!(status().await, ServingStatus::Serving);
    process.line("connections are accepted again");
    let said = process.lines.iter();
    let said = said.filter(|line| line.contains("cannot accept connections"));
    assert_eq!(said.count(), 1, "one line, not one for each attempt");
    let metrics = get(&health_address, "/metrics");
    let failures = metrics
        .lines()
        .find_map(|line| line.strip_prefix("jumpstarter_router_accept_failures_total "))
        .unwrap();
    assert!(failures.parse::<u64>().unwrap() > 0);
    assert!(get(&health_address, "/readyz").starts_with("HTTP/1.1 200"));
    let mut later = Box::pin(within("a new pair", Pair::open(&connector, "later"))).await;
    later.ping_pong().await;
    pair.ping_pong().await;
    assert!(process.is_running());
}

/// The soft and the hard limit of a process.
fn limits(pid: u32) -> [String; 2] {
    let all = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = all
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let mut words = line.unwrap().split_whitespace().map(str::to_owned);
    [words.next().unwrap(), words.next().unwrap()]
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_one() {
    let limited = |args: &[&str]| under("-Sn 64", args);
    let free = [
        "--set",
        "listen.address=127.0.0.1:0",
        "--set",
        "listen.health_address=0",
    ];
    let mut router = Process::start(limited(&free));
    let address = router.address();
    let forward = [
        "forward",
        "--router",
        &address,
        "--insecure",
        "--subject",
        "s",
    ];
    let forward = [&forward[..], &["--listen", "127.0.0.1:0"]].concat();
    let mut forward = Program::start(limited(&forward));
    forward.says("127.0.0.1:");
    for pid in [router.pid(), forward.pid()] {
        let [soft, hard] = limits(pid);
        assert_eq!(soft, hard);
        assert_ne!(soft, "64");
    }
}

#[test]
fn too_low_a_limit_is_said_at_the_start_and_by_check() {
    let said = "this process may have 64 files open, and needs";
    let mut router = Process::start(limited());
    assert_eq!(router.line(said)["level"], "warning");
    let checked = run(under("-n 64", &["check"]), b"");
    checked.ended(0, &[said, "LimitNOFILE="]);
    // 65 of its own, and a listener with 256 connections each for probes and administrators.
    let enough = ["check", "--set", "connections.max=64"];
    assert_eq!(run(under("-n 643", &enough), b"").stderr, "");
}
