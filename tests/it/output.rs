//! What becomes of commands whose output nobody takes, and what they say of themselves.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::helpers::{
    KEY, LONG,
    ends::{banner, echo, forward, router, session},
    free_port,
    output::{broken, full, no_room, terminal},
    process::{self, Process, usual},
    program::{Program, program, run},
};

/// A process that is killed when the test is over.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn code(&mut self) -> Option<i32> {
        process::ended(&mut self.0, LONG, &"nothing that can be read").code()
    }

    fn is_up(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn through(router: &str, words: &[&str], stderr: Stdio) -> Command {
    let mut command = program(words, true);
    command
        .args(["--router", router, "--insecure"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr);
    command
}

/// Connects as soon as somebody listens.
fn reached(port: u16) -> TcpStream {
    let end = Instant::now() + LONG;
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(socket) => return socket,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Both ends, with these as standard error, carry three sessions.
fn forwards(router: &str, subject: &str, stderrs: [Stdio; 2]) {
    let port = free_port();
    let (service, at) = (echo(), port.to_string());
    let [one, other] = stderrs;
    let words = ["forward", "--subject", subject];
    let far = [&words[..], &["--to", &service]].concat();
    let near = [&words[..], &["--listen", &at]].concat();
    let mut far = Running::start(through(router, &far, one));
    let mut near = Running::start(through(router, &near, other));
    drop(reached(port));
    for seed in 0..3 {
        session(&format!("127.0.0.1:{port}"), seed, 3);
    }
    assert!(far.is_up() && near.is_up());
    process::signal(near.0.id(), "TERM");
    assert_eq!(near.code(), Some(0));
}

#[test]
fn forward_outlives_its_standard_error() {
    let (_router, router) = router(&[]);
    forwards(&router, "broken", [broken(), broken()]);
    let ((one, _one), (other, _other)) = (full(), full());
    forwards(&router, "full", [one, other]);
    forwards(&router, "no room", [no_room(), no_room()]);
}

#[test]
fn pipe_outlives_its_standard_error() {
    let (_router, router) = router(&[]);
    let (one, _one) = full();
    for (name, stderr) in [("broken", broken()), ("full", one), ("no room", no_room())] {
        let words = ["pipe", "-v", "--subject", name];
        let mut child = Running::start(through(&router, &words, stderr));
        let mut other = Program::start(through(&router, &words, Stdio::piped()));
        child
            .0
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"hello\n")
            .unwrap();
        assert_eq!(other.read_line(), "hello\n", "{name}");
        drop(child.0.stdin.take());
        other.finish().ended(0, &[]);
        assert_eq!(child.code(), Some(0), "{name}");
    }
}

#[test]
fn what_serves_and_measures_outlives_its_standard_error() {
    for stderr in [broken(), no_room()] {
        let port = free_port();
        let mut serve = usual(&[("listen.address", &format!("127.0.0.1:{port}"))]);
        serve.stderr(stderr).stdout(Stdio::null());
        let mut serve = Running::start(serve);
        drop(reached(port));
        let at = port.to_string();
        for stderr in [broken(), no_room()] {
            let words = ["load", "--messages", "100", "--warmup", "0s"];
            let mut load = Running::start(through(&at, &words, stderr));
            assert_eq!(load.code(), Some(0));
        }
        assert!(serve.is_up());
    }
}

#[test]
fn the_lab_outlives_its_outputs() {
    let (stderr, _reader) = full();
    for (stdout, stderr) in [(broken(), broken()), (no_room(), stderr)] {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut lab = program(
            &["lab", directory.path().to_str().unwrap(), "--no-run"],
            false,
        );
        lab.args([
            "--set",
            "listen.admin_address=0",
            "--set",
            "listen.health_address=0",
        ]);
        lab.args(["--listen", &port.to_string()]);
        let mut lab = Running::start({
            lab.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
            lab
        });
        drop(reached(port));
        thread::sleep(Duration::from_millis(200));
        assert!(lab.is_up());
    }
}

fn with_stdout(args: &[&str], stdout: Stdio) -> Output {
    let mut command = program(args, true);
    command
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let (_router, at) = router(&[]);
    let minted = run(program(&["token", "mint"], true), b"").text();
    let load = [
        "load",
        "--insecure",
        "--messages",
        "10",
        "--warmup",
        "0s",
        "--router",
        &at,
    ];
    let commands: [&[&str]; 12] = [
        &["--help"],
        &["--version"],
        &["help", "forward"],
        &["forward", "--help"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["man"],
        &["check", "--example"],
        &["check", "--set", "connections.max=100"],
        &["token", "mint"],
        &["token", "inspect", minted.trim()],
        &[
            "probe",
            "--insecure",
            "--count",
            "2",
            "--interval",
            "10ms",
            "--router",
            &at,
        ],
    ];
    let json = [&load[..], &["--json", "-"]].concat();
    for args in commands.into_iter().chain([&load[..], &json]) {
        let output = with_stdout(args, broken());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
        assert!(
            !said.contains("panicked") && !said.contains("error:"),
            "{args:?}: {said}"
        );
    }
    // Where there is no room, what was asked for is not there.
    for args in [&["man"][..], &["token", "mint"], &load] {
        let output = with_stdout(args, no_room());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains("cannot write to standard output"), "{said}");
    }
}

#[test]
fn problems_make_the_exit_code_whoever_reads_them() {
    let mut check = program(&["check", "--set", "pairing.timeout=1"], true);
    check.stdout(Stdio::null()).stderr(broken());
    assert_eq!(Running::start(check).code(), Some(78));
}

#[test]
fn streams_are_ended_whoever_reads_that() {
    let mut router = Process::start(usual(&[("listen.admin_address", "127.0.0.1:0")]));
    let line = router.line("serving");
    let admin = line["admin"].as_str().unwrap();
    let port = admin.rsplit(':').next().unwrap();
    for args in [
        &["streams", "list", "--admin", port][..],
        &["top", "--once", "--admin", port],
        &["streams", "drain", "--wait", "--admin", port],
    ] {
        let output = with_stdout(args, broken());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    }
    assert_eq!(router.wait().code(), Some(0));
}

#[test]
fn what_nobody_reads_ends_a_pipe_with_its_own_code() {
    let (_router, at) = router(&[]);
    let words = ["pipe", "--subject", "cut", "--receive-only"];
    let mut receiver = through(&at, &words, Stdio::piped());
    receiver.stdout(broken());
    let mut receiver = Running::start(receiver);
    let words = ["pipe", "--subject", "cut", "--send-only"];
    let mut sender = Program::start(through(&at, &words, Stdio::piped()));
    sender.write(b"more than nobody wants\n");
    assert_eq!(receiver.code(), Some(141));
    let mut said = String::new();
    receiver
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "");
    sender.finish().ended(1, &["cancelled"]);
}

#[test]
fn a_pipe_that_is_told_to_end_says_by_which_signal() {
    let (_router, at) = router(&[]);
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let words = ["pipe", "--subject", signal];
        let mut one = Program::start(through(&at, &words, Stdio::piped()));
        let mut other = Program::start(through(&at, &words, Stdio::piped()));
        one.write(b"hello\n");
        assert_eq!(other.read_line(), "hello\n");
        other.signal(signal);
        other.wait().ended(code, &[]);
        one.wait().ended(1, &["cancelled"]);
    }
}

/// All that was shown on a terminal that nobody writes to any more.
fn shown(mut screen: File) -> String {
    let mut bytes = Vec::new();
    // The end of a terminal is an error.
    let _ = screen.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn what_was_carried_is_said_on_a_terminal() {
    let (_router, at) = router(&[]);
    let (stderr, watched) = terminal();
    let words = ["pipe", "--subject", "metered", "--receive-only"];
    let mut receiver = Running::start(through(&at, &words, stderr));
    let mut output = receiver.0.stdout.take().unwrap();
    let received = thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    thread::sleep(Duration::from_millis(2500));

    let (stderr, screen) = terminal();
    let (stdout, _also) = terminal();
    let words = ["pipe", "--subject", "metered", "--send-only"];
    let mut sender = through(&at, &words, stderr);
    // What comes from the other side is not shown, so that it is a terminal is no obstacle.
    sender.stdout(stdout);
    let mut sender = Running::start(sender);
    let mut input = sender.0.stdin.take().unwrap();
    for _ in 0..6 {
        input.write_all(&vec![7; 50_000]).unwrap();
        thread::sleep(Duration::from_millis(500));
    }
    drop(input);
    assert_eq!((sender.code(), receiver.code()), (Some(0), Some(0)));
    assert_eq!(received.join().unwrap(), 300_000);
    for (shown, last) in [
        (shown(screen), "300 kB sent in "),
        (shown(watched), "300 kB received in "),
    ] {
        assert_eq!(shown.matches("connected").count(), 1, "{shown:?}");
        assert!(
            shown.contains("kB/s, "),
            "it says so each second: {shown:?}"
        );
        let stays = shown.trim_end().rsplit("\x1b[K").next().unwrap();
        assert!(
            stays.starts_with(last) && stays.ends_with("/s on average"),
            "{shown:?}"
        );
    }
}

#[test]
fn verbose_says_what_is_done_and_quiet_nothing() {
    let (_router, at) = router(&[]);
    let token = run(
        program(&["token", "mint", "--subject", "board 7"], true),
        b"",
    )
    .text();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, token).unwrap();
    let probe = |more: &[&str]| {
        let first = ["probe", "--insecure", "--router", &at, "--token-file"];
        let args = [&first[..], &[file.to_str().unwrap()], more].concat();
        let done = run(program(&args, false), b"");
        done.ended(0, &[]);
        done.stderr
    };
    let said = probe(&["-v"]);
    for part in [
        &*at,
        "TLSv1_3",
        "issuer",
        "board 7",
        "expires",
        "stream answered",
        "stream ended",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(!said.contains("eyJ"), "the token itself stays hidden");
    assert!(probe(&["-vv"]).len() > said.len());
    assert_eq!(probe(&[]), "");

    let mut far = forward(&at, "quiet", &["--to", &echo(), "-q"]);
    let (port, listen) = (free_port(), |port: u16| port.to_string());
    let mut near = forward(&at, "quiet", &["--listen", &listen(port), "--quiet"]);
    banner(&mut reached(port));
    assert_eq!((near.said(), far.said()), ("", ""));
}

#[test]
fn secrets_on_a_command_line_are_warned_of() {
    let (_router, at) = router(&[]);
    let token = run(program(&["token", "mint"], true), b"").text();
    let token = token.trim();
    let probe = ["probe", "--insecure", "--router", &at];
    let load = [
        "load",
        "--insecure",
        "--messages",
        "10",
        "--warmup",
        "0s",
        "--router",
        &at,
    ];
    let set = ["check", "--set", "connections.max=100", "--set"];
    let secret = format!("auth.key={KEY}");
    for (first, secret, option) in [
        (&probe[..], &["--token", token][..], "--token: "),
        (&load, &["--key", KEY], "--key: "),
        (&set, &[&secret], "--set auth.key: "),
        (&["token", "inspect"], &[token], "TOKEN: "),
        // Which ends because nobody can make a directory there.
        (
            &["lab", "/proc/lab", "--set"],
            &[&secret],
            "--set auth.key: ",
        ),
    ] {
        let done = run(program(&[first, secret].concat(), true), b"");
        let warning = format!("warning: {option}all users of this machine can see");
        let code = i32::from(first[0] == "lab");
        done.ended(code, &[&warning, "better use"]);
        assert!(
            !done.stderr.contains(KEY) && !done.stderr.contains(token),
            "{}",
            done.stderr
        );
    }
    // A file is no secret, and neither is a variable.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, KEY).unwrap();
    let file = file.to_str().unwrap();
    for first in [&probe[..], &load, &["token", "mint"]] {
        let done = run(
            program(&[first, &["--key-file", file]].concat(), false),
            b"",
        );
        done.ended(0, &[]);
        assert_eq!(done.stderr, "", "{first:?}");
    }
    let done = run(
        program(
            &[
                "check",
                "--set",
                "pairing.timeout=60s",
                "--set",
                "connections.max=100",
            ],
            true,
        ),
        b"",
    );
    assert_eq!(done.stderr, "");
}
