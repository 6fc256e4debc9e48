//! The router as a process of its own.

use std::{
    collections::HashSet,
    fmt::Debug,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{KEY, LONG};

/// A command for the router with an environment that holds nothing but what a pod has.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jumpstarter-router"));
    command.env_clear();
    command
}

/// As [`command`], with a key and free ports.
pub fn usual(settings: &[(&str, &str)]) -> Command {
    let mut command = command();
    command.env("ROUTER_KEY", KEY);
    let ports = [
        ("listen.address", "127.0.0.1:0"),
        ("listen.health_address", "0"),
        ("listen.admin_address", "0"),
    ];
    for (key, value) in ports.iter().chain(settings) {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    command
}

/// What a process said and how it ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub lines: Vec<String>,
}

impl Ended {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// The lines as they come, read by a thread of their own.
pub fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    receive
}

/// Sends a signal to one process.
pub fn signal(pid: u32, name: &str) {
    let pid = pid.to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(sent.unwrap().success());
}

/// Waits until a process ends, for so long.
pub fn ended(child: &mut Child, long: Duration, said: &dyn Debug) -> ExitStatus {
    let end = Instant::now() + long;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < end, "still running; it said {said:#?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A process that is killed when the test is over.
pub struct Process {
    child: Child,
    stderr: Receiver<String>,
    pub lines: Vec<String>,
    /// Which of the lines were asked for.
    asked_for: HashSet<usize>,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self::spawn(command)
    }

    /// With one or two listening sockets handed over under their names, as systemd does it.
    pub fn start_on(command: &Command, sockets: &[(&str, &TcpListener)]) -> Self {
        // They go through stdin and stdout, which a shell then moves to where they belong.
        let moves = ["exec 3<&0 </dev/null", "exec 4<&1 >/dev/null"];
        let moves = moves[..sockets.len()].join("\n");
        let script = format!("{moves}\nexport LISTEN_PID=$$\nexec \"$0\" \"$@\"");
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(script);
        shell.arg(command.get_program()).args(command.get_args());
        shell.env_clear();
        for (name, value) in command.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        shell.env("LISTEN_FDS", sockets.len().to_string());
        let names: Vec<_> = sockets.iter().map(|(name, _)| *name).collect();
        shell.env("LISTEN_FDNAMES", names.join(":"));
        let mut fds = sockets
            .iter()
            .map(|(_, socket)| Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
        shell.stdin(fds.next().unwrap_or(Stdio::null()));
        shell.stdout(fds.next().unwrap_or(Stdio::null()));
        Self::spawn(shell)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        Self {
            stderr: lines(child.stderr.take().unwrap()),
            child,
            lines: Vec::new(),
            asked_for: HashSet::new(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// The first line with this `msg` that was not asked for before, as JSON. Tasks of the router run beside each other, so
    /// it may stand before others that were.
    pub fn line(&mut self, msg: &str) -> Value {
        let end = Instant::now() + LONG;
        let mut next = 0;
        loop {
            while let Some(line) = self.lines.get(next) {
                let value = serde_json::from_str::<Value>(line).unwrap_or_default();
                let fits = value["msg"].as_str().is_some_and(|m| m.starts_with(msg));
                if fits && self.asked_for.insert(next) {
                    return value;
                }
                next += 1;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.stderr.recv_timeout(left) {
                Ok(line) => self.lines.push(line),
                Err(error) => {
                    let why = match error {
                        RecvTimeoutError::Timeout => "in time",
                        RecvTimeoutError::Disconnected => "before the end",
                    };
                    panic!("no line {msg:?} {why}; there was: {:#?}", self.lines)
                }
            }
        }
    }

    /// Where it serves gRPC, once it does.
    pub fn address(&mut self) -> String {
        let line = self.line("serving");
        line["address"].as_str().unwrap().to_owned()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it ends.
    pub fn wait(mut self) -> Ended {
        let status = ended(&mut self.child, LONG, &self.lines);
        // The pipe ends with the process.
        while let Ok(line) = self.stderr.recv_timeout(LONG) {
            self.lines.push(line);
        }
        Ended {
            status,
            lines: std::mem::take(&mut self.lines),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time used so far, by user and system, in ticks of 10 ms (proc(5)).
pub fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in parentheses, may hold anything; what follows does not.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split(' ').collect();
    fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
}

/// A size in `/proc/<pid>/status` such as `VmRSS`, bytes.
pub fn size(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.unwrap().split_ascii_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

/// A plain HTTP request and all of its answer.
pub fn get(address: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// Runs a command that ends by itself.
pub fn run(command: Command) -> Ended {
    Process::start(command).wait()
}
