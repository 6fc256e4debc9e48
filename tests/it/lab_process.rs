//! `lab` as its user starts it: a process, its output, its files, its end.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::helpers::{LONG, free_port, lab::PEOPLE};
use jumpstarter_router::{
    client::{Connector, Trust},
    protocol::client::v1::{self as client, client_service_client::ClientServiceClient as Client},
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tonic::{Code, Request};

/// The command in an environment that would spoil it if it were looked at.
fn command(folder: &Path, port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jumpstarter-router"));
    command
        .arg("lab")
        .arg(folder)
        .args(["--set", "listen.admin_address=0"])
        .arg(format!("--listen=127.0.0.1:{port}"))
        .env("ROUTER_KEY", "")
        .env("EXTERNAL_CERT_PEM", "/nowhere")
        .env("JUMPSTARTER_ROUTER_CONFIG", "/nowhere")
        .env("PATH", "/nowhere")
        .stdin(Stdio::null());
    command
}

fn refused(folder: &Path, arguments: &[&str]) -> Output {
    let output = command(folder, free_port()).args(arguments).output();
    output.unwrap()
}

/// A process that is killed when the test is over.
struct Running(Child);

impl Running {
    /// Started, and ready to serve: it has said what to type next.
    fn start(folder: &Path, port: u16) -> (Self, String) {
        let mut child = command(folder, port)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while !said.contains("Ctrl-C") {
            assert!(lines.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        }
        (Self(child), said)
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    fn code(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < LONG {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it goes on");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_first_start_writes_all_that_is_needed_and_says_what_to_type() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("my lab");
    let (mut lab, said) = Running::start(&folder, free_port());
    let home = folder.canonicalize().unwrap();
    for part in [
        "client    me",
        "exporter  mock (board=mock)",
        "jmp is not on the PATH",
        &format!(
            "JMP_CLIENT_CONFIG_HOME='{}' jmp run --exporter mock",
            home.display()
        ),
        &format!(
            "JMP_CLIENT_CONFIG_HOME='{}' jmp shell -l board=mock",
            home.display()
        ),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for file in [
        "lab.toml",
        "clients/me.yaml",
        "exporters/mock.yaml",
        "config.yaml",
        "tls.crt",
        "state.redb",
    ] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    lab.signal("TERM");
    assert_eq!(lab.code(), Some(0));
}

#[test]
fn a_second_start_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let files = [
        "clients/me.yaml",
        "exporters/mock.yaml",
        "tls.crt",
        "lab.toml",
    ];
    let read = || files.map(|file| std::fs::read_to_string(dir.path().join(file)).unwrap());
    let (mut lab, _) = Running::start(dir.path(), port);
    let first = read();
    lab.signal("INT");
    assert_eq!(lab.code(), Some(0));
    let (_lab, _) = Running::start(dir.path(), port);
    assert_eq!(read(), first);
}

#[test]
fn a_wrong_configuration_is_told_in_one_line_and_ends_with_78() {
    for (toml, arguments, part) in [
        ("[clients.me", &[][..], "lab.toml: line 1: "),
        ("[exporters.x]\nlabel = {}", &[], "unknown field `label`"),
        ("[clients.Me]", &[], "cannot be a name"),
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
    }
    let dir = tempfile::tempdir().unwrap();
    let output = refused(dir.path(), &["--router", "localhost:1"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("ROUTER_KEY"), "{error}");
    assert!(!dir.path().join("lab.toml").exists(), "nothing is written");
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

#[test]
fn help_says_what_it_is_for() {
    let output = Command::new(env!("CARGO_BIN_EXE_jumpstarter-router"))
        .args(["lab", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "development, teaching and CI on one machine",
        "no replacement for the controller in a cluster",
        "--no-state",
        "--endpoint",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
}

/// Whatever was acknowledged before the process was killed is there afterwards.
#[tokio::test]
async fn nothing_acknowledged_is_lost_when_it_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("lab.toml"), PEOPLE).unwrap();
    let port = free_port();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let (lab, _) = Running::start(dir.path(), port);
        let workers = (0..4).map(|worker| {
            let mut me = client_of(dir.path(), port);
            async move {
                let mut done = Vec::new();
                for n in 0.. {
                    let id = format!("r{round}-w{worker}-{n}");
                    if create(&mut me, &id).await.is_err() {
                        break;
                    }
                    done.push(id);
                }
                done
            }
        });
        let mut workers: tokio::task::JoinSet<_> = workers.collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        lab.signal("KILL");
        let before = acknowledged.len();
        while let Some(done) = workers.join_next().await {
            acknowledged.extend(done.unwrap());
        }
        assert!(acknowledged.len() > before, "nothing was done at all");
    }
    let (_lab, _) = Running::start(dir.path(), port);
    let mut me = client_of(dir.path(), port);
    for id in &acknowledged {
        let name = format!("namespaces/default/leases/{id}");
        let found = me.get_lease(authorized(dir.path(), client::GetLeaseRequest { name }));
        assert!(found.await.is_ok(), "{id} is lost");
    }
    // Of all these, one has the exporter.
    let mut holders = 0;
    for id in &acknowledged {
        let name = format!("namespaces/default/leases/{id}");
        let lease = me.get_lease(authorized(dir.path(), client::GetLeaseRequest { name }));
        holders += usize::from(lease.await.unwrap().into_inner().exporter.is_some());
    }
    assert!(holders <= 1);
}

struct Me {
    client: Option<Client<tonic::transport::Channel>>,
    folder: std::path::PathBuf,
    port: u16,
}

fn client_of(folder: &Path, port: u16) -> Me {
    Me {
        client: None,
        folder: folder.to_owned(),
        port,
    }
}

impl Me {
    async fn get_lease(
        &mut self,
        request: Request<client::GetLeaseRequest>,
    ) -> Result<tonic::Response<client::Lease>, tonic::Status> {
        self.connected().await?.get_lease(request).await
    }

    async fn connected(&mut self) -> Result<&mut Client<tonic::transport::Channel>, tonic::Status> {
        if self.client.is_none() {
            let pem = std::fs::read(self.folder.join("tls.crt")).unwrap();
            let trust = Trust::Certificates(vec![CertificateDer::from_pem_slice(&pem).unwrap()]);
            let connector = Connector::new(&format!("127.0.0.1:{}", self.port), trust).unwrap();
            let channel = connector.channel().await;
            let channel = channel.map_err(|e| tonic::Status::new(Code::Unavailable, e.to_string()));
            self.client = Some(Client::new(channel?));
        }
        Ok(self.client.as_mut().unwrap())
    }
}

async fn create(me: &mut Me, id: &str) -> Result<(), tonic::Status> {
    let lease = client::Lease {
        exporter_name: Some("x".to_owned()),
        duration: Some(prost_types::Duration {
            seconds: 600,
            nanos: 0,
        }),
        ..client::Lease::default()
    };
    let request = client::CreateLeaseRequest {
        parent: "namespaces/default".to_owned(),
        lease_id: id.to_owned(),
        lease: Some(lease),
    };
    let request = authorized(&me.folder, request);
    me.connected().await?.create_lease(request).await?;
    Ok(())
}

fn authorized<T>(folder: &Path, message: T) -> Request<T> {
    let text = std::fs::read_to_string(folder.join("clients/me.yaml")).unwrap();
    let token = text.lines().find_map(|line| line.strip_prefix("token: "));
    let token = token.unwrap().trim_matches('"');
    let mut request = Request::new(message);
    let header = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", header);
    request
}

/// A program that stands for jmp: says how it was called and as which process, and ends in order at SIGTERM.
fn jmp(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir(folder).unwrap();
    let path = folder.join("jmp");
    let text = "#!/bin/sh\nexport PATH=/usr/bin:/bin\necho \"$$ called with $*\"\ntrap 'echo ended; exit 0' TERM\n\
                while :; do sleep 0.05; done\n";
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The processes that have called themselves started in this log, once there are so many.
fn started(log: &Path, count: usize) -> Vec<String> {
    let start = Instant::now();
    loop {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        let calls = said
            .lines()
            .filter_map(|line| line.split_once(" called with"));
        let processes: Vec<_> = calls.map(|(process, _)| process.to_owned()).collect();
        if processes.len() >= count {
            return processes;
        }
        assert!(start.elapsed() < LONG, "{count} were not started: {said}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn exporters_are_started_and_ended_along_with_the_lab() {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    jmp(&bin);
    let folder = dir.path().join("lab");
    let mut child = command(&folder, free_port())
        .env("PATH", &bin)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut lab = Running(child);
    let log = folder.join("exporters/mock.log");
    let process = started(&log, 1).concat();
    lab.signal("INT");
    assert_eq!(lab.code(), Some(0));
    let config = folder.join("exporters/mock.yaml").canonicalize().unwrap();
    let called = format!("called with run --exporter-config {}", config.display());
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(said, format!("{process} {called}\nended\n"));
    let mut told = String::new();
    stdout.read_to_string(&mut told).unwrap();
    assert!(
        told.contains("exporter  mock (board=mock), started"),
        "{told}"
    );
    assert!(!told.contains("jmp run"), "{told}");
}

/// Two exporters of one name would take turns for ever.
#[test]
fn an_exporter_that_outlived_its_lab_is_not_started_twice() {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    jmp(&bin);
    let folder = dir.path().join("lab");
    let port = free_port();
    let log = folder.join("exporters/mock.log");
    let start = || {
        let mut command = command(&folder, port);
        command.env("PATH", &bin).stdout(Stdio::null());
        Running(command.spawn().unwrap())
    };
    let mut first = start();
    let orphan = started(&log, 1).concat();
    first.signal("KILL");
    assert_eq!(first.code(), None);
    let mut second = start();
    // It looks twice a second.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(started(&log, 1), [orphan.as_str()]);
    let ended = Command::new("kill").args(["-s", "KILL", &orphan]).status();
    assert!(ended.unwrap().success());
    assert_eq!(started(&log, 2).len(), 2);
    second.signal("TERM");
    assert_eq!(second.code(), Some(0));
}
