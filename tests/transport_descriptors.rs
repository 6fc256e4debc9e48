//! A router that has run out of file descriptors.
#![allow(clippy::unwrap_used)]

mod helpers;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use helpers::{
    KEY, LONG, Pair,
    process::{Process, command, ticks},
    within,
};
use jumpstarter_router::client::{Connector, Trust};
use tokio::net::TcpStream;

/// The most file descriptors the router may have.
const MOST: usize = 64;

/// The router, from a shell that lowers its limit and then becomes it, so that the pid stays the same.
fn limited() -> Command {
    let mut shell = Command::new("/bin/sh");
    shell
        .env_clear()
        .env("ROUTER_KEY", KEY)
        .arg("-c")
        .arg(format!("ulimit -n {MOST}; exec \"$0\" \"$@\""))
        .arg(command().get_program());
    for setting in [
        "listen.address=127.0.0.1:0",
        "listen.health_address=0",
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
    let address = process.address();
    let connector = Connector::new(&address, Trust::Insecure).unwrap();
    let mut pair = Pair::open(&connector, "innocent").await;
    pair.ping_pong().await;

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
    let mut later = Box::pin(within("a new pair", Pair::open(&connector, "later"))).await;
    later.ping_pong().await;
    pair.ping_pong().await;
    assert!(process.is_running());
}
