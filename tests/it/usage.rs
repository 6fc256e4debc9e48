//! How addresses are written, and what somebody is told who has mistyped something.

use std::process::Stdio;

use crate::helpers::{
    ends::router,
    free_port,
    output::terminal,
    process::{Process, usual},
    program::{Program, program, run},
};

#[test]
fn a_port_alone_is_one_of_this_machine() {
    let (_router, at) = router(&[]);
    let port = at.rsplit(':').next().unwrap();
    for at in [port, &format!(":{port}"), &format!("localhost:{port}"), &at] {
        let probe = ["probe", "--insecure", "--router", at];
        run(program(&probe, true), b"").ended(0, &[]);
        let load = [
            "load",
            "--insecure",
            "--messages",
            "2",
            "--warmup",
            "0s",
            "--router",
            at,
        ];
        let second = [&load[..], &["--second-router", at]].concat();
        run(program(&second, true), b"").ended(0, &[]);
    }
    for at in ["0", ":0", "localhost:0", "127.0.0.1:0"] {
        let args = [
            "forward",
            "--insecure",
            "--router",
            port,
            "--subject",
            at,
            "--listen",
            at,
        ];
        Program::start(program(&args, true)).says("listening on 127.0.0.1:");
    }
}

#[test]
fn the_router_itself_reads_them_likewise() {
    let [main, health, admin] =
        [free_port(), free_port(), free_port()].map(|port| port.to_string());
    let mut router = Process::start(usual(&[
        ("listen.address", &format!("localhost:{main}")),
        ("listen.health_address", &health),
        ("listen.admin_address", &format!("localhost:{admin}")),
    ]));
    let line = router.line("serving");
    assert_eq!(line["address"], format!("127.0.0.1:{main}"));
    assert_eq!(line["health"], format!("[::]:{health}"));
    for (command, option, port) in [
        ("health", "--address", &health),
        ("streams list", "--admin", &admin),
    ] {
        for at in [
            port.clone(),
            format!(":{port}"),
            format!("localhost:{port}"),
        ] {
            let args: Vec<_> = command.split(' ').chain([option, &at]).collect();
            run(program(&args, false), b"").ended(0, &[]);
        }
    }
}

#[test]
fn a_wrong_address_is_answered_with_the_forms_there_are() {
    let forward = ["forward", "--subject", "x", "--router"];
    for args in [
        &["probe", "--router", "nowhere"][..],
        &["probe", "--router", "https://r.example.com:443"],
        &[&forward[..], &["1", "--listen", "host"]].concat(),
        &[&forward[..], &["1", "--to", "host:http"]].concat(),
        &[&forward[..], &["::1:22", "--to", "22"]].concat(),
        &["load", "--router", "1", "--second-router", "nowhere"],
        &["health", "--address", "nowhere"],
        &["lab", "--listen", "nowhere"],
    ] {
        let done = run(program(args, true), b"");
        done.ended(
            2,
            &["expected a port (2222 or :2222", "host:port", "error: "],
        );
    }
}

#[test]
fn who_has_mistyped_is_told_what_was_meant() {
    for (args, told) in [
        (&["prob"][..], "'probe'"),
        (&["forwad", "--to", "22"], "'forward'"),
        (&["token", "mnit"], "'mint'"),
        (&["forward", "--routr", "x"], "'--router"),
        (
            &["load", "--router", "1", "--workload", "pingpng"],
            "'pingpong'",
        ),
        (&["--log-format", "jsn"], "'json'"),
        (&["probe"], "--router <HOST:PORT>"),
        (&["probe", "--router", "1", "--count", "-1"], "-1 is not in"),
        (
            &["forward", "--router", "1", "--subject", "x"],
            "<--listen <ADDRESS>|--to <ADDRESS>>",
        ),
        (&["man", "forwrd"], "there is no command `forwrd`"),
        (&["token"], "mint"),
        (&["streams"], "drain"),
    ] {
        let done = run(program(args, false), b"");
        done.ended(2, &[told]);
    }
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let check = |no_color: Option<&str>, force: Option<&str>, stderr: Stdio| {
        let mut check = program(&["check", "--set", "pairing.timeout=1"], true);
        for (name, value) in [
            ("NO_COLOR", no_color),
            ("CLICOLOR_FORCE", force),
            ("TERM", Some("xterm")),
        ] {
            value.map(|value| check.env(name, value));
        }
        check.stdout(Stdio::null()).stderr(stderr);
        check.spawn().unwrap()
    };
    let coloured = "\x1b[1m\x1b[31merror:";
    let shown = |no_color, force| {
        let (stderr, mut screen) = terminal();
        let mut child = check(no_color, force, stderr);
        assert_eq!(child.wait().unwrap().code(), Some(78));
        // The end of a terminal that nobody writes to any more is an error.
        let mut bytes = Vec::new();
        let _ = std::io::Read::read_to_end(&mut screen, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let plain = shown(None, None);
    assert!(plain.starts_with(coloured), "{plain:?}");
    assert!(shown(Some("1"), None).starts_with("error:"));
    let piped = |no_color, force| {
        let output = check(no_color, force, Stdio::piped()).wait_with_output();
        String::from_utf8(output.unwrap().stderr).unwrap()
    };
    assert!(piped(None, None).starts_with("error:"));
    assert!(piped(None, Some("1")).starts_with(coloured));

    let (_router, at) = router(&[]);
    let probe = |force: &str| {
        let mut probe = program(&["probe", "--insecure", "--router", &at], true);
        probe.env("CLICOLOR_FORCE", force);
        run(probe, b"").text()
    };
    assert!(probe("1").starts_with("\x1b[1m\x1b[32m✓\x1b[0m "));
    assert!(probe("").starts_with(&at));
}
