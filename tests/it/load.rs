//! `load` against a router in this process: totals, fields, exit codes, and routers that misbehave.

mod fixture;

use std::{
    process::Output,
    time::{Duration, Instant},
};

use fixture::{fixture, load};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn number(report: &Value, field: &str) -> f64 {
    report[field].as_f64().unwrap_or_else(|| panic!("{field}"))
}

#[test]
fn counts_are_exact() {
    let fixture = fixture(false);
    for options in [
        "--workload bulk --messages 100 --pairs 2",
        "--workload bulk --messages 100 --both",
        "--workload flood --messages 10001 --pairs 3",
        "--workload flood --messages 5000 --connections shared --pairs 3",
        "--workload mix --messages 101 --verify sample",
        "--workload flood --size 0 --messages 50",
        "--workload bulk --size 1MiB --messages 20",
    ] {
        let report = fixture.good(options);
        let words: Vec<&str> = options.split(' ').collect();
        let at = words.iter().position(|word| *word == "--messages").unwrap();
        let asked: u64 = words[at + 1].parse().unwrap();
        assert_eq!(report["messages"], asked, "{options}");
    }
    let report = fixture.good("--workload bulk --bytes 1MiB");
    assert_eq!(report["messages"], 16);
    // Five bytes of gRPC and four of protobuf each, and the two frames that say that no more follows.
    assert_eq!(report["bytes"], 16 * (65_536 + 5 + 4) + 2 * 7);
    assert_eq!(report["statuses"]["status 0"], 2);
    assert_eq!(report["parameters"]["tls"], true);
    assert!(number(&report, "mb_per_second") > 0.0);
    assert_eq!(report["latency"], Value::Null);
}

#[test]
fn closed_and_open_loop_have_latencies() {
    let fixture = fixture(true);
    let report = fixture.good("--workload pingpong --messages 200 --pairs 2");
    assert_eq!(
        (&report["messages"], &report["units"]),
        (&200.into(), &100.into())
    );
    let latency = &report["latency"];
    let figures = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"];
    let figures = figures.map(|name| number(latency, name));
    assert!(figures[0] > 0.0 && figures.is_sorted());

    let report = fixture.good("--workload bulk --messages 500 --pings");
    assert!(number(&report["pings"], "p50_us") > 0.0, "{report}");

    let report = fixture.good("--workload reqresp --rate 500 --messages 400 --pairs 3");
    assert_eq!(
        (&report["messages"], &report["units"]),
        (&400.into(), &200.into())
    );
    let seconds = number(&report, "seconds");
    assert!((0.35..5.0).contains(&seconds), "200 at 500/s: {seconds}");
    assert_eq!(report["lateness"]["count"], 200);
}

#[test]
fn pairs_come_go_and_stand_still() {
    let fixture = fixture(false);
    let pid = std::process::id();
    for connections in ["separate", "shared"] {
        let report = fixture.good(&format!(
            "--workload churn --messages 40 --pairs 3 --connections {connections}"
        ));
        assert_eq!(
            (&report["messages"], &report["units"]),
            (&40.into(), &20.into())
        );
        let report = fixture.good(&format!(
            "--workload idle --pairs 10 --duration 100ms --pid {pid} --connections {connections}"
        ));
        assert!(number(&report["extra"], "router_rss_with_pairs_kib") > 1000.0);
        assert_eq!(report["router"]["pid"], pid);
        assert_eq!(report["statuses"]["status 0"], 20);
    }
    for options in ["", "--resume", "--size 20 --resume"] {
        let report = fixture.good(&format!(
            "--workload stall --pairs 2 --duration 100ms {options}"
        ));
        let accepted = number(&report["extra"], "bytes_accepted_per_pair");
        assert!(accepted > 65_535.0 && accepted < 64e6, "{accepted}");
    }
    let report = fixture.good("--workload mixed --pairs 2 --duration 300ms");
    assert!(number(&report["latency"], "count") > 0.0);
}

#[test]
fn a_distance_is_felt() {
    let fixture = fixture(false);
    let report = fixture.good("--workload pingpong --messages 6 --delay 20ms");
    // To the router, to the partner, and the same way back.
    assert!(number(&report["latency"], "p50_us") >= 80_000.0);
}

#[test]
fn errors_make_the_exit_code() {
    let fixture = fixture(false);
    let (code, report) = fixture.load("--workload pingpong --messages 2 --key not-the-key");
    assert_eq!(code, 1);
    assert!(
        report["errors"].to_string().contains("status 16"),
        "{report}"
    );

    let output = fixture.command("").arg("--insecure").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "--ca and --insecure");
    let output = load(&fixture.address).output().unwrap();
    assert!(matches!(output.status.code(), Some(1 | 78)));
    // Not trusted; or there is nothing to trust, on a system without certificates.
    let said = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("--ca FILE") || said.contains("ca-certificates"),
        "{said}"
    );
    let mut keyless = fixture.command("");
    let output = keyless.env_remove("ROUTER_KEY").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("no key"), "{}", stderr(&output));
}

#[test]
fn a_router_that_is_silent_ends_at_the_deadline() {
    let runtime = Runtime::new().unwrap();
    let silent = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let begin = Instant::now();
    let output = load(&address)
        .args(["--plaintext", "--deadline", "500ms"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(begin.elapsed() < Duration::from_secs(10));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("not over after 500ms"), "{text}");
}

/// A proxy that changes one byte of what the router sends.
async fn spoil(listener: TcpListener, router: String) {
    while let Ok((near, _)) = listener.accept().await {
        let far = TcpStream::connect(&router).await.unwrap();
        let (mut near_read, mut near_write) = near.into_split();
        let (mut far_read, mut far_write) = far.into_split();
        tokio::spawn(async move { copy(&mut near_read, &mut far_write).await });
        tokio::spawn(async move {
            let mut buffer = vec![0; 16 * 1024];
            let mut seen = 0;
            loop {
                let n = far_read.read(&mut buffer).await.unwrap_or(0);
                if n == 0 {
                    break;
                }
                if (seen..seen + n).contains(&300_000) {
                    buffer[300_000 - seen] ^= 1;
                }
                seen += n;
                if near_write.write_all(&buffer[..n]).await.is_err() {
                    break;
                }
            }
        });
    }
}

#[test]
fn one_wrong_byte_is_an_error() {
    let fixture = fixture(true);
    let listener = fixture.runtime.block_on(TcpListener::bind("127.0.0.1:0"));
    let listener = listener.unwrap();
    let spoiled = listener.local_addr().unwrap().to_string();
    fixture
        .runtime
        .spawn(spoil(listener, fixture.address.clone()));
    let output = load(&spoiled)
        .args(["--plaintext", "--messages", "100"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("ERROR"), "{text}");
}
