//! The demo as its user starts it: one command, nothing configured.

use std::process::{Command, Output};

/// Runs the demo in an environment that would spoil it if it were looked at.
fn demo(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jumpstarter-router"))
        .arg("demo")
        .args(args)
        .env("ROUTER_KEY", "")
        .env("EXTERNAL_CERT_PEM", "/nowhere")
        .env("JUMPSTARTER_ROUTER_CONFIG", "/nowhere")
        .output()
        .unwrap()
}

#[test]
fn reports_every_step_and_exits_with_0() {
    let output = demo(&["--size", "3"]);
    let report = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report}{errors}");
    assert_eq!(errors, "", "log lines stand in the way of the report");
    let mut rest = report.as_str();
    for expected in [
        "\nrouter   gRPC on 127.0.0.1:",
        "certificate verified",
        "token: UNAUTHENTICATED",
        "\nbulk     3 MiB each way",
        "checksums agree",
        "\nconsole  2000 round trips",
        "p99",
        "\nburst    20000 messages",
        "all in order",
        "\nkilled ",
        "GOAWAY frame, UNAVAILABLE \"the other side's connection was lost\"",
        "\nalone ",
        "GOAWAY frame, DEADLINE_EXCEEDED \"the other side did not connect within 1s (pairing.timeout);",
        "\ndrain    /readyz 503",
        "GOAWAY frame, UNAVAILABLE \"the router is shutting down; connect again\"",
        "OK on both sides",
        "\nresult   all as it should be\n",
    ] {
        let at = rest.find(expected);
        let at = at.unwrap_or_else(|| panic!("no {expected:?} in its place in:\n{report}"));
        rest = &rest[at + expected.len()..];
    }
    assert!(!report.contains('\x1b'), "a file gets no terminal codes");
}

#[test]
fn says_what_went_wrong_and_exits_with_1() {
    let output = demo(&["--listen", "203.0.113.1:0"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let sentence = "error: starting the router failed: cannot listen on 203.0.113.1:0";
    assert!(errors.starts_with(sentence), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [&["--size", "0"], &["--listen", "here"]] {
        assert_eq!(demo(args).status.code(), Some(2), "{args:?}");
    }
}
