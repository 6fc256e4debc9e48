//! Which routers are reached and believed, and what is said of those that are not.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use crate::helpers::{
    authority::Authority,
    process::{Process, usual},
    program::{Done, program, run},
    stranger::{answering, silent, stranger, tls},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

const DAY: Duration = Duration::from_secs(86_400);

/// A certificate that has signed itself, and its key, as files.
struct Own {
    dir: tempfile::TempDir,
}

impl Own {
    fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let now = SystemTime::now();
        (params.not_before, params.not_after) = ((now - DAY).into(), (now + DAY).into());
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("crt"), certificate.pem()).unwrap();
        std::fs::write(dir.path().join("key"), key.serialize_pem()).unwrap();
        Self { dir }
    }

    fn crt(&self) -> PathBuf {
        self.dir.path().join("crt")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key")
    }
}

fn ca(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

/// A router with this certificate.
fn router([crt, key]: [&Path; 2], more: &[(&str, &str)]) -> (Process, String) {
    let (crt, key) = (crt.to_str().unwrap(), key.to_str().unwrap());
    let mut settings = vec![("tls.certificate", crt), ("tls.key", key)];
    settings.extend(more);
    let mut router = Process::start(usual(&settings));
    let address = router.address();
    (router, address)
}

fn command(address: &str, more: &[&str]) -> Command {
    let args = ["probe", "--router", address, "--timeout", "3s"];
    program(&[&args, more].concat(), true)
}

fn probe(address: &str, more: &[&str]) -> Done {
    run(command(address, more), b"")
}

/// As [`probe`], trusting this file.
fn trusting(address: &str, ca: &Path, more: &[&str]) -> Done {
    probe(address, &[&["--ca", ca.to_str().unwrap()], more].concat())
}

/// Failed to reach a router, said each of these, and nothing that is meant for programmers.
fn fails(done: &Done, parts: &[&str]) {
    done.ended(3, parts);
    let text = &done.stderr;
    assert_eq!(text.lines().count(), 1, "{text}");
    for wrong in [
        "os error",
        "Name(",
        "Address(",
        "Some(",
        " { ",
        "Error(",
        "InvalidCertificate",
        "::",
    ] {
        assert!(!text.contains(wrong), "{wrong:?} in {text:?}");
    }
    let camel = |word: &str| {
        let word = word.replace("subjectAltName", "").replace("OpenSSH", "");
        let letters = word.trim_matches(|c: char| !c.is_ascii_alphabetic());
        letters
            .as_bytes()
            .windows(2)
            .any(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase())
    };
    assert_eq!(
        text.split_whitespace().find(|word| camel(word)),
        None,
        "{text}"
    );
}

#[test]
fn a_certificate_that_is_known_is_believed_for_its_names_and_dates() {
    // As `openssl req -x509` makes them.
    let plain = Own::new(ca);
    let (_router, address) = router([&plain.crt(), &plain.key()], &[]);
    trusting(&address, &plain.crt(), &[]).ended(0, &[]);
    let other = Own::new(ca);
    fails(
        &trusting(&address, &other.crt(), &[]),
        &[
            "says that it is a CA's, not a server's",
            "give the certificate itself with --ca",
        ],
    );
    let wrong_name = trusting(&address, &plain.crt(), &["--server-name", "other.test"]);
    fails(
        &wrong_name,
        &["its certificate is for \"127.0.0.1\", not for \"other.test\""],
    );

    // Issued by somebody who is not among the trusted, who need not be.
    let authority = Authority::new("lab");
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    let named = |params: &mut CertificateParams| {
        params.subject_alt_names = CertificateParams::new(["127.0.0.1".to_owned()])
            .unwrap()
            .subject_alt_names;
    };
    let [crt, key] = authority.signed("leaf", server, named);
    let (_router, address) = router([&crt, &key], &[]);
    trusting(&address, &crt, &[]).ended(0, &[]);
    trusting(&address, &authority.file(), &[]).ended(0, &[]);
    let issued =
        "its certificate \"leaf\" is not trusted: it is issued by \"lab\", which is unknown here";
    fails(
        &trusting(&address, &plain.crt(), &[]),
        &[issued, "give its CA with --ca FILE"],
    );
}

/// As OpenSSL and gRPC have it, where there is no other name.
#[test]
fn the_common_name_of_a_known_certificate_counts_if_it_has_no_other() {
    let named = |params: &mut CertificateParams| {
        ca(params);
        params.subject_alt_names.clear();
        params
            .distinguished_name
            .push(DnType::CommonName, "board.test");
    };
    let own = Own::new(named);
    let at = tls([&own.crt(), &own.key()], &["h2"]).to_string();
    let by = |name: &str| trusting(&at, &own.crt(), &["--server-name", name]);
    fails(
        &by("other.test"),
        &["its certificate \"board.test\" has no names, so it is not for \"other.test\""],
    );
    // The certificate is right; what is behind it is no router.
    let reached = by("Board.test");
    assert!(!reached.stderr.contains("certificate"), "{reached:?}");
}

#[test]
fn a_name_apart_from_the_address_is_what_the_certificate_must_be_for() {
    let own = Own::new(|params| {
        params.subject_alt_names = CertificateParams::new(["router.test".to_owned()])
            .unwrap()
            .subject_alt_names;
    });
    let (_router, address) = router(
        [&own.crt(), &own.key()],
        &[("listen.endpoint", "router.test:443")],
    );
    fails(
        &trusting(&address, &own.crt(), &[]),
        &[
            "is for \"router.test\", not for \"127.0.0.1\"; connect to a name that the certificate has, or say which to expect with --server-name",
        ],
    );
    trusting(&address, &own.crt(), &["--server-name", "router.test"]).ended(0, &[]);
    trusting(
        &address,
        &own.crt(),
        &["--server-name", "router.test", "--no-post-quantum"],
    )
    .ended(0, &[]);
    let bad = trusting(&address, &own.crt(), &["--server-name", "a b"]);
    bad.ended(78, &["\"a b\" is no name for a server"]);
}

#[test]
fn certificates_out_of_their_time_are_refused_with_dates() {
    for change in [|_: &mut CertificateParams| {}, ca] {
        let expired = Own::new(|params| {
            change(params);
            params.not_before = (SystemTime::now() - 9 * DAY).into();
            params.not_after = (SystemTime::now() - 3 * DAY).into();
        });
        let at = tls([&expired.crt(), &expired.key()], &["h2"]).to_string();
        fails(
            &trusting(&at, &expired.crt(), &[]),
            &[
                "expired at 20",
                "Z, 3days",
                "ago by this machine's clock; have it renewed, or set this machine's clock",
            ],
        );
        let early = Own::new(|params| {
            change(params);
            params.not_before = (SystemTime::now() + 3 * DAY).into();
            params.not_after = (SystemTime::now() + 9 * DAY).into();
        });
        let at = tls([&early.crt(), &early.key()], &["h2"]).to_string();
        fails(
            &trusting(&at, &early.crt(), &[]),
            &["is not valid before 20", "from now by this machine's clock"],
        );
    }
}

#[test]
fn what_cannot_be_reached_is_said_with_every_address() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let refused = format!(
        "error: cannot connect to {free}: connection refused; is the router running there, and is the port right?\n"
    );
    let done = probe(&free, &["--insecure"]);
    fails(&done, &[]);
    assert_eq!(done.stderr, refused);
    let port = free.rsplit_once(':').unwrap().1;
    let named = probe(&format!("localhost:{port}"), &["--insecure"]);
    fails(
        &named,
        &[
            &format!("cannot connect to localhost:{port}: "),
            &format!("127.0.0.1:{port}: connection refused"),
        ],
    );
    fails(
        &probe("nobody.invalid:1", &["--insecure"]),
        &[
            "\"nobody.invalid\" has no address that this machine can find",
            "is the name right?",
        ],
    );
}

#[test]
fn what_answers_in_a_routers_place_is_said() {
    let at = |address: SocketAddr| address.to_string();
    let hint = "may not let a long first message through (";
    let quiet = at(silent());
    fails(
        &probe(&quiet, &["--insecure"]),
        &[
            "takes the TCP connection, and does not answer the TLS handshake in time",
            hint,
            "try --no-post-quantum",
        ],
    );
    let short = probe(&quiet, &["--insecure", "--no-post-quantum"]);
    fails(
        &short,
        &["does not answer the TLS handshake in time; is the port right"],
    );
    assert!(!short.stderr.contains(hint), "{short:?}");
    let mut off = command(&quiet, &["--insecure"]);
    off.env("JUMPSTARTER_ROUTER_POST_QUANTUM", "off");
    let off = run(off, b"");
    assert_eq!(off.stderr, short.stderr);
    let cut = at(answering(b""));
    fails(
        &probe(&cut, &["--insecure"]),
        &["ends it when the TLS handshake begins", hint],
    );
    let http = at(answering(
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    ));
    let said = "an HTTP/1 answer (\"HTTP/1.1 400 Bad Request\")";
    fails(
        &probe(&http, &["--insecure"]),
        &[
            "what answers does not speak TLS: it sent",
            said,
            "is the port right, or is this a router without TLS (--plaintext)?",
        ],
    );
    fails(
        &probe(&http, &["--plaintext"]),
        &["no router answers: it sent", said],
    );
    let ssh = at(stranger(|mut socket| {
        use std::io::{Read as _, Write as _};
        socket.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").unwrap();
        let _ = socket.read(&mut [0; 4096]);
    }));
    fails(
        &probe(&ssh, &["--insecure"]),
        &["does not speak TLS: it sent \"SSH-2.0-OpenSSH_9.6\\r\\n\""],
    );
    let own = Own::new(|_| {});
    for alpn in [&[][..], &["http/1.1"]] {
        let web = at(tls([&own.crt(), &own.key()], alpn));
        let done = trusting(&web, &own.crt(), &[]);
        fails(
            &done,
            &[
                "HTTP/2",
                "A load balancer that ends TLS must offer `h2` by ALPN, or pass TLS through",
            ],
        );
    }
}

#[test]
fn tls_on_one_side_only_is_said() {
    let mut plain = Process::start(usual(&[("tls.plaintext", "true")]));
    let address = plain.address();
    fails(&probe(&address, &["--insecure"]), &["TLS", "--plaintext"]);
    let own = Own::new(|_| {});
    let (_router, address) = router([&own.crt(), &own.key()], &[]);
    fails(
        &probe(&address, &["--plaintext"]),
        &["no router answers: ", "does it use TLS as this side does?"],
    );
    // An alert: the version is wrong.
    let shown = answering(&[0x15, 3, 3, 0, 2, 2, 70]).to_string();
    fails(
        &probe(&shown, &["--plaintext"]),
        &["no router answers: it sent a message of TLS; is the port right, and does it use TLS"],
    );
}

#[test]
fn a_router_that_wants_a_certificate_says_so() {
    let (own, authority) = (Own::new(|_| {}), Authority::new("lab"));
    let file = authority.file();
    let asking = [("tls.client_ca", file.to_str().unwrap())];
    let (_router, address) = router([&own.crt(), &own.key()], &asking);
    let done = trusting(&address, &own.crt(), &[]);
    fails(
        &done,
        &[
            "the router refused the TLS connection: it asks for a certificate of this side's; show a certificate that it accepts",
        ],
    );
}

#[test]
fn files_that_do_not_belong_together_are_said_to() {
    let (one, other) = (Own::new(|_| {}), Own::new(|_| {}));
    let (crt, key) = (one.crt(), other.key());
    let files = [
        "--client-certificate",
        crt.to_str().unwrap(),
        "--client-key",
        key.to_str().unwrap(),
    ];
    let done = probe("127.0.0.1:1", &[&["--insecure"], &files[..]].concat());
    done.ended(
        78,
        &["cannot set up TLS: the private key does not belong to the certificate; give the two"],
    );
}
