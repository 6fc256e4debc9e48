//! The systemd units, against the program and its configuration.

use std::{fs, time::Duration};

use super::{
    LAST_WORDS, SOCKET, UNIT,
    pod::{duration, effective, port},
    unit::Unit,
};
use crate::helpers::{Certificate, KEY, process};

#[test]
fn the_unit_starts_a_router_that_drains_in_time() {
    let unit = Unit::parse(UNIT);
    let credentials = tempfile::tempdir().unwrap();
    let pair = Certificate::new();
    for loaded in unit.all("Service.LoadCredential") {
        let (id, path) = loaded.split_once(':').unwrap();
        assert!(path.starts_with("/etc/jumpstarter-router/credentials/"));
        let here = credentials.path().join(id);
        match id {
            "tls.crt" => fs::copy(pair.certificate(), here).map(|_| ()),
            "tls.key" => fs::copy(pair.key(), here).map(|_| ()),
            "router-key" => fs::write(here, KEY),
            other => panic!("what is {other}?"),
        }
        .unwrap();
    }
    let start = unit.one("Service.ExecStart");
    let args = start.strip_prefix("/usr/bin/jumpstarter-router serve ");
    let args = args.expect("the program of the package");
    let installed = "/etc/jumpstarter-router/config.toml";
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/systemd/config.toml");
    assert!(args.contains(installed));

    let mut check = process::command();
    check.arg("check");
    check.args(args.replace(installed, shipped).split_whitespace());
    let variables = unit.all("Service.Environment");
    assert_eq!(variables.len(), 3);
    for variable in variables {
        let (name, value) = variable.split_once('=').unwrap();
        assert!(value.starts_with("%d/"), "{variable}");
        check.env(
            name,
            value.replace("%d", credentials.path().to_str().unwrap()),
        );
    }
    let config = effective(check);
    for (section, key) in [("tls", "certificate"), ("tls", "key")] {
        let path = config[section][key].as_str().unwrap();
        assert!(path.starts_with(credentials.path().to_str().unwrap()));
    }

    let drain = duration(&config["drain"]["timeout"]);
    assert!(unit.time("Service.TimeoutStopSec") >= drain + LAST_WORDS);
    let connections = config["connections"]["max"].as_integer().unwrap();
    let files: i64 = unit.one("Service.LimitNOFILE").parse().unwrap();
    assert!(files > connections + 1000);
    // Told as tests/notify.rs shows, and with the exit codes of tests/process.rs.
    // The last one that systemd knows holds.
    assert_eq!(unit.all("Service.Type"), ["notify", "notify-reload"]);
    assert_eq!(unit.one("Service.ExecReload"), "kill -HUP $MAINPID");
    assert!(unit.time("Service.WatchdogSec") >= Duration::from_secs(10));
    // A connection on the socket starts it whatever it ended with, so it must be neither too often nor given up.
    assert_eq!(unit.one("Unit.StartLimitIntervalSec"), "0");
    assert_eq!(unit.one("Service.Restart"), "on-failure");
    assert!(unit.time("Service.RestartSec") >= Duration::from_secs(1));
    assert!(unit.all("Service.RestartPreventExitStatus").is_empty());
}

/// `tests/swap.rs` shows what comes of handing it over.
#[test]
fn the_socket_is_the_one_that_the_router_would_open() {
    let socket = Unit::parse(SOCKET);
    let service = Unit::parse(UNIT);
    let name = "jumpstarter-router.socket";
    assert_eq!(service.one("Service.Sockets"), name);
    assert_eq!(service.one("Install.Also"), name);
    let mut check = process::command();
    check.arg("check").env("ROUTER_KEY", KEY);
    let config = effective(check);
    let port = port(&config, "listen", "address").to_string();
    assert_eq!(socket.one("Socket.ListenStream"), port);
    let backlog = config["listen"]["backlog"].to_string();
    assert_eq!(socket.one("Socket.Backlog"), backlog);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let name = socket.one("Socket.FileDescriptorName");
    let mut router = process::Process::start_on(&process::usual(&[]), &[(name, &listener)]);
    assert_eq!(router.address(), listener.local_addr().unwrap().to_string());
}

#[test]
fn the_unit_may_do_no_more_than_it_needs() {
    let unit = Unit::parse(UNIT);
    for (key, value) in [
        ("DynamicUser", "yes"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("AmbientCapabilities", ""),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("SystemCallFilter", "@system-service"),
        ("Restart", "on-failure"),
    ] {
        assert_eq!(unit.one(&format!("Service.{key}")), value, "{key}");
    }
    assert!(!unit.one("Service.MemoryMax").is_empty());
}
