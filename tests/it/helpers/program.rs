//! Commands of the program that read standard input, write standard output, and end by themselves.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::Receiver,
    thread::{self, JoinHandle},
    time::Instant,
};

use super::{KEY, LONG, process};

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Done {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Ended with this code, and said each of these on standard error.
    pub fn ended(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} in {:?}", self.stderr);
        }
    }
}

/// A command that runs. It is killed when the test is over.
pub struct Program {
    child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<BufReader<ChildStdout>>,
    stderr: Receiver<String>,
    said: String,
}

/// The program with these arguments, and the router's key in its environment if `key`.
pub fn program<A: AsRef<OsStr>>(args: &[A], key: bool) -> Command {
    let mut command = process::command();
    if key {
        command.env("ROUTER_KEY", KEY);
    }
    command.args(args);
    command
}

impl Program {
    pub fn start(mut command: Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().map(BufReader::new),
            stderr: process::lines(child.stderr.take().unwrap()),
            child,
            said: String::new(),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    /// The end of its standard input.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// Waits for a line of its standard output.
    pub fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    /// Waits until it has said something with this in it on standard error, and gives that line.
    pub fn says(&mut self, part: &str) -> String {
        if let Some(line) = self.said.lines().find(|line| line.contains(part)) {
            return line.to_owned();
        }
        let end = Instant::now() + LONG;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.stderr.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no {part:?} in {:?}", self.said));
            self.said.push_str(&line);
            self.said.push('\n');
            if line.contains(part) {
                return line;
            }
        }
    }

    /// What it has said on standard error so far.
    pub fn said(&mut self) -> &str {
        for line in self.stderr.try_iter() {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        &self.said
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        process::signal(self.pid(), name);
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Closes its input, and waits until it ends.
    pub fn finish(mut self) -> Done {
        self.close();
        self.wait()
    }

    /// Waits until it ends.
    pub fn wait(mut self) -> Done {
        let reader: Option<JoinHandle<Vec<u8>>> = self.stdout.take().map(|mut stdout| {
            thread::spawn(move || {
                let mut all = Vec::new();
                let _ = stdout.read_to_end(&mut all);
                all
            })
        });
        let status = process::ended(&mut self.child, LONG * 4, &self.said);
        while let Ok(line) = self.stderr.recv_timeout(LONG) {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        Done {
            code: status.code(),
            stdout: reader
                .map(|reader| reader.join().unwrap())
                .unwrap_or_default(),
            stderr: std::mem::take(&mut self.said),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command with this on its standard input.
pub fn run(command: Command, input: &[u8]) -> Done {
    let mut program = Program::start(command);
    // A command that does not read its input may be gone.
    let _ = program.stdin.as_mut().unwrap().write_all(input);
    program.finish()
}
