//! The administrator's address of a process: drain, log filter, addresses and tokens, and `top`.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use crate::helpers::web::{aside, get, raw, send};
use crate::helpers::{
    KEY, LONG, Pair, last_words,
    process::{self, Process, run, usual},
};
use jumpstarter_router::client::{Connector, Trust};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::{Value, json};
use tonic::Code;

const ADMIN: (&str, &str) = ("listen.admin_address", "127.0.0.1:0");
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A process, and where it serves gRPC and administrators.
fn start(settings: &[(&str, &str)]) -> (Process, Connector, SocketAddr) {
    let all = [&[ADMIN], settings].concat();
    let mut process = Process::start(usual(&all));
    let line = process.line("serving");
    let connector = Connector::new(line["address"].as_str().unwrap(), Trust::Insecure).unwrap();
    let admin = line["admin"].as_str().unwrap().parse().unwrap();
    (process, connector, admin)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_goes_as_if_it_were_signalled() {
    let (mut process, connector, admin) = start(&[("drain.timeout", "30s")]);
    let mut pair = Pair::open(&connector, "paired").await;
    pair.ping_pong().await;
    for _ in 0..2 {
        let answer = aside(move || send(admin, "POST", "/api/drain", "{}")).await;
        let process = answer.header("x-router-process");
        assert_eq!(
            (answer.status, answer.json()),
            (202, json!({"phase": "draining", "process": process}))
        );
    }
    let asked = process.line("an administrator asked for the drain");
    assert!(asked["remote"].as_str().unwrap().starts_with("127.0.0.1:"));
    let line = process.line("draining for at most 30s");
    assert_eq!(line["signal"], "administrator");
    // It still shows what it waits for, and can end that.
    let status = aside(move || get(admin, "/api/status").json()).await;
    assert_eq!(
        (&status["phase"], &status["pairs"]),
        (&json!("draining"), &json!(1))
    );
    pair.ping_pong().await;
    let id = aside(move || get(admin, "/api/streams").json()).await["streams"][0]["id"].clone();
    let path = format!("/api/streams/{id}/end");
    assert_eq!(
        aside(move || send(admin, "POST", &path, "{}")).await.status,
        202
    );
    let line = process.line("an administrator ended a stream");
    assert_eq!(line["id"].to_string().trim_matches('"'), id.to_string());
    for call in [&mut pair.one, &mut pair.other] {
        let (told, code, text) = last_words(call).await;
        assert!(
            told && code == Code::Aborted && text == "ended by an administrator",
            "{code}: {text}"
        );
    }
    let record = process.line("stream ended");
    assert_eq!(
        record["id"], id,
        "the record has the number that was listed"
    );
    assert_eq!(
        (&record["reason"], &record["ended_by"]),
        (&json!("administrator"), &json!("router"))
    );
    assert_eq!(
        process.line("stream ended")["id"],
        id,
        "and so has its partner's"
    );
    drop(pair);
    let ended = aside(|| process.wait()).await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let line = |msg: &str| ended.lines.iter().position(|line| line.contains(msg));
    for (cause, effect) in [
        ("asked for the drain", "draining for at most"),
        ("an administrator ended a stream", "\"stream ended\""),
    ] {
        assert!(line(cause) < line(effect), "{cause}: {:#?}", ended.lines);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_filter_changes_while_it_runs() {
    let (mut process, connector, admin) = start(&[("log.filter", "info")]);
    let filter = || {
        aside(move || {
            get(admin, "/api/log-filter").json()["filter"]
                .as_str()
                .unwrap()
                .to_owned()
        })
    };
    assert!(filter().await.contains("info"));
    for (body, status) in [
        (r#"{"filter":"inof"}"#, 400),
        (r#"{"filter":"debug","more":1}"#, 422),
        (r#"{"filter":7}"#, 422),
        ("{}", 422),
        ("[", 400),
        ("\u{0}", 400),
    ] {
        let answer = aside(move || send(admin, "PUT", "/api/log-filter", body)).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(answer.json()["error"].is_string(), "{body}");
    }
    assert!(filter().await.contains("info"), "a bad one changes nothing");
    Pair::open(&connector, "unseen").await;
    process.line("stream ended");

    let body = r#"{"filter":"debug"}"#;
    let answer = aside(move || send(admin, "PUT", "/api/log-filter", body)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["filter"].as_str().unwrap(), filter().await);
    assert!(filter().await.contains("debug"));
    assert_eq!(
        process.line("an administrator changed the log filter")["filter"],
        "debug"
    );
    Pair::open(&connector, "seen").await;
    let line = process.line("waiting for the other side");
    assert_eq!(
        (&line["stream"], &line["level"]),
        (&json!("seen"), &json!("debug"))
    );
}

#[test]
fn the_default_address_is_this_machine_only_and_gives_way() {
    // Another router on this machine may have it just now.
    let end = Instant::now() + LONG;
    let taken = loop {
        match TcpListener::bind("127.0.0.1:8082") {
            Ok(taken) => break taken,
            Err(error) => assert!(Instant::now() < end, "port 8082: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut command = process::command();
    command
        .env("ROUTER_KEY", KEY)
        .args(["--listen", "127.0.0.1:0", "--health-address", "0"]);
    let mut process = Process::start(command);
    let line = process.line("there is no admin page or API");
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("127.0.0.1:8082"), "{line}");
    assert!(process.line("serving")["admin"].is_null());
    drop(taken);

    // One that was asked for is another matter.
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = own.local_addr().unwrap().to_string();
    let ended = run(usual(&[("listen.admin_address", &address)]));
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(
        ended.lines.last().unwrap().contains("listen.admin_address"),
        "{ended:?}"
    );
}

#[test]
fn beyond_this_machine_it_needs_a_token() {
    for address in [":0", "0.0.0.0:0", "10.0.0.1:8082", "[2001:db8::1]:8082"] {
        let ended = run(usual(&[("listen.admin_address", address)]));
        assert_eq!(ended.code(), Some(78), "{address}: {ended:?}");
        assert!(ended.lines[0].contains("admin.token_file"), "{ended:?}");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let file = file.to_str().unwrap();
    let (_process, _, admin) = start(&[("listen.admin_address", ":0"), ("admin.token_file", file)]);
    let admin = SocketAddr::from(([127, 0, 0, 1], admin.port()));
    assert_eq!(get(admin, "/api/status").status, 401);
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Host", "router.example.com"), ("Authorization", &*bearer)];
    assert_eq!(raw(admin, "GET /api/status", &headers, "").status, 200);

    let top = top(admin, &["--once", "--token-file", file], &[]);
    assert!(top.status.success(), "{top:?}");
    let top = self::top(
        admin,
        &["--once"],
        &[("JUMPSTARTER_ROUTER_ADMIN_TOKEN", TOKEN)],
    );
    assert!(top.status.success(), "{top:?}");
    let top = self::top(admin, &["--once"], &[]);
    assert_eq!(top.status.code(), Some(1));
    let error = String::from_utf8(top.stderr).unwrap();
    assert!(
        error.contains("401") && error.contains("admin.token"),
        "{error}"
    );
}

fn top(admin: SocketAddr, args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jumpstarter-router"))
        .env_clear()
        .envs(env.iter().copied())
        .args(["top", "--admin", &format!("http://{admin}")])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn top_prints_a_table_or_json() {
    let (process, connector, admin) = start(&[]);
    let mut pair = Pair::open(&connector, "\u{1b}[31mred\n").await;
    pair.ping_pong().await;
    let table = aside(move || top(admin, &["--once"], &[])).await;
    assert!(table.status.success(), "{table:?}");
    let table = String::from_utf8(table.stdout).unwrap();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(
        lines[0].contains("ready, up ") && lines[0].contains("1 pairs, 0 waiting"),
        "{table}"
    );
    assert!(lines[1].trim_start().starts_with("ID  STATE"), "{table}");
    assert!(
        lines[2].contains("paired") && lines[2].contains("127.0.0.1"),
        "{table}"
    );
    assert!(lines[2].ends_with("\\u001b[31mred\\n"), "{table}");

    // The output is no terminal here, which has the same effect.
    let piped = aside(move || top(admin, &["--filter", "nobody"], &[])).await;
    assert_eq!(String::from_utf8(piped.stdout).unwrap().lines().count(), 2);

    let text = aside(move || top(admin, &["--once", "--json", "--sort", "age"], &[])).await;
    let seen: Value = serde_json::from_slice(&text.stdout).unwrap();
    assert_eq!(seen["status"]["pairs"], 1);
    assert_eq!(seen["streams"]["streams"][0]["subject"], "\u{1b}[31mred\n");
    assert_eq!(seen["streams"]["streams"][0]["peers"][1]["messages_in"], 1);

    drop(pair);
    drop(process);
    let gone = aside(move || top(admin, &["--once"], &[])).await;
    assert_eq!(gone.status.code(), Some(1));
    let error = String::from_utf8(gone.stderr).unwrap();
    assert!(error.contains("is the router running"), "{error}");
}

/// `top` in a terminal of its own: it takes the screen, obeys its keys, and gives the screen back.
#[tokio::test(flavor = "multi_thread")]
async fn top_fills_a_terminal_until_it_is_left() {
    let (_process, connector, admin) = start(&[]);
    let _pair = Pair::open(&connector, "on the screen").await;
    aside(move || {
        let mut terminal = Terminal::run(admin);
        terminal.until("on the screen");
        terminal.until("s sort: rate   r direction: down");
        terminal.press("s");
        terminal.until("s sort: held");
        terminal.press("r");
        terminal.until("r direction: up");
        terminal.press("q");
        // The cursor is back, and so is what stood there before.
        terminal.until("\u{1b}[?25h\u{1b}[?1049l");
        assert!(terminal.wait().success());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn top_goes_on_when_the_router_is_gone_and_says_so() {
    let (process, _connector, admin) = start(&[]);
    aside(move || {
        let mut terminal = Terminal::run(admin);
        terminal.until("0 pairs, 0 waiting");
        drop(process);
        terminal.until("not up to date: ");
        // Control and C, which is no signal while the terminal is raw.
        terminal.press("\u{3}");
        terminal.until("\u{1b}[?1049l");
        assert!(terminal.wait().success());
    })
    .await;
}

/// The program's end is `slave`; what it writes is read in a thread, since reading has no deadline.
struct Terminal {
    child: Child,
    keys: File,
    output: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Terminal {
    fn run(admin: SocketAddr) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let size = Winsize {
            ws_row: 30,
            ws_col: 160,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        let slave = || {
            File::options()
                .read(true)
                .write(true)
                .open(name.to_str().unwrap())
                .unwrap()
        };
        let child = Command::new(env!("CARGO_BIN_EXE_jumpstarter-router"))
            .env_clear()
            .env("TERM", "xterm-256color")
            .args([
                "top",
                "--interval",
                "50ms",
                "--admin",
                &format!("http://{admin}"),
            ])
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .unwrap();
        let keys = File::from(master);
        let mut reader = keys.try_clone().unwrap();
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            // Ends with an error once the program has closed its end.
            while let Ok(count @ 1..) = reader.read(&mut part) {
                if send.send(part[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            keys,
            output,
            seen: Vec::new(),
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for this text, and forgets all up to its end.
    fn until(&mut self, text: &str) {
        loop {
            let found = self
                .seen
                .windows(text.len())
                .position(|part| part == text.as_bytes());
            if let Some(at) = found {
                self.seen.drain(..at + text.len());
                return;
            }
            match self.output.recv_timeout(LONG) {
                Ok(part) => self.seen.extend(part),
                Err(error) => {
                    let seen = String::from_utf8_lossy(&self.seen);
                    panic!("no {text:?}: {error}; there was {seen:?}")
                }
            }
        }
    }

    fn wait(mut self) -> ExitStatus {
        let end = Instant::now() + LONG;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "top is still running");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
