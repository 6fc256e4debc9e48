//! The routers' message bus: a real nats-server.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
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
        let program = std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
        let spawned = Command::new(program)
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

/// A client of the bus that hears everything and says what it likes.
pub struct Tap {
    socket: BufReader<TcpStream>,
}

/// What a router has said on the bus.
#[derive(Clone, Debug)]
pub struct Announced {
    pub subject: String,
    pub bytes: Vec<u8>,
}

impl Announced {
    /// The first bytes of the router's id, as its log has them.
    pub fn router(&self) -> String {
        use std::fmt::Write as _;
        self.bytes[1..7]
            .iter()
            .fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
    }

    pub fn ticket(&self) -> &[u8] {
        &self.bytes[17..33]
    }

    pub fn address(&self) -> &str {
        std::str::from_utf8(&self.bytes[ADDRESS..]).unwrap()
    }
}

/// Where an announcement's address begins, which is its last part: after version, router, ticket, certificate and proof.
pub const ADDRESS: usize = 1 + 16 + 16 + 32 + 32;

impl Tap {
    pub fn new(nats: &Nats) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", nats.port)).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        let mut tap = Self {
            socket: BufReader::new(socket),
        };
        assert!(tap.line().starts_with("INFO "));
        tap.write(b"CONNECT {\"verbose\":false,\"echo\":false}\r\nSUB > 1\r\nPING\r\n");
        assert_eq!(tap.line(), "PONG");
        tap
    }

    fn write(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.socket.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next message.
    pub fn hear(&mut self) -> Announced {
        loop {
            let line = self.line();
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["PING"] => self.write(b"PONG\r\n"),
                ["MSG", subject, _, size] => {
                    let mut bytes = vec![0; size.parse::<usize>().unwrap() + 2];
                    self.socket.read_exact(&mut bytes).unwrap();
                    bytes.truncate(bytes.len() - 2);
                    let subject = subject.to_owned();
                    return Announced { subject, bytes };
                }
                _ => panic!("{line:?}"),
            }
        }
    }

    /// The next message of the router that goes by this id in its log.
    pub fn hear_from(&mut self, router: &str) -> Announced {
        loop {
            let announced = self.hear();
            if announced.router() == router {
                return announced;
            }
        }
    }

    pub fn say(&mut self, announced: &Announced) {
        let Announced { subject, bytes } = announced;
        let head = format!("PUB {subject} {}\r\n", bytes.len());
        self.write(&[head.as_bytes(), bytes, b"\r\n"].concat());
    }
}
