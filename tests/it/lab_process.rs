//! `lab` as its user starts it: a process, its output, its files, its end.

use std::{
    io::{BufRead, BufReader},
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
                format!("error: --listen {taken}: cannot listen there: "),
                "choose another port".to_owned(),
            ],
        ),
        (
            vec!["--listen=192.0.2.1:8083".to_owned()],
            1,
            [
                "--listen 192.0.2.1:8083: ".to_owned(),
                "an address of this machine".to_owned(),
            ],
        ),
        (
            vec!["--set".to_owned(), metrics.clone()],
            1,
            [
                format!("--set listen.metrics_address {taken}: "),
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
