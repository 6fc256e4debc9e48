//! A process with a memory limit: many readers that stand still, and one pair that moves.

use std::process::{Command, Stdio};

use crate::helpers::{
    KEY,
    process::{Process, command, size, usual},
};
use serde_json::Value;

const LIMIT: u64 = 128 << 20;

/// The process may not need more, however many stand still: 400 pairs would hold 400 x 192 KiB of messages, and HTTP/2
/// would note every small one.
const SIEGES: [&str; 2] = [
    "--workload stall --persist --pairs 400 --size 20000 --warmup 0s --duration 60s",
    "--workload stall --persist --pairs 400 --size 20 --warmup 0s --duration 60s",
];

fn load(address: &str, options: &str) -> Command {
    let mut load = command();
    load.args(["load", "--router", address, "--insecure", "--quiet"])
        .args(["--json", "-", "--key", KEY])
        .args(options.split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    load
}

#[test]
fn stalled_pairs_end_before_memory_does_and_a_moving_one_goes_on() {
    for siege in SIEGES {
        let limit = LIMIT.to_string();
        let mut process = Process::start(usual(&[("memory.limit", limit.as_str())]));
        let address = process.address();
        let moving = "--workload pingpong --pairs 1 --duration 8s";
        let moving = load(&address, moving).spawn().unwrap();
        let mut stalled = load(&address, siege).spawn().unwrap();
        // However slowly the machine stalls them.
        let warning = process.line("out of memory: ended streams that stood still");
        assert!(warning["streams"].as_u64().unwrap() > 0, "{warning}");
        let moving = moving.wait_with_output().unwrap();
        stalled.kill().unwrap();
        stalled.wait().unwrap();

        let peak = size(process.pid(), "VmHWM");
        println!("peak {} MiB of {} MiB: {siege}", peak >> 20, LIMIT >> 20);
        assert!(peak < LIMIT, "{peak} bytes were in memory, {LIMIT} allowed");
        let report: Value = serde_json::from_slice(&moving.stdout).unwrap();
        assert!(moving.status.success(), "the moving pair: {report}");
        assert!(report["units"].as_u64().unwrap() > 100, "{report}");
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0));
    }
}
