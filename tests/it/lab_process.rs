//! `lab` as its user starts it: a process, its output, its files, its end.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
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
pub fn command(folder: &Path, port: u16) -> Command {
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

/// A process that is killed when the test is over.
pub struct Running(Child);

impl Running {
    /// Started, and ready to serve: it has said what to type next.
    pub fn start(folder: &Path, port: u16) -> (Self, String) {
        Self::of(command(folder, port))
    }

    fn of(mut command: Command) -> (Self, String) {
        let mut child = command
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

/// What is said can be typed, with the page and without.
#[test]
fn the_banner_names_the_page_and_what_to_type() {
    let page = free_port();
    for (address, parts) in [
        (
            format!("127.0.0.1:{page}"),
            [
                format!("  page      http://127.0.0.1:{page}/"),
                format!("  jumpstarter-router top --admin http://127.0.0.1:{page}"),
            ],
        ),
        (
            "0".to_owned(),
            [
                "  page      none; --set listen.admin_address=127.0.0.1:<port> gives one"
                    .to_owned(),
                String::new(),
            ],
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("lab");
        let venv = dir.path().join("venv");
        std::fs::create_dir_all(venv.join("bin")).unwrap();
        std::fs::write(venv.join("bin/jmp"), "").unwrap();
        let mut command = command(&folder, free_port());
        command
            .arg(format!("--set=listen.admin_address={address}"))
            .arg("--no-run")
            .env("PATH", venv.join("bin"))
            .env("VIRTUAL_ENV", &venv);
        let (_lab, said) = Running::of(command);
        let home = folder.canonicalize().unwrap();
        let home = format!("JMP_CLIENT_CONFIG_HOME={}", home.display());
        let activate = format!("\n  . {}/bin/activate\n", venv.display());
        for part in parts.iter().chain([
            &format!("{activate}  {home} jmp run --exporter mock\n"),
            &format!("{activate}  {home} jmp shell -l board=mock\n"),
            &format!("  {home} jmp get exporters\n"),
        ]) {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

#[test]
fn the_first_client_is_the_one_that_jmp_takes() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("lab.toml"),
        "[clients.zoe]\n[clients.amy]\n[exporters.x]\n",
    )
    .unwrap();
    let (_lab, said) = Running::start(dir.path(), free_port());
    assert!(
        said.contains("  client    zoe, the first in lab.toml\n"),
        "{said}"
    );
    let config = std::fs::read_to_string(dir.path().join("config.yaml")).unwrap();
    assert!(config.contains("current-client: \"zoe\""), "{config}");
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
