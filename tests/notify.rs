//! What a service manager is told, by a test that plays its socket.
#![allow(clippy::unwrap_used)]

mod helpers;

use std::{
    net::TcpStream,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

use helpers::{
    LONG, Pair,
    process::{Process, usual},
};
use jumpstarter_router::client::{Connector, Trust};

fn hears(manager: &UnixDatagram, state: &str) {
    let mut told = [0; 1024];
    let length = manager.recv(&mut told).unwrap();
    let told = str::from_utf8(&told[..length]).unwrap();
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
