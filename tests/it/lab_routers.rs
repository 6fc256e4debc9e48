//! A lab with several routers, and the NATS server that it starts for them.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::helpers::{
    LONG, free_ports,
    lab::Bench,
    nats,
    process::{ended, signal},
    until, within,
};
use jumpstarter_router::{
    client::{ControllerConfig, Grant, Role, RouterStream, Session},
    protocol::{
        client::v1::{CreateLeaseRequest, Lease},
        v1::ExporterStatus,
    },
};

/// What a client or an exporter of the lab speaks to it with.
fn session(lab: &Bench, kind: &str, name: &str, role: Role) -> Session {
    let file = lab.folder().join(kind).join(format!("{name}.yaml"));
    Session::new(&ControllerConfig::load(&file, role).unwrap()).unwrap()
}

async fn lease(lab: &Bench, id: &str) {
    let lease = Lease {
        selector: "board=x".to_owned(),
        duration: Some(prost_types::Duration {
            seconds: 600,
            nanos: 0,
        }),
        ..Lease::default()
    };
    let create = CreateLeaseRequest {
        parent: "namespaces/default".to_owned(),
        lease_id: id.to_owned(),
        lease: Some(lease),
    };
    let mut clients = lab.client("me").await.clients();
    clients.create_lease(create).await.unwrap();
}

async fn carries(from: &mut RouterStream, to: &mut RouterStream, text: &str) {
    within("to say", from.write_message(text.as_bytes()))
        .await
        .unwrap();
    let heard = within("to hear", to.read_message()).await.unwrap();
    assert_eq!(heard.unwrap(), text.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sides_of_each_stream_meet_from_different_routers() {
    if !nats::installed() {
        return;
    }
    let port = free_ports(3);
    let _in_use = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 2)).unwrap();
    let lab = Bench::start_with(|options| {
        options.routers = 3;
        options.listen.set_port(port);
    });
    let lab = lab.await;
    let routers = lab.routers();
    assert_eq!(routers.len(), 3);
    assert_eq!(routers[0], lab.endpoint());
    assert_eq!(routers[1], format!("127.0.0.1:{}", port + 1));
    lease(&lab, "apart").await;
    let exporter = session(&lab, "exporters", "x", Role::Exporter);
    exporter.register().await.unwrap();
    let mut leases = exporter.leases();
    let told = async { while leases.next().await.unwrap().as_deref() != Some("apart") {} };
    within("the lease", told).await;
    exporter
        .report_status(ExporterStatus::LeaseReady, "")
        .await
        .unwrap();
    let mut calls = exporter.listen("apart");
    let client = session(&lab, "clients", "me", Role::Client);

    let mut streams = Vec::new();
    for turn in 0..6 {
        let (dialled, called) = tokio::join!(client.dial("apart"), calls.accept());
        let (dialled, called): (Grant, Grant) = (dialled.unwrap(), called.unwrap());
        assert_eq!(dialled.token.as_str(), called.token.as_str());
        assert_eq!(dialled.endpoint, routers[turn % 3]);
        assert_eq!(called.endpoint, routers[(turn + 1) % 3]);
        let opened =
            Box::pin(async { tokio::join!(client.open(&dialled), exporter.open(&called)) });
        let (one, other) = within("both", opened).await;
        let (mut one, mut other) = (one.unwrap(), other.unwrap());
        carries(&mut one, &mut other, "there").await;
        carries(&mut other, &mut one, "and back").await;
        streams.push((one, other));
    }
    let sum = |name: &str| lab.metric(name).iter().sum::<u64>();
    assert_eq!(sum("cluster_pairs_called"), 6, "each lies apart");
    assert_eq!(sum("pairs_total"), 6, "and counts once");
    drop(streams);
    until("the streams are gone", || sum("streams_paired") == 0).await;
    lab.stop().await;
}

/// A process, and what it has said until it serves.
struct Running {
    child: Child,
    said: String,
    rest: BufReader<ChildStdout>,
}

impl Running {
    fn start(folder: &Path, temporary: &Path) -> Self {
        let mut command = command(folder);
        command.arg("--routers=3").env("TMPDIR", temporary);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut rest = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("Ctrl-C") {
            assert!(rest.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        }
        Self { child, said, rest }
    }

    /// Where the NATS server is.
    fn nats(&self) -> &str {
        let (_, rest) = self.said.split_once("nats://").unwrap();
        rest.lines().next().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jumpstarter-router"));
    command
        .arg("lab")
        .arg(folder)
        .args(["--no-run", "--set", "listen.admin_address=127.0.0.1:0"])
        .arg(format!("--listen=127.0.0.1:{}", free_ports(3)))
        .stdin(Stdio::null());
    command
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test]
async fn its_nats_server_ends_with_it_however_it_ends() {
    if !nats::installed() {
        return;
    }
    for (name, code) in [("TERM", Some(0)), ("INT", Some(0)), ("KILL", None)] {
        let dir = tempfile::tempdir().unwrap();
        let temporary = tempfile::tempdir().unwrap();
        let folder = dir.path().join("lab");
        let mut lab = Running::start(&folder, temporary.path());
        for number in 1..=3 {
            let line = lab.said.lines().find_map(|line| {
                let rest = line.trim_start().strip_prefix("router ")?;
                rest.strip_prefix(&*format!("{number}  127.0.0.1:"))
            });
            assert!(line.unwrap().contains(", page http://127.0.0.1:"));
        }
        let nats = lab.nats().to_owned();
        assert!(TcpStream::connect(&nats).is_ok());
        assert!(!is_empty(temporary.path()));
        signal(lab.child.id(), name);
        let status = ended(&mut lab.child, LONG, &name);
        assert_eq!(status.code(), code, "{name}");
        let gone = || TcpStream::connect(&nats).is_err() && is_empty(temporary.path());
        until("the NATS server is gone", gone).await;
        let mut rest = String::new();
        lab.rest.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "{name}");
        assert!(folder.join("nats-server.log").is_file());
    }
}

#[test]
fn without_a_nats_server_it_says_how_to_have_one_and_writes_nothing() {
    for (arguments, code, part) in [
        (&["--routers=2"][..], 1, "apt install nats-server"),
        (
            &["--routers=2", "--nats-server=/nowhere"],
            1,
            "--nats-server /nowhere: there is no such file",
        ),
        (&["--routers=0"], 2, "0 is not in 1..=16"),
        (&["--routers=2", "--router=x:1"], 2, "cannot be used with"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("lab");
        let output = command(&folder)
            .args(arguments)
            .env("PATH", "/nowhere")
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(part), "{error}");
        assert!(code == 2 || error.lines().count() == 1, "{error}");
        assert!(output.stdout.is_empty() && !folder.exists(), "{error}");
    }
}

#[test]
fn a_server_that_does_not_start_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let output = command(dir.path())
        .args(["--routers=2", "--nats-server=/bin/false"])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("nats-server.log says why"), "{error}");
    assert!(is_empty(temporary.path()), "nothing is left behind");
}
