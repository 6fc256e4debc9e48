//! `top` in a terminal of its own: it takes the screen, obeys keys, and gives the screen back whatever happens.

use std::{
    net::SocketAddr,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::Command,
    thread,
    time::Duration,
};

use jumpstarter_router::{
    client::{Connector, Trust},
    inside::cli::top::Screen,
};

use crate::helpers::{
    Pair,
    process::{self, Process, usual},
    terminal::Terminal,
    web::aside,
};

/// The cursor is there again, and so is what stood on the screen before.
const LEFT: &str = "\u{1b}[?25h\u{1b}[?1049l";
const TAKEN: &str = "\u{1b}[?1049h";

const UP: &str = "\u{1b}[A";
const DOWN: &str = "\u{1b}[B";

fn router(settings: &[(&str, &str)]) -> (Process, Connector, SocketAddr) {
    let all = [&[("listen.admin_address", "127.0.0.1:0")], settings].concat();
    let mut process = Process::start(usual(&all));
    let line = process.line("serving");
    let connector = Connector::new(line["address"].as_str().unwrap(), Trust::Insecure).unwrap();
    (
        process,
        connector,
        line["admin"].as_str().unwrap().parse().unwrap(),
    )
}

fn command(admin: SocketAddr, more: &[&str]) -> Command {
    let mut command = process::command();
    command
        .env("TERM", "xterm-256color")
        .args(["top", "--interval", "50ms", "--admin", &admin.to_string()])
        .args(more)
        // As a shell starts it: in a group of its own, which the shell can stop and continue.
        .process_group(0);
    command
}

fn top(admin: SocketAddr) -> Terminal {
    Terminal::run(command(admin, &[]))
}

#[tokio::test(flavor = "multi_thread")]
async fn top_fills_a_terminal_until_it_is_left() {
    let (_process, connector, admin) = router(&[]);
    let _pair = Pair::open(&connector, "on the screen").await;
    aside(move || {
        let mut terminal = top(admin);
        terminal.until("on the screen");
        assert!(!terminal.is_cooked());
        terminal.until("sort: rate");
        terminal.until("direction: down");
        terminal.press("s");
        terminal.until("sort: held");
        terminal.press("r");
        terminal.until("direction: up");
        terminal.resize(60, 10);
        terminal.until("\u{1b}[10;1H");
        // A serial line does not know its size.
        terminal.resize(0, 0);
        terminal.until("\u{1b}[24;1H");
        terminal.press("q");
        terminal.until(LEFT);
        terminal.is_in_state("Z");
        assert!(terminal.is_cooked());
        assert!(terminal.wait().success());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn top_ends_a_stream_after_a_question_and_shows_it_in_the_past() {
    let (_process, connector, admin) = router(&[]);
    let _pair = Pair::open(&connector, "to be ended").await;
    aside(move || {
        let mut terminal = top(admin);
        terminal.until("to be ended");
        terminal.press("e");
        terminal.until("choose a stream");
        terminal.press(DOWN);
        terminal.press(UP);
        terminal.press("k");
        terminal.until("End stream ");
        // Either of the two may have come first.
        let id = terminal.until(" (to be ended)? y/n");
        terminal.press("n");
        terminal.until("nothing was done");
        terminal.press("ey");
        terminal.until(&format!("stream {id} ends: its peers are being told"));
        terminal.press("p/ADMINI");
        terminal.until("1 of 1 ended or refused with \"ADMINI\"");
        terminal.press("\r");
        terminal.press(DOWN);
        terminal.press("\r");
        terminal.until("ABORTED: ended by an administrator");
        // Control and C, which is no signal while the terminal is raw.
        terminal.press("\u{3}");
        terminal.until(LEFT);
        assert!(terminal.wait().success());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn top_goes_on_when_the_router_is_gone_and_says_so() {
    let (process, _connector, admin) = router(&[]);
    aside(move || {
        let mut terminal = top(admin);
        terminal.until("0 pairs, 0 waiting");
        drop(process);
        terminal.until("NOT UP TO DATE for ");
        // Another one takes its place.
        let address = admin.to_string();
        let _process = Process::start(usual(&[("listen.admin_address", &address)]));
        terminal.until("does not answer any more; router ");
        terminal.press("q");
        terminal.until(LEFT);
        assert!(terminal.wait().success());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_signal_that_ends_it_finds_the_terminal_as_it_was() {
    let (_process, _connector, admin) = router(&[]);
    aside(move || {
        for (name, number) in [
            ("HUP", 1),
            ("INT", 2),
            ("QUIT", 3),
            ("USR1", 10),
            ("TERM", 15),
        ] {
            let mut terminal = top(admin);
            terminal.until("0 pairs, 0 waiting");
            terminal.signal(name);
            terminal.until(LEFT);
            terminal.is_in_state("Z");
            assert!(terminal.is_cooked(), "SIG{name}");
            // Whoever waits for it is told the truth.
            assert_eq!(terminal.wait().signal(), Some(number));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_though_its_terminal_takes_nothing() {
    let (_process, _connector, admin) = router(&[]);
    aside(move || {
        let (mut terminal, _unread) = Terminal::unread(command(admin, &[]));
        // Each draws the whole screen, more in all than a terminal keeps.
        for rows in (100..140).cycle().take(200) {
            terminal.resize(300, rows);
            thread::sleep(Duration::from_millis(10));
        }
        terminal.signal("TERM");
        thread::sleep(Duration::from_millis(500));
        assert!(terminal.is_running(), "its terminal has taken everything");
        terminal.signal("TERM");
        assert_eq!(terminal.wait().signal(), Some(15));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_is_the_shells_while_it_is_stopped() {
    let (_process, _connector, admin) = router(&[]);
    aside(move || {
        let mut terminal = top(admin);
        for stop in ["\u{1a}", "TSTP"] {
            terminal.until("0 pairs, 0 waiting");
            match stop {
                "TSTP" => terminal.signal(stop),
                key => terminal.press(key),
            }
            terminal.until(LEFT);
            terminal.is_in_state("T");
            assert!(terminal.is_cooked(), "{stop:?}");
            terminal.signal("CONT");
            terminal.until(TAKEN);
        }
        terminal.until("0 pairs, 0 waiting");
        assert!(!terminal.is_cooked());
        // Nothing could be done about this one before it came.
        terminal.signal("STOP");
        terminal.is_in_state("T");
        terminal.signal("CONT");
        terminal.until(TAKEN);
        terminal.press("q");
        terminal.until(LEFT);
        assert!(terminal.wait().success());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stopped_can_be_ended() {
    let (_process, _connector, admin) = router(&[]);
    aside(move || {
        let mut terminal = top(admin);
        terminal.until("0 pairs, 0 waiting");
        terminal.press("\u{1a}");
        terminal.until(LEFT);
        terminal.is_in_state("T");
        // As `kill %1` does.
        terminal.signal("TERM");
        terminal.signal("CONT");
        terminal.is_in_state("Z");
        assert!(terminal.is_cooked());
        assert_eq!(terminal.wait().signal(), Some(15));
    })
    .await;
}

/// Runs `top` by way of another program, and presses Ctrl-Z.
async fn does_not_stop(by: &[&str]) {
    let (_process, _connector, admin) = router(&[]);
    let program = command(admin, &[]);
    let mut command = Command::new(by[0]);
    command.env_clear().env("TERM", "xterm-256color");
    command.args(&by[1..]);
    command.arg(program.get_program()).args(program.get_args());
    aside(move || {
        let mut terminal = Terminal::run(command);
        terminal.until("0 pairs, 0 waiting");
        terminal.press("\u{1a}");
        terminal.until("there is no shell here");
        terminal.press("q");
        terminal.until(LEFT);
        assert!(terminal.wait().success());
    })
    .await;
}

/// As in a container: a shell that could continue it is not there.
#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_could_continue_it_it_does_not_stop() {
    does_not_stop(&["setsid"]).await;
}

/// As after `nsenter`, and where a container's engine begins no session: the session is outside the PID namespace.
#[tokio::test(flavor = "multi_thread")]
async fn where_its_session_cannot_be_seen_it_does_not_stop() {
    const INSIDE: [&str; 6] = [
        "unshare",
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
    ];
    let permitted = Command::new(INSIDE[0])
        .args(&INSIDE[1..])
        .arg("true")
        .output();
    if !permitted.is_ok_and(|output| output.status.success()) {
        eprintln!("not run: this system permits no PID namespace");
        return;
    }
    does_not_stop(&INSIDE).await;
}

const PANICS: &str = "JUMPSTARTER_ROUTER_TEST_PANICS";

#[test]
fn a_panic_gives_the_terminal_back_before_it_says_anything() {
    if std::env::var_os(PANICS).is_some() {
        let _screen = Screen::take(true).unwrap();
        panic!("on purpose");
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = "top::a_panic_gives_the_terminal_back_before_it_says_anything";
    command.args([name, "--exact", "--nocapture"]);
    let mut terminal = Terminal::run({
        command.env(PANICS, "1");
        command
    });
    terminal.until(TAKEN);
    terminal.until(LEFT);
    terminal.until("on purpose");
    terminal.is_in_state("Z");
    assert!(terminal.is_cooked());
    assert!(!terminal.wait().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_color_is_honoured_and_foreign_text_never_reaches_the_terminal_as_it_is() {
    const COLOUR: &str = "\u{1b}[38;5;";
    let (_process, connector, admin) = router(&[]);
    let _pair = Pair::open(&connector, "\u{1b}]0;title\u{7}\u{9b}31m").await;
    aside(move || {
        for (no_color, has_colour) in [("", true), ("1", false)] {
            let mut command = command(admin, &[]);
            let mut terminal = Terminal::run({
                command.env("NO_COLOR", no_color);
                command
            });
            let before = terminal.until("\\u001b]0;title\\u0007\\u009b31m");
            assert!(!before.contains("title"), "{before:?}");
            // The answer is a notice, which has a colour.
            terminal.press("e");
            let drawn = terminal.until("choose a stream");
            assert_eq!(drawn.contains(COLOUR), has_colour, "{drawn:?}");
        }
    })
    .await;
}
