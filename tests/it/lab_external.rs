//! `lab --router`: the other router is tried first, as the lab's clients would use it.

use std::{fs, net::TcpListener, path::Path, process::Command};

use crate::helpers::{
    Certificate, KEY, free_port,
    process::{Process, usual},
    program::{Done, Program, program, run},
};

fn command(folder: &Path, router: &str, key: &str) -> Command {
    let mut command = program(&[Path::new("lab"), folder], false);
    command
        .args([
            "--no-run",
            "--set",
            "listen.admin_address=0",
            "--router",
            router,
        ])
        .arg(format!("--listen=127.0.0.1:{}", free_port()))
        .env("ROUTER_KEY", key);
    command
}

/// It says all this, ends with this code, and has written nothing.
fn refused(command: Command, folder: &Path, code: i32, parts: &[&str]) {
    let done: Done = run(command, b"");
    done.ended(code, parts);
    assert!(done.stdout.is_empty());
    assert!(
        !folder.exists() || fs::read_dir(folder).unwrap().count() == 2,
        "something was written"
    );
}

fn with_certificate(certificate: &Certificate) -> (Process, String) {
    let [cert, key] =
        [certificate.certificate(), certificate.key()].map(|path| path.display().to_string());
    let settings = [("tls.certificate", &*cert), ("tls.key", &*key)];
    let mut process = Process::start(usual(&settings));
    let address = process.address();
    (process, address)
}

#[test]
fn one_that_clients_would_not_trust_is_told_before_anything_is_written() {
    let certificate = Certificate::new();
    let (_router, address) = with_certificate(&certificate);
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("lab");
    let parts = [
        &*format!("--router {address}: clients of this lab would not trust it"),
        "for 127.0.0.1, signed by",
        "it is signed by nobody but itself",
        "a certificate that the lab makes for itself",
        "--router-ca FILE",
    ];
    refused(command(&folder, &address, KEY), &folder, 3, &parts);

    // The right authority, but another name.
    let port = address.rsplit(':').next().unwrap();
    let mut other = command(&folder, &format!("localhost:{port}"), KEY);
    other.arg("--router-ca").arg(certificate.certificate());
    refused(
        other,
        &folder,
        3,
        &["is for \"127.0.0.1\", not for \"localhost\""],
    );

    // Another key than the router's.
    let mut other = command(
        &folder,
        &address,
        "another key of at least 32 bytes, like this",
    );
    other.arg("--router-ca").arg(certificate.certificate());
    refused(
        other,
        &folder,
        4,
        &["does not pair streams with the key in ROUTER_KEY"],
    );

    let mut wrong = command(&folder, &address, KEY);
    wrong.arg("--router-ca").arg("/nowhere.pem");
    refused(wrong, &folder, 78, &["--router-ca /nowhere.pem: "]);
}

#[test]
fn one_that_is_not_there_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("lab");
    let nobody = format!("127.0.0.1:{}", free_port());
    let parts = [&*format!("--router {nobody}: cannot connect to {nobody}: ")];
    refused(command(&folder, &nobody, KEY), &folder, 3, &parts);
}

#[test]
fn one_that_is_trusted_is_used_though_it_is_a_moment_late() {
    let certificate = Certificate::new();
    let (_router, address) = with_certificate(&certificate);
    let dir = tempfile::tempdir().unwrap();
    // Either it has its certificate from the authority that is named, or the lab has the same.
    let named = dir.path().join("named");
    let mut with_ca = command(&named, &address, KEY);
    with_ca.arg("--router-ca").arg(certificate.certificate());
    serves(with_ca);
    let client = fs::read_to_string(named.join("clients/me.yaml")).unwrap();
    let ca = client
        .lines()
        .find_map(|line| line.trim().strip_prefix("ca: "))
        .unwrap();
    let ca = data_encoding(ca.trim_matches('"'));
    let own = fs::read_to_string(named.join("tls.crt")).unwrap();
    let theirs = fs::read_to_string(certificate.certificate()).unwrap();
    assert_eq!(ca, format!("{own}{theirs}"));

    let same = dir.path().join("same");
    fs::create_dir(&same).unwrap();
    for file in ["tls.crt", "tls.key"] {
        fs::copy(certificate.directory().join(file), same.join(file)).unwrap();
    }
    serves(command(&same, &address, KEY));

    // One that starts at the same time as the lab.
    let late = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let starting = command(&same, &late.to_string(), KEY);
    let lab = std::thread::spawn(move || serves(starting));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let [cert, key] =
        [certificate.certificate(), certificate.key()].map(|path| path.display().to_string());
    let mut late_router = usual(&[("tls.certificate", &*cert), ("tls.key", &*key)]);
    late_router
        .arg("--set")
        .arg(format!("listen.address={late}"));
    let _late = Process::start(late_router);
    lab.join().unwrap();
}

fn data_encoding(base64: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    String::from_utf8(STANDARD.decode(base64).unwrap()).unwrap()
}

/// It comes up, and stops.
fn serves(command: Command) {
    let mut lab = Program::start(command);
    loop {
        let line = lab.read_line();
        assert!(!line.is_empty(), "it ended: {}", lab.said());
        if line.contains("Ctrl-C") {
            break;
        }
    }
    lab.signal("TERM");
    assert_eq!(lab.wait().code, Some(0));
}
