//! What a service manager is told, by a test that plays its socket.

use std::{
    fs,
    net::TcpStream,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::{Duration, Instant},
};

use crate::helpers::{
    LONG, Pair,
    process::{Process, usual},
};
use jumpstarter_router::client::{Connector, Trust};
use rustix::time::{ClockId, clock_gettime};

/// What comes next.
fn heard(manager: &UnixDatagram) -> String {
    let mut told = [0; 1024];
    let length = manager.recv(&mut told).unwrap();
    str::from_utf8(&told[..length]).unwrap().to_owned()
}

fn hears(manager: &UnixDatagram, state: &str) {
    let told = heard(manager);
    assert!(
        told.lines().any(|line| line == state),
        "{state} in {told:?}"
    );
}

fn told(socket: &str) -> std::process::Command {
    let mut command = usual(&[("drain.timeout", "10m")]);
    command.env("NOTIFY_SOCKET", socket);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_when_the_router_serves_and_when_it_drains() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(LONG)).unwrap();

    let mut router = Process::start(told(path.to_str().unwrap()));
    hears(&manager, "READY=1");
    let address = router.address();
    TcpStream::connect(&address).unwrap();

    let connector = Connector::new(&address, Trust::Insecure).unwrap();
    let mut pair = Pair::open(&connector, "keeps it draining").await;
    router.signal("TERM");
    hears(&manager, "STOPPING=1");
    // At the beginning of the drain, not at its end.
    pair.ping_pong().await;
    assert!(router.is_running());
}

/// A manager in a directory, and a router with a configuration there.
struct Managed {
    directory: tempfile::TempDir,
    manager: UnixDatagram,
    router: Process,
}

impl Managed {
    fn start(env: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(LONG)).unwrap();
        let file = directory.path().join("config.toml");
        fs::write(&file, "").unwrap();
        let mut command = told(path.to_str().unwrap());
        command
            .arg("--config")
            .arg(&file)
            .args(["--set", "reload.interval=0s"]);
        command.envs(env.iter().copied());
        let router = Process::start(command);
        Self {
            directory,
            manager,
            router,
        }
    }

    fn rewrite(&self, text: &str) {
        fs::write(self.directory.path().join("config.toml"), text).unwrap();
    }
}

/// `systemctl reload` waits for both, and compares the time.
#[test]
fn it_is_told_of_each_reload_and_that_it_is_over() {
    let mut managed = Managed::start(&[]);
    hears(&managed.manager, "READY=1");
    managed.router.address();
    for (text, status) in [
        ("[pairing]\ntimeout = \"7s\"", "STATUS=serving"),
        (
            "[pairing]\ntimeout = 7",
            "STATUS=serving; the changed configuration was refused, the log says why",
        ),
        ("", "STATUS=serving"),
    ] {
        managed.rewrite(text);
        let now = || {
            let now = clock_gettime(ClockId::Monotonic);
            now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
        };
        let asked = now();
        managed.router.signal("HUP");
        let told = heard(&managed.manager);
        let (state, time) = told.split_once('\n').unwrap();
        assert_eq!(state, "RELOADING=1");
        let time = time.strip_prefix("MONOTONIC_USEC=").unwrap();
        let time: i64 = time.parse().unwrap();
        assert!((asked..=now()).contains(&time), "{asked} {time}");
        assert_eq!(heard(&managed.manager), format!("READY=1\n{status}"));
    }
    managed.router.signal("TERM");
    hears(&managed.manager, "STOPPING=1");
    assert_eq!(managed.router.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watchdog_hears_it_live_also_while_it_drains() {
    let mut managed = Managed::start(&[("WATCHDOG_USEC", "300000")]);
    hears(&managed.manager, "READY=1");
    let address = managed.router.address();
    let connector = Connector::new(&address, Trust::Insecure).unwrap();
    let mut pair = Pair::open(&connector, "keeps it draining").await;
    for _ in 0..4 {
        let started = Instant::now();
        hears(&managed.manager, "WATCHDOG=1");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    managed.router.signal("TERM");
    while heard(&managed.manager).starts_with("WATCHDOG=1") {}
    for _ in 0..3 {
        hears(&managed.manager, "WATCHDOG=1");
    }
    pair.ping_pong().await;

    // A process that is not meant keeps quiet.
    let managed = Managed::start(&[("WATCHDOG_USEC", "300000"), ("WATCHDOG_PID", "1")]);
    hears(&managed.manager, "READY=1");
    let short = Some(Duration::from_millis(600));
    managed.manager.set_read_timeout(short).unwrap();
    assert!(managed.manager.recv(&mut [0; 64]).is_err());
}

#[test]
fn a_socket_without_a_file_is_understood() {
    let name = format!("jumpstarter-router-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(LONG)).unwrap();
    let _router = Process::start(told(&format!("@{name}")));
    hears(&manager, "READY=1");
}

#[test]
fn a_manager_that_is_not_there_does_not_matter() {
    for (socket, said) in [
        ("/nowhere/at/all", "cannot tell the service manager"),
        ("nonsense", "no service manager will be told"),
    ] {
        let mut router = Process::start(told(socket));
        router.address();
        router.signal("TERM");
        let ended = router.wait();
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        assert!(
            ended.lines.iter().any(|line| line.contains(said)),
            "{ended:?}"
        );
    }
}
