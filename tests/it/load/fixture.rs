//! A router in this process, and `load` started against it.

use std::{ffi::OsString, io::Write as _, path::PathBuf, process::Command};

use jumpstarter_router::{
    config::{self, Override, Sources},
    server::Server,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const KEY: &str = "hush-0123456789abcdef0123456789ab";

/// A router, and a directory for what the test writes.
pub struct Fixture {
    dir: TempDir,
    pub runtime: Runtime,
    server: Option<Server>,
    tls: Vec<String>,
    pub address: String,
}

pub fn fixture(plaintext: bool) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::File::create(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        path
    };
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = file("ca.pem", &made.cert.pem()).display().to_string();
    let key = file("key.pem", &made.signing_key.serialize_pem());
    let key = key.display().to_string();
    let set = |key: &str, value: &str| Override {
        key: key.to_owned(),
        value: value.to_owned(),
        flag: "test".to_owned(),
    };
    let mut overrides = vec![
        set("auth.key", KEY),
        set("listen.address", "127.0.0.1:0"),
        set("listen.health_address", "0"),
        set("listen.admin_address", "0"),
        set("listen.metrics_address", "0"),
    ];
    let tls = if plaintext {
        overrides.push(set("tls.plaintext", "true"));
        vec!["--plaintext".to_owned()]
    } else {
        overrides.push(set("tls.certificate", &certificate));
        overrides.push(set("tls.key", &key));
        vec!["--ca".to_owned(), certificate]
    };
    let sources = Sources {
        overrides,
        ..Sources::default()
    };
    let config = config::load(&sources).unwrap_or_else(|_| panic!("configuration"));
    let runtime = Runtime::new().unwrap();
    let server = runtime
        .block_on(Server::start(&config.config))
        .unwrap_or_else(|error| panic!("{error}"));
    let address = format!("localhost:{}", server.address.port());
    Fixture {
        dir,
        runtime,
        server: Some(server),
        tls,
        address,
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
        self.server.take();
    }
}

pub fn load(address: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jumpstarter-router"));
    command
        .args([
            "load",
            "--warmup",
            "0s",
            "--threads",
            "2",
            "--deadline",
            "30s",
        ])
        .args(["--router", address])
        .env("ROUTER_KEY", OsString::from(KEY));
    command
}
