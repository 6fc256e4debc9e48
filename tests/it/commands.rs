//! `token`, `pipe`, `probe` and `streams` as processes.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::helpers::{
    self, KEY,
    process::{Process, usual},
    program::{Done, Program, program, run},
};
use serde_json::Value;

/// A router, and its address.
fn router(settings: &[(&str, &str)]) -> (Process, String) {
    let mut router = Process::start(usual(settings));
    let address = router.address();
    (router, address)
}

fn command(args: &[&str]) -> Command {
    program(args, true)
}

/// One end of a pipe with a token of this subject.
fn pipe(address: &str, subject: &str, more: &[&str]) -> Program {
    let args = [
        "pipe",
        "--router",
        address,
        "--insecure",
        "--subject",
        subject,
    ];
    Program::start(command(&[&args, more].concat()))
}

fn mint(args: &[&str]) -> String {
    let done = run(command(&[&["token", "mint"], args].concat()), b"");
    done.ended(0, &[]);
    done.text().trim().to_owned()
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_minted_token_is_what_the_router_accepts() {
    let token = mint(&["--subject", "board 7", "--lifetime", "90s"]);
    let inspect =
        |args: &[&str], key: bool| run(program(&[&["token", "inspect"], args].concat(), key), b"");
    let done = inspect(&[&token], true);
    done.ended(0, &[]);
    for part in [
        "board 7",
        "1m 29s from now",
        "good, by ROUTER_KEY",
        "accepted",
    ] {
        // Less than a second later it is 1m 29s, more is another matter.
        assert!(
            done.text().contains(part) || part.contains("29s"),
            "{part:?} in {}",
            done.text()
        );
    }
    // Without a key the claims are looked at, and it is said that the signature was not.
    let done = inspect(&[&token], false);
    done.ended(0, &[]);
    assert!(
        done.text().contains("signature was not checked"),
        "{}",
        done.text()
    );
    let json: Value = serde_json::from_slice(&inspect(&["--json", &token], true).stdout).unwrap();
    assert_eq!(json["claims"]["sub"], "board 7");
    assert_eq!(json["accepted"], true);
    // From standard input, a file, and the environment.
    let by_stdin = run(command(&["token", "inspect", "-"]), token.as_bytes());
    by_stdin.ended(0, &[]);
    let directory = tempfile::tempdir().unwrap();
    inspect(&[&write(directory.path(), "token", &token)], true).ended(0, &[]);
    let mut by_variable = command(&["token", "inspect"]);
    by_variable.env("JUMPSTARTER_ROUTER_TOKEN", &token);
    run(by_variable, b"").ended(0, &[]);
}

#[test]
fn inspect_says_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let other = write(
        directory.path(),
        "other",
        "another key, which is also long enough\n",
    );
    let right = write(directory.path(), "right", &format!("{KEY}\n"));
    let token = mint(&["--lifetime", "1s"]);
    std::thread::sleep(Duration::from_millis(1100));
    let inspect = |args: &[&str]| run(program(&[&["token", "inspect"], args].concat(), false), b"");
    let refused = |done: &Done, parts: &[&str]| {
        done.ended(1, &[]);
        for part in parts {
            assert!(done.text().contains(part), "{part:?} in {}", done.text());
        }
    };
    let told = "the peer is told: UNAUTHENTICATED \"invalid jwt token\"";
    refused(
        &inspect(&[&token, "--key-file", &right]),
        &["expired", "good, by", told],
    );
    refused(&inspect(&[&token]), &["expired", "not checked"]);
    let fresh = mint(&[]);
    refused(
        &inspect(&[&fresh, "--key-file", &other]),
        &["by none of the given keys", "matches no key", told],
    );
    inspect(&[&fresh, "--key-file", &other, "--key-file", &right]).ended(0, &[]);
    for garbage in ["garbage", "a.b.c", "..", "eyJhbGciOiJub25lIn0.e30."] {
        refused(&inspect(&[garbage]), &["token"]);
    }
    // What strangers put into a token does not reach the terminal as it is.
    let rude = mint(&["--subject", "\u{1b}[2J\u{9b}2J\u{202e}"]);
    let done = inspect(&[&rude]);
    let text = done.text();
    assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{text:?}");
    run(program(&["token", "mint"], false), b"").ended(78, &["--key-file", "ROUTER_KEY"]);
    run(command(&["token", "mint", "--lifetime", "0s"]), b"").ended(2, &["at least 1s"]);
    inspect(&["--key-file", "/nowhere", &fresh]).ended(78, &["/nowhere"]);
}

#[test]
fn a_newline_at_the_end_of_a_key_makes_no_difference_or_is_named() {
    let minted_with = |key: &str| {
        let mut mint = program(&["token", "mint"], false);
        mint.env("ROUTER_KEY", key);
        let done = run(mint, b"");
        done.ended(0, &[]);
        done.text().trim().to_owned()
    };
    let inspected_with = |key: &str, token: &str| {
        let mut inspect = program(&["token", "inspect", token], false);
        inspect.env("ROUTER_KEY", key);
        run(inspect, b"")
    };
    let with_newline = format!("{KEY}\n");
    // Whoever has it signs without.
    for (signer, checker) in [
        (&*with_newline, KEY),
        (KEY, &*with_newline),
        (&*with_newline, &*with_newline),
    ] {
        inspected_with(checker, &minted_with(signer)).ended(0, &[]);
    }
    // A token that is signed with the newline, as upstream's controller may do it.
    let upstreams = minted_with(&format!("{KEY}\n\n"));
    inspected_with(&with_newline, &upstreams).ended(0, &[]);
    let done = inspected_with(KEY, &upstreams);
    done.ended(1, &[]);
    let said = "by none of the given keys, but ROUTER_KEY with a newline at its end would match";
    assert!(done.text().contains(said), "{}", done.text());
    // The same from a file, which may hold any bytes.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let binary = [&[0xff; 32][..], b"\r\n"].concat();
    std::fs::write(&path, binary).unwrap();
    let path = path.to_str().unwrap();
    let token = run(program(&["token", "mint", "--key-file", path], false), b"");
    token.ended(0, &[]);
    let token = token.text();
    let inspect = ["token", "inspect", token.trim(), "--key-file", path];
    run(program(&inspect, false), b"").ended(0, &[]);
}

#[test]
fn pipe_in_both_orders_and_both_directions() {
    let (_router, address) = router(&[]);
    for first_writes in [true, false] {
        let subject = format!("order {first_writes}");
        let mut first = pipe(&address, &subject, &[]);
        if first_writes {
            first.write(b"early\n");
            std::thread::sleep(Duration::from_millis(300));
        }
        let mut second = pipe(&address, &subject, &[]);
        if first_writes {
            assert_eq!(second.read_line(), "early\n");
        }
        for round in 0..20 {
            let line = format!("{round}\n");
            first.write(line.as_bytes());
            assert_eq!(second.read_line(), line);
            second.write(line.as_bytes());
            assert_eq!(first.read_line(), line);
        }
        // One ends; the other goes on.
        first.close();
        second.write(b"still here\n");
        assert_eq!(first.read_line(), "still here\n");
        second.finish().ended(0, &[]);
        first.wait().ended(0, &[]);
    }
}

#[test]
fn pipe_one_way_needs_nobody_to_end_it() {
    let (_router, address) = router(&[]);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 253) as u8).collect();
    let receiver = pipe(&address, "one way", &["--receive-only"]);
    let sender = pipe(&address, "one way", &["--send-only"]);
    let feeder = {
        let bytes = bytes.clone();
        std::thread::spawn(move || {
            let mut sender = sender;
            sender.write(&bytes);
            sender.finish()
        })
    };
    // Its standard input stays open.
    let done = receiver.wait();
    done.ended(0, &[]);
    assert!(done.stdout == bytes, "{} bytes came", done.stdout.len());
    feeder.join().unwrap().ended(0, &[]);
}

#[test]
fn pipe_tells_failures_apart() {
    let (_router, address) = router(&[("pairing.timeout", "400ms")]);
    let (mut one, mut other) = (pipe(&address, "killed", &[]), pipe(&address, "killed", &[]));
    one.write(b"hello\n");
    assert_eq!(other.read_line(), "hello\n");
    other.kill();
    one.wait()
        .ended(1, &["the other side", "connection was lost"]);

    pipe(&address, "alone", &[])
        .wait()
        .ended(5, &["did not connect", "400ms"]);

    let args = ["pipe", "--router", &address, "--insecure"];
    let mut refused = program(&args, false);
    refused.env("JUMPSTARTER_ROUTER_TOKEN", "no.such.token");
    run(refused, b"").ended(4, &["invalid jwt token", "token inspect"]);
    run(program(&args, false), b"").ended(78, &["--token-file", "JUMPSTARTER_ROUTER_TOKEN"]);
    let untrusted = ["pipe", "--router", &address, "--subject", "x", "--ca"];
    let certificate = helpers::Certificate::new();
    let ca = certificate.certificate();
    let untrusted = [&untrusted[..], &[ca.to_str().unwrap()]].concat();
    run(command(&untrusted), b"").ended(3, &["certificate", "--ca"]);
    run(
        command(&[
            "pipe",
            "--router",
            "127.0.0.1:1",
            "--insecure",
            "--subject",
            "x",
        ]),
        b"",
    )
    .ended(3, &["127.0.0.1:1"]);
    run(
        command(&[
            "pipe",
            "--router",
            "nowhere",
            "--insecure",
            "--subject",
            "x",
        ]),
        b"",
    )
    .ended(2, &["host:port"]);
    run(command(&["pipe"]), b"").ended(2, &["--router"]);
}

#[test]
fn an_interrupted_pipe_tells_its_partner() {
    let (_router, address) = router(&[]);
    let (mut one, mut other) = (
        pipe(&address, "interrupted", &[]),
        pipe(&address, "interrupted", &[]),
    );
    one.write(b"hello\n");
    assert_eq!(other.read_line(), "hello\n");
    other.signal("INT");
    other.wait().ended(130, &[]);
    one.wait().ended(1, &["cancelled"]);
}

#[test]
fn probe_measures_and_fails_with_a_code() {
    let (process, address) = router(&[]);
    let probe = |args: &[&str]| {
        let first = ["probe", "--router", &address, "--insecure"];
        run(command(&[&first, args].concat()), b"")
    };
    let done = probe(&[]);
    done.ended(0, &[]);
    assert!(done.text().contains("paired in"), "{}", done.text());
    let start = Instant::now();
    let done = probe(&[
        "--json",
        "--count",
        "3",
        "--interval",
        "100ms",
        "--size",
        "1000",
    ]);
    done.ended(0, &[]);
    assert!(start.elapsed() >= Duration::from_millis(200));
    let lines: Vec<Value> = done
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    for line in &lines {
        assert_eq!(line["ok"], true, "{line}");
        let trips = &line["round_trip_ms"];
        assert!(trips["min"].as_f64() <= trips["median"].as_f64(), "{line}");
        assert_eq!(trips["messages"], 10);
    }
    let slow = probe(&["--json", "--max-latency", "1ns"]);
    slow.ended(1, &["more than 1ns"]);
    let line: Value = serde_json::from_slice(&slow.stdout).unwrap();
    assert_eq!(line["ok"], false);
    probe(&["--token", "garbage"]).ended(4, &["invalid jwt token"]);
    let other = ["probe", "--router", &address, "--insecure"];
    run(program(&other, false), b"").ended(78, &["ROUTER_KEY"]);
    drop(process);
    probe(&[]).ended(3, &[&address]);
}

#[test]
fn streams_are_listed_and_ended_and_the_router_drained() {
    let mut router = Process::start(usual(&[
        ("listen.admin_address", "127.0.0.1:0"),
        ("drain.timeout", "30s"),
    ]));
    let line = router.line("serving");
    let address = line["address"].as_str().unwrap().to_owned();
    let admin = format!("http://{}", line["admin"].as_str().unwrap());
    let streams = |args: &[&str]| {
        let more = ["--admin", &admin];
        run(program(&[&["streams"], args, &more].concat(), false), b"")
    };
    let (mut one, mut other) = (pipe(&address, "ended", &[]), pipe(&address, "ended", &[]));
    one.write(b"hello\n");
    assert_eq!(other.read_line(), "hello\n");

    let listed = streams(&["list", "--json"]);
    listed.ended(0, &[]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let row = &listed["streams"]["streams"][0];
    assert_eq!(row["subject"], "ended", "{listed}");
    assert!(streams(&["list"]).text().contains("ended"));

    let id = row["id"].to_string();
    let ended = streams(&["end", "999999", &id]);
    ended.ended(1, &["999999", "no such stream"]);
    assert!(
        ended.text().starts_with(&format!("stream {id} of router ")),
        "{}",
        ended.text()
    );
    one.wait().ended(1, &["administrator"]);
    other.wait().ended(1, &["administrator"]);

    let drained = streams(&["drain", "--wait"]);
    drained.ended(0, &[]);
    assert!(drained.text().contains("has stopped"), "{}", drained.text());
    assert_eq!(router.wait().code(), Some(0));
    streams(&["list"]).ended(1, &["is the router running"]);
    run(program(&["streams", "end"], false), b"").ended(2, &["ID"]);
}

#[test]
fn help_names_the_exit_codes() {
    for name in ["pipe", "forward", "dial", "listen", "probe"] {
        let done = run(program(&[name, "--help"], false), b"");
        done.ended(0, &[]);
        assert!(
            done.text().contains("Exit codes:\n  0 "),
            "{name}: {}",
            done.text()
        );
    }
    for name in ["token mint", "token inspect", "streams list"] {
        let args: Vec<_> = name.split(' ').chain(["--help"]).collect();
        run(program(&args, false), b"").ended(0, &[]);
    }
}
