//! Programs that run in a terminal of their own.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt as _},
    process::{Child, Command, ExitStatus},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::OFlags,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use super::{LONG, process};

/// What it writes is read in a thread, since reading has no deadline. Killed when the test is over.
pub struct Terminal {
    child: Child,
    keys: File,
    /// The program's end, which stays open whatever the program does.
    inner: File,
    output: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Terminal {
    /// Runs a command whose standard input, output and error are this terminal.
    pub fn run(command: Command) -> Self {
        let (terminal, output) = Self::unread(command);
        let mut reader = terminal.keys.try_clone().unwrap();
        thread::spawn(move || {
            let mut part = [0; 4096];
            // Ends with an error once the program has closed its end.
            while let Ok(count @ 1..) = reader.read(&mut part) {
                if output.send(part[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        terminal
    }

    /// As [`Terminal::run`], but nobody takes what the command writes.
    pub fn unread(mut command: Command) -> (Self, Sender<Vec<u8>>) {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        set_size(&master, 160, 30);
        // It must not become the test's own, which ends when it is closed, if the test leads a session.
        let inner = File::options()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(name.to_str().unwrap())
            .unwrap();
        let child = command
            .stdin(inner.try_clone().unwrap())
            .stdout(inner.try_clone().unwrap())
            .stderr(inner.try_clone().unwrap())
            .spawn()
            .unwrap();
        let keys = File::from(master);
        let (send, output) = channel();
        let terminal = Self {
            child,
            keys,
            inner,
            output,
            seen: Vec::new(),
        };
        (terminal, send)
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for this text, and gives all that came before it.
    pub fn until(&mut self, text: &str) -> String {
        // A screen is drawn again and again, so there is always more to read.
        let end = Instant::now() + LONG;
        let mut looked_at = 0;
        loop {
            let found = self.seen[looked_at..]
                .windows(text.len())
                .position(|part| part == text.as_bytes());
            if let Some(at) = found.map(|at| looked_at + at) {
                let before = self.seen.drain(..at + text.len()).collect::<Vec<_>>();
                return String::from_utf8_lossy(&before[..at]).into_owned();
            }
            looked_at = self.seen.len().saturating_sub(text.len());
            let left = end.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(part) => self.seen.extend(part),
                Err(error) => {
                    let seen = String::from_utf8_lossy(&self.seen);
                    panic!("no {text:?}: {error}; there was {seen:?}")
                }
            }
        }
    }

    /// Whether lines are edited and echoed, as a shell leaves a terminal.
    pub fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.inner).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        set_size(
            &OwnedFd::from(self.keys.try_clone().unwrap()),
            columns,
            rows,
        );
        self.signal("WINCH");
    }

    pub fn signal(&self, name: &str) {
        process::signal(self.child.id(), name);
    }

    /// Waits until its process is in this state, as proc(5) names it.
    pub fn is_in_state(&self, state: &str) {
        let end = Instant::now() + LONG;
        let path = format!("/proc/{}/stat", self.child.id());
        let is_there = || {
            let stat = std::fs::read_to_string(&path).unwrap();
            stat.rsplit(") ").next().unwrap().starts_with(state)
        };
        while !is_there() {
            assert!(Instant::now() < end, "not in the state {state}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn wait(mut self) -> ExitStatus {
        process::ended(&mut self.child, LONG, &"on its terminal")
    }
}

fn set_size(terminal: &OwnedFd, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
