//! What `lab` says when it cannot start: all that is wrong, in its own words, before anything is written.

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::{
    helpers::free_port,
    lab_process::{Running, command},
};

fn refused(folder: &Path, arguments: &[&str]) -> Output {
    let output = command(folder, free_port()).args(arguments).output();
    output.unwrap()
}

#[test]
fn a_wrong_configuration_is_told_in_one_line_and_ends_with_78() {
    for (toml, arguments, part) in [
        ("[clients.me", &[][..], "lab.toml: line 1: "),
        (
            "[exporters.x]\nlabel = {}",
            &[],
            "line 2: unknown key `label` in [exporters.x]",
        ),
        (
            "[clients.Me]",
            &[],
            "line 1: [clients.Me]: \"Me\" cannot be a name",
        ),
        (
            "",
            &["--set", "listen.address=:1"],
            "--set listen.address: use --listen",
        ),
        (
            "",
            &["--set", "listen.endpoint=x:1"],
            "--set listen.endpoint: use --endpoint",
        ),
        (
            "",
            &["--set", "tls.key=/x"],
            "--set tls.key: put your certificate and its key into",
        ),
        ("", &["--set", "pairing.timeout=soon"], "pairing.timeout"),
        ("", &["--listen", "0.0.0.0:8083"], "--endpoint"),
        ("", &["--listen", "127.0.0.1:0"], "a port of your choice"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("lab.toml"), toml).unwrap();
        // The last of two counts.
        let output = refused(dir.path(), &[&["--no-run"], arguments].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{toml}: {error}");
        assert!(error.contains(part), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(output.stdout.is_empty());
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is written"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let output = refused(dir.path(), &["--router", "localhost:1"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("ROUTER_KEY"), "{error}");
    assert!(!dir.path().join("lab.toml").exists(), "nothing is written");
}

#[test]
fn all_mistakes_in_lab_toml_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let toml =
        "[clients.Me]\n[exporters.x]\nruns = true\nlabels = { \"a b\" = \"c\" }\n[exporter.y]\n";
    std::fs::write(dir.path().join("lab.toml"), toml).unwrap();
    let output = refused(dir.path(), &[]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{error}");
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 5, "{error}");
    assert!(
        lines[0].ends_with("lab.toml: 4 things are wrong:"),
        "{error}"
    );
    for (line, number) in lines[1..].iter().zip([1, 3, 4, 5]) {
        assert!(line.starts_with(&format!("  line {number}: ")), "{error}");
    }
}

/// In the words of the lab's own options, and before anything is there.
#[test]
fn an_address_that_will_not_do_is_told_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("lab");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let metrics = format!("listen.metrics_address={taken}");
    for (arguments, code, parts) in [
        (
            vec![format!("--listen={taken}")],
            1,
            [
                format!("error: cannot listen on {taken} (--listen): "),
                "choose another port".to_owned(),
            ],
        ),
        (
            vec!["--listen=192.0.2.1:8083".to_owned()],
            1,
            [
                "cannot listen on 192.0.2.1:8083 (--listen): ".to_owned(),
                "an address of this machine".to_owned(),
            ],
        ),
        (
            vec!["--set".to_owned(), metrics.clone()],
            1,
            [
                format!("cannot listen on {taken} (--set listen.metrics_address): "),
                String::new(),
            ],
        ),
        (
            vec![format!("--listen={taken}"), "--set".to_owned(), metrics],
            78,
            ["--listen".to_owned(), "listen.metrics_address".to_owned()],
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jumpstarter-router"));
        command
            .arg("lab")
            .arg(&folder)
            .args(["--set", "listen.admin_address=0"]);
        if !arguments
            .iter()
            .any(|argument| argument.starts_with("--listen"))
        {
            command.arg(format!("--listen=127.0.0.1:{}", free_port()));
        }
        let output = command.args(&arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{error}");
        for part in parts {
            assert!(error.contains(&part), "{part}: {error}");
        }
        assert!(!error.contains("listen.address"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!folder.exists(), "nothing is written");
    }
}

#[test]
fn what_is_wrong_with_one_file_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("clients")).unwrap();
    std::fs::write(dir.path().join("clients/me.yaml"), "kind: ClientConfig\n").unwrap();
    let output = refused(dir.path(), &[]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{error}");
    assert!(
        error.contains("clients/me.yaml has no line for endpoint"),
        "{error}"
    );
    let mut left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["clients"]);
}

#[test]
fn a_directory_has_one_lab() {
    let dir = tempfile::tempdir().unwrap();
    let (_lab, _) = Running::start(dir.path(), free_port());
    let output = refused(dir.path(), &["--no-state"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("another lab runs in "), "{error}");
}

#[test]
fn a_damaged_state_file_is_told_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.redb");
    let text = "somebody's notes ".repeat(1000);
    std::fs::write(&state, &text).unwrap();
    let output = refused(dir.path(), &[]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("move it away"), "{error}");
    assert_eq!(std::fs::read_to_string(&state).unwrap(), text);
}
