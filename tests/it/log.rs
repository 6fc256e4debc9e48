//! Whoever reads the log, or does not, holds up nothing.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    os::{fd::OwnedFd, linux::fs::MetadataExt as _, unix::net::UnixStream},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::helpers::{LONG, Pair, process::usual, web};
use jumpstarter_router::client::{Connector, Trust};
use serde_json::Value;

/// Every frame leaves a dozen lines.
const MUCH: &str = "trace,h2=trace";

/// A router whose standard error the test treats as it likes. Killed when the test is over.
struct Router(Child);

impl Router {
    fn start(mut command: Command, stderr: impl Into<Stdio>) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.stderr(stderr).spawn().unwrap())
    }

    fn stop(mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return (status, begun.elapsed());
            }
            assert!(begun.elapsed() < LONG, "SIGTERM does nothing");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads until it serves, and no further than the buffer that was filled by then.
fn serving(reader: &mut impl std::io::BufRead) -> (Connector, SocketAddr) {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "it has ended");
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["msg"] == "serving" {
            let text = |name: &str| line[name].as_str().unwrap();
            let connector = Connector::new(text("address"), Trust::Insecure).unwrap();
            return (connector, text("health").parse().unwrap());
        }
    }
}

fn verbose(filter: &str) -> Command {
    usual(&[
        ("listen.health_address", "127.0.0.1:0"),
        ("log.filter", filter),
    ])
}

async fn lost(health: SocketAddr) -> u64 {
    let metrics = web::aside(move || web::get(health, "/metrics").body).await;
    let name = "\njumpstarter_router_log_lines_lost_total ";
    let (_, rest) = metrics.split_once(name).unwrap();
    rest.lines().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_up_nothing_and_tells_what_it_lost() {
    let (read, write) = std::io::pipe().unwrap();
    let router = Router::start(verbose(MUCH), write);
    let mut read = BufReader::new(read);
    let (connector, health) = serving(&mut read);
    let mut pair = Pair::open(&connector, "from before").await;

    // Nobody reads any more.
    let begun = Instant::now();
    while lost(health).await == 0 {
        assert!(begun.elapsed() < 2 * LONG, "nothing is lost");
        for _ in 0..50 {
            pair.ping_pong().await;
        }
    }
    let healthy = web::aside(move || web::get(health, "/healthz").status).await;
    assert_eq!(healthy, 200);
    let mut other = Pair::open(&connector, "new").await;
    other.ping_pong().await;
    drop(other);
    let count = lost(health).await;

    // Somebody reads again.
    let rest = thread::spawn(move || {
        let mut rest = String::new();
        read.read_to_string(&mut rest).unwrap();
        rest
    });
    let begun = Instant::now();
    let mut count = count;
    loop {
        pair.ping_pong().await;
        let now = lost(health).await;
        if now == count {
            break;
        }
        assert!(
            begun.elapsed() < LONG,
            "lines are lost though somebody reads"
        );
        count = now;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(pair);
    let (status, _) = router.stop();
    assert_eq!(status.code(), Some(0));
    let rest = rest.join().unwrap();
    // The first may have begun in what was read before.
    let lines = rest.lines().skip(1);
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).expect("a whole line"));
    let lines: Vec<_> = lines.collect();
    let told = lines.iter().filter(|line| {
        let message = line["msg"].as_str().unwrap();
        message.starts_with("log lines were lost")
    });
    let told: u64 = told.map(|line| line["lines"].as_u64().unwrap()).sum();
    assert!(told >= count, "{told} of {count} lost lines were told");
    // What was lost may be told behind it, and libraries have last words of their own.
    assert!(lines.iter().any(|line| line["msg"] == "stopped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_lines_get_a_second_and_no_more() {
    let (read, write) = std::io::pipe().unwrap();
    let router = Router::start(verbose(MUCH), write);
    let mut read = BufReader::new(read);
    let (connector, _) = serving(&mut read);
    let mut pair = Pair::open(&connector, "fills the pipe").await;
    for _ in 0..200 {
        pair.ping_pong().await;
    }
    drop(pair);
    let (status, took) = router.stop();
    assert_eq!(status.code(), Some(0));
    let enough = Duration::from_secs(1)..Duration::from_secs(10);
    assert!(enough.contains(&took), "{took:?}");
    // The pipe is full, or nearly, as a line fills no page.
    let mut left = Vec::new();
    read.read_to_end(&mut left).unwrap();
    assert!(left.len() >= 32 * 1024, "{}", left.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_reader_has_gone_holds_up_nothing() {
    let (read, write) = std::io::pipe().unwrap();
    let router = Router::start(verbose("debug"), write);
    let mut read = BufReader::new(read);
    let (connector, health) = serving(&mut read);
    drop(read);
    for _ in 0..3 {
        Pair::open(&connector, "unseen").await.ping_pong().await;
    }
    let healthy = web::aside(move || web::get(health, "/healthz").status).await;
    assert_eq!(healthy, 200);
    assert_eq!(router.stop().0.code(), Some(0));
}

#[test]
fn a_full_disk_ends_nothing_and_changes_no_exit_code() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    // An address that no other test has, as nobody can read which port was chosen.
    let health: SocketAddr = "127.83.21.7:21083".parse().unwrap();
    let command = usual(&[
        ("listen.health_address", &health.to_string()),
        ("log.filter", "debug"),
    ]);
    let router = Router::start(command, full());
    let begun = Instant::now();
    while std::net::TcpStream::connect(health).is_err() {
        assert!(begun.elapsed() < LONG, "it does not start");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(web::get(health, "/healthz").status, 200);
    assert_eq!(router.stop().0.code(), Some(0));

    let wrong = usual(&[("streams.max", "many")]);
    let mut wrong = Router::start(wrong, full());
    assert_eq!(wrong.0.wait().unwrap().code(), Some(78));
}

#[test]
fn lines_carry_their_priority_only_to_the_journal() {
    for journal in [true, false] {
        let (stderr, read) = UnixStream::pair().unwrap();
        let stderr = OwnedFd::from(stderr);
        let meta = File::from(stderr.try_clone().unwrap()).metadata().unwrap();
        let mut command = verbose("info");
        let other = u64::from(!journal);
        let named = format!("{}:{}", meta.st_dev(), meta.st_ino() + other);
        command.env("JOURNAL_STREAM", named);
        let router = Router::start(command, stderr);
        let mut read = BufReader::new(read);
        let mut line = String::new();
        while !line.contains("\"serving\"") {
            line.clear();
            assert!(read.read_line(&mut line).unwrap() > 0, "it has ended");
            assert!(
                line.starts_with(if journal { "<6>{" } else { "{" }),
                "{line}"
            );
        }
        drop(router);
    }
}
