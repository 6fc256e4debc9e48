//! A router in this process, and `load` started against it.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::helpers::{KEY, Running, process};

/// A router, and a directory for what the test writes.
pub struct Fixture {
    dir: TempDir,
    pub runtime: Runtime,
    router: Option<Running>,
    tls: Vec<String>,
    pub address: String,
}

pub fn fixture(plaintext: bool) -> Fixture {
    let runtime = Runtime::new().unwrap();
    let plain = [("tls.plaintext", "true")];
    let settings: &[_] = if plaintext { &plain } else { &[] };
    let router = runtime.block_on(Running::start(settings));
    let certificate = router.certificate.certificate().display().to_string();
    let tls = if plaintext {
        vec!["--plaintext".to_owned()]
    } else {
        vec!["--ca".to_owned(), certificate]
    };
    Fixture {
        dir: tempfile::tempdir().unwrap(),
        runtime,
        address: router.endpoint(),
        router: Some(router),
        tls,
    }
}

impl Fixture {
    /// Runs `load` with these options and gives its exit code and report.
    pub fn load(&self, options: &str) -> (i32, Value) {
        let json = self.dir.path().join("report.json");
        let output = self
            .command(options)
            .args(["--quiet", "--json"])
            .arg(&json)
            .output()
            .unwrap();
        assert!(output.stdout.is_empty(), "--quiet is quiet");
        let text = std::fs::read_to_string(&json).unwrap_or_else(|_| panic!("{output:?}"));
        (
            output.status.code().unwrap(),
            serde_json::from_str(&text).unwrap(),
        )
    }

    /// Runs a load that must go well.
    pub fn good(&self, options: &str) -> Value {
        let (code, report) = self.load(options);
        assert_eq!((code, &report["errors"]), (0, &serde_json::json!({})));
        report
    }

    pub fn command(&self, options: &str) -> Command {
        let mut command = load(&self.address);
        command.args(&self.tls).args(options.split_whitespace());
        command
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _in = self.runtime.enter();
        self.router.take();
    }
}

pub fn load(address: &str) -> Command {
    let mut command = process::command();
    command
        .args(["load", "--warmup", "0s", "--threads", "2"])
        .args(["--deadline", "30s", "--router", address])
        .env("ROUTER_KEY", KEY);
    command
}
