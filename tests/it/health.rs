//! `health`, as a probe runs it, against a router that is a process, too.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::helpers::{
    Pair,
    process::{self, Ended, Process, run, usual},
};
use jumpstarter_router::client::{Connector, Trust};

const VARIABLE: &str = "JUMPSTARTER_ROUTER_LISTEN_HEALTH_ADDRESS";

fn health(args: &[&str]) -> Command {
    let mut command = process::command();
    command.arg("health").args(args);
    command
}

/// All is well, and nothing is said.
fn well(command: Command) {
    let ended = run(command);
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.lines.is_empty(), "{ended:?}");
}

/// Not well, for this reason, in one line.
fn unwell(command: Command, parts: &[&str]) -> Ended {
    let ended = run(command);
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert_eq!(ended.lines.len(), 1, "{ended:?}");
    for part in parts {
        assert!(ended.lines[0].contains(part), "{part:?} in {ended:?}");
    }
    ended
}

/// A server that answers everybody alike, or not at all.
fn server(answer: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut socket in listener.incoming().map_while(Result::ok) {
            if let Some(answer) = answer {
                let _ = socket.read(&mut [0; 1024]);
                let _ = socket.write_all(answer);
            } else {
                kept.push(socket);
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_is_ready_then_drains_then_is_gone() {
    let mut router = Process::start(usual(&[
        ("listen.health_address", "127.0.0.1:0"),
        ("drain.timeout", "10m"),
    ]));
    let line = router.line("serving");
    let address = line["health"].as_str().unwrap().to_owned();
    well(health(&["--address", &address]));
    well(health(&["--live", "--address", &address]));

    let connector = Connector::new(line["address"].as_str().unwrap(), Trust::Insecure).unwrap();
    let mut pair = Pair::open(&connector, "keeps it draining").await;
    router.signal("TERM");
    router.line("draining");
    unwell(
        health(&["--address", &address]),
        &["/readyz", &address, "503", "draining"],
    );
    well(health(&["--live", "--address", &address]));
    pair.ping_pong().await;

    drop(pair);
    tokio::task::spawn_blocking(|| router.wait()).await.unwrap();
    for args in [
        &["--address", &address][..],
        &["--live", "--address", &address],
    ] {
        unwell(health(args), &[&address, "is the router running"]);
    }
}

#[test]
fn the_address_comes_from_where_the_routers_does() {
    let router = |path: &'static str| {
        let text = format!("HTTP/1.1 200 OK\r\n\r\n{path}");
        server(Some(text.leak().as_bytes()))
    };
    let (one, other) = (router("one"), router("other"));

    let mut by_variable = health(&[]);
    by_variable.env(VARIABLE, &one);
    well(by_variable);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    let text = format!("[listen]\nhealth_address = \"{one}\"\n[auth]\nkey_files = [\"/gone\"]\n");
    std::fs::write(&file, text).unwrap();
    well(health(&["--config", file.to_str().unwrap()]));
    let mut named = health(&[]);
    named.env("JUMPSTARTER_ROUTER_CONFIG", &file);
    well(named);

    // The option goes first.
    let mut both = health(&["--address", &other]);
    both.env(VARIABLE, "127.0.0.1:1");
    well(both);
    let mut variable_only = health(&[]);
    variable_only.env(VARIABLE, "127.0.0.1:1");
    unwell(variable_only, &["127.0.0.1:1"]);

    let mut off = health(&[]);
    off.env(VARIABLE, "0");
    unwell(off, &["listen.health_address", "--address"]);
}

#[test]
fn silence_and_nonsense_are_not_health() {
    let silent = server(None);
    let start = Instant::now();
    let command = health(&["--address", &silent, "--timeout", "300ms"]);
    unwell(command, &[&silent, "no answer within 300ms"]);
    assert!(start.elapsed() >= Duration::from_millis(300));

    let nonsense = server(Some(b"220 mail.example.com ESMTP\r\n"));
    unwell(health(&["--address", &nonsense]), &["not HTTP"]);

    // Text of a stranger does not reach the terminal as it is.
    let rude = server(Some(b"HTTP/1.1 500 No\r\n\r\n\x1b[2Jno\nway"));
    let ended = unwell(health(&["--address", &rude]), &["500", "no"]);
    assert!(!ended.lines[0].contains('\x1b'), "{ended:?}");
}

/// What the API answers, if the connection is not cut.
fn status(admin: &str) -> Option<String> {
    let mut socket = TcpStream::connect(admin).ok()?;
    socket
        .write_all(b"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    Some(answer).filter(|answer| !answer.is_empty())
}

/// Opens connections, sends this on each, and never more, while `act` runs: 400 that stay, and ever new ones.
fn besieged(address: &str, text: &str, act: impl FnOnce()) {
    let open = || {
        let socket = TcpStream::connect(address);
        socket.and_then(|mut socket| socket.write_all(text.as_bytes()).map(|()| socket))
    };
    // Those that were made room for see an error.
    let _silent: Vec<_> = (0..400).map(|_| open()).collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&over);
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _ = open().and_then(|mut socket| {
                        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
                        socket.read(&mut [0])
                    });
                }
            });
        }
        act();
    });
}

/// Says so when `act` is over, even if it panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn who_says_nothing_fails_no_probe_and_locks_no_administrator_out() {
    let mut router = Process::start(usual(&[
        ("listen.health_address", "127.0.0.1:0"),
        ("listen.admin_address", "127.0.0.1:0"),
    ]));
    let line = router.line("serving");
    let [probes, admin] = ["health", "admin"].map(|name| line[name].as_str().unwrap());
    let header = "GET /healthz HTTP/1.1\r\nHo";
    let body = "PUT /api/log-filter HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                Content-Length: 99\r\n\r\n{";
    for text in ["", header] {
        besieged(probes, text, || {
            for _ in 0..5 {
                well(health(&["--live", "--address", probes]));
            }
        });
    }
    for text in ["", body] {
        besieged(admin, text, || {
            for _ in 0..5 {
                // In this crowd a connection may be cut; then one asks again.
                let answer = (0..5).find_map(|_| status(admin)).unwrap_or_default();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            }
        });
    }
}

#[test]
fn peers_that_have_all_descriptors_fail_no_probe() {
    let router = usual(&[("listen.health_address", "127.0.0.1:0")]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]);
    command.arg(router.get_program()).args(router.get_args());
    command.env_clear();
    for (name, value) in router.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let mut router = Process::start(command);
    let line = router.line("serving");
    let [grpc, probes] = ["address", "health"].map(|name| line[name].as_str().unwrap());
    let _all: Vec<_> = (0..100).map(|_| TcpStream::connect(grpc)).collect();
    router.line("cannot accept connections");
    for _ in 0..5 {
        well(health(&["--live", "--address", probes]));
    }
}

#[test]
fn wrong_usage_is_told_apart() {
    for args in [&["--timeout", "soon"][..], &["--what"], &["-zap-devel"]] {
        assert_eq!(run(health(args)).code(), Some(2), "{args:?}");
    }
}
