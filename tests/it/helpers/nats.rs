//! The routers' message bus: a real nats-server.

use std::{
    io,
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Instant,
};

use super::{LONG, free_port, process::signal};

/// Whether there is one; if not, says so, and fails if it is required.
pub fn installed() -> bool {
    let mut asked = Command::new("nats-server");
    let asked = asked.arg("--version").stdout(Stdio::null()).spawn();
    started(asked).is_some_and(|mut child| child.wait().unwrap().success())
}

fn started(spawned: io::Result<Child>) -> Option<Child> {
    match spawned {
        Ok(child) => Some(child),
        Err(error) => {
            let required = std::env::var("REQUIRE_NATS").is_ok_and(|value| value == "1");
            assert!(!required, "REQUIRE_NATS=1, and nats-server: {error}");
            eprintln!("SKIPPED: nats-server does not start: {error}");
            None
        }
    }
}

/// A server of the bus, which ends with this.
pub struct Nats {
    pub port: u16,
    child: Child,
}

impl Nats {
    /// Starts a server; `None`, and says so, if there is none on this machine and it is not required.
    pub fn start() -> Option<Self> {
        Self::start_on(free_port(), &[])
    }

    pub fn start_on(port: u16, options: &[&str]) -> Option<Self> {
        let spawned = Command::new("nats-server")
            .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = started(spawned)?;
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < LONG, "nats-server does not listen");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Some(Self { port, child })
    }

    /// The URL, as `cluster.servers` has it.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Ends it, and leaves the port to another.
    pub fn stop(self) -> u16 {
        self.port
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // One that was stopped has to go on to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
