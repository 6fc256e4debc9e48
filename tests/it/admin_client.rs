//! What the commands that ask the admin API can reach: https, paths, one of several processes; and what they print.

use std::{net::SocketAddr, sync::Arc};

use jumpstarter_router::client::{Connector, Trust};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::helpers::{
    Pair,
    authority::Authority,
    process::{Process, usual},
    program::{Done, program, run},
    web::{aside, get, raw},
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const READ_TOKEN: &str = "fedcba9876543210fedcba9876543210";

fn router(settings: &[(&str, &str)]) -> (Process, Connector, SocketAddr) {
    let all = [&[("listen.admin_address", "127.0.0.1:0")], settings].concat();
    let mut process = Process::start(usual(&all));
    let line = process.line("serving");
    let connector = Connector::new(line["address"].as_str().unwrap(), Trust::Insecure).unwrap();
    (
        process,
        connector,
        line["admin"].as_str().unwrap().parse().unwrap(),
    )
}

/// Runs a command and waits for its end.
async fn done(args: &[&str]) -> Done {
    let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
    aside(move || run(program(&args, false), b"")).await
}

fn json(done: &Done) -> Value {
    serde_json::from_slice(&done.stdout).unwrap()
}

/// A proxy that speaks TLS and HTTP/1.1 for `localhost`, and has the router under `/router-1`.
async fn front(authority: &Authority, to: SocketAddr) -> u16 {
    let files = authority.signed("front", ExtendedKeyUsagePurpose::ServerAuth, |params| {
        let name = "localhost".try_into().unwrap();
        params.subject_alt_names.push(SanType::DnsName(name));
    });
    let chain = vec![CertificateDer::from_pem_file(&files[0]).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&files[1]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth();
    let mut config = config.with_single_cert(chain, key).unwrap();
    // The first that both know: a client that offers HTTP/2 gets it.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut near) = acceptor.accept(socket).await else {
                    return;
                };
                let mut head = Vec::new();
                while !head.windows(4).any(|part| part == b"\r\n\r\n") {
                    head.push(near.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let mut far = TcpStream::connect(to).await.unwrap();
                let head = head.replacen(" /router-1/", " /", 1);
                far.write_all(head.as_bytes()).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    port
}

/// The number of the only pair. It is that of the stream that came first, which may be either.
async fn pair_id(admin: SocketAddr) -> u64 {
    let listed = aside(move || get(admin, "/api/streams").json()).await;
    listed["streams"][0]["id"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_spoken_and_a_path_kept_and_the_certificate_checked() {
    let (_process, connector, admin) = router(&[]);
    let _pair = Pair::open(&connector, "behind a proxy").await;
    let authority = Authority::new("proxies");
    let port = front(&authority, admin).await;
    let url = format!("https://localhost:{port}/router-1/");
    let ca = authority.file();
    let ca = ca.to_str().unwrap();
    let listed = done(&["streams", "list", "--admin", &url, "--ca", ca]).await;
    listed.ended(0, &[]);
    assert!(
        listed.text().contains("behind a proxy"),
        "{}",
        listed.text()
    );
    let id = pair_id(admin).await.to_string();
    let ended = done(&["streams", "end", &id, "--admin", &url, "--insecure"]).await;
    ended.ended(0, &[]);

    let untrusted = done(&["top", "--once", "--admin", &url]).await;
    untrusted.ended(1, &["certificate", "--ca"]);
    let other = format!("https://127.0.0.1:{port}/router-1");
    let misnamed = done(&["top", "--once", "--admin", &other, "--ca", ca]).await;
    misnamed.ended(1, &["certificate"]);
    let plain = format!("https://{admin}");
    let no_tls = done(&["top", "--once", "--admin", &plain, "--ca", ca]).await;
    no_tls.ended(1, &["does not speak TLS", "http://"]);
    let to_tls = format!("http://localhost:{port}");
    let done = done(&["top", "--once", "--admin", &to_tls]).await;
    done.ended(1, &["is it http:// and not https://"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_a_port_or_more() {
    let (_process, _connector, admin) = router(&[]);
    let port = admin.port();
    for text in [
        format!("{port}"),
        format!(":{port}"),
        format!("localhost:{port}"),
    ] {
        done(&["streams", "list", "--admin", &text])
            .await
            .ended(0, &[]);
    }
    done(&["streams", "list", "--admin", "ftp://x"])
        .await
        .ended(1, &["--admin", "http://"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_routers_on_one_address_are_told_apart_and_the_drain_follows_the_one_it_asked() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let admin = format!("127.0.0.1:{port}");
    let settings = [
        ("listen.reuse_port", "true"),
        ("listen.admin_address", &*admin),
        ("drain.timeout", "30s"),
    ];
    let [(mut first, connector, _), (second, ..)] = [(); 2].map(|()| router(&settings));
    let pair = Pair::open(&connector, "at the first").await;
    let mut names = Vec::new();
    for process in [&first, &second] {
        // Whichever answers: all of them are asked until this one does.
        let pid = process.pid();
        let name = loop {
            let seen = done(&["top", "--once", "--json", "--admin", &admin]).await;
            let process = &json(&seen)["status"]["process"];
            if process["pid"] == pid {
                break process["id"].as_str().unwrap().to_owned();
            }
        };
        names.push(name);
    }
    assert_ne!(names[0], names[1]);
    for _ in 0..4 {
        for (name, has) in [(&names[0], true), (&names[1], false)] {
            let listed = done(&[
                "streams",
                "list",
                "--admin",
                &admin,
                "--process",
                &name[..6],
            ])
            .await;
            listed.ended(0, &[]);
            let text = listed.text();
            assert!(text.starts_with(&format!("router {name} (pid ")), "{text}");
            assert_eq!(text.contains("at the first"), has, "{text}");
        }
        let end = [
            "streams",
            "end",
            "1",
            "--admin",
            &admin,
            "--process",
            &names[1],
        ];
        done(&end).await.ended(1, &["no such stream"]);
    }
    let nobody = done(&["streams", "list", "--admin", &admin, "--process", "zz"]).await;
    nobody.ended(1, &["router zz does not answer", &names[0], &names[1]]);

    let (address, name) = (admin.clone(), names[0].clone());
    let drain = tokio::spawn(async move {
        done(&[
            "streams",
            "drain",
            "--wait",
            "--admin",
            &address,
            "--process",
            &name,
        ])
        .await
    });
    first.line("draining for at most 30s");
    // The other one answers there now, and the drain waits all the same.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(!drain.is_finished());
    drop(pair);
    let drained = drain.await.unwrap();
    drained.ended(0, &[]);
    let text = drained.text();
    let said = format!("router {} (pid {} on ", names[0], first.pid());
    assert!(
        text.starts_with(&said) && text.ends_with("has stopped\n"),
        "{text}"
    );
    assert_eq!(first.wait().code(), Some(0));
    done(&["streams", "list", "--admin", &admin, "--process", &names[1]])
        .await
        .ended(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_the_past_settings_and_the_log_filter_are_printed() {
    let (mut process, connector, address) = router(&[("log.filter", "info")]);
    let admin = address.to_string();
    let admin = ["--admin", &*admin];
    let pair = Pair::open(&connector, "gone by now").await;
    let id = pair_id(address).await;
    let (id, other) = (id.to_string(), (3 - id).to_string());
    let shown = done(&[&["streams", "show", &id], &admin[..]].concat()).await;
    shown.ended(0, &[]);
    assert!(
        shown
            .text()
            .contains(&format!("stream        {id}, paired")),
        "{}",
        shown.text()
    );
    drop(pair);
    process.line("stream ended");
    process.line("stream ended");

    let past = done(&[&["streams", "past"], &admin[..]].concat()).await;
    past.ended(0, &[]);
    let text = past.text();
    assert!(
        text.starts_with("ENDED") && text.contains("gone by now"),
        "{text}"
    );
    let past = done(
        &[
            &["streams", "past", "--json", "--filter", "GONE"],
            &admin[..],
        ]
        .concat(),
    )
    .await;
    assert_eq!(json(&past)["streams"][0]["subject"], "gone by now");
    let none = done(
        &[
            &["streams", "past", "--json", "--only", "refused"],
            &admin[..],
        ]
        .concat(),
    )
    .await;
    assert_eq!(json(&none)["matching"], 0);
    let shown = done(&[&["streams", "show", &id, "--json"], &admin[..]].concat()).await;
    assert_eq!(json(&shown)["kind"], "ended");
    let shown = done(&[&["streams", "show", &other], &admin[..]].concat()).await;
    shown.ended(1, &[&format!("no stream {other}")]);

    let config = done(&[&["streams", "config"], &admin[..]].concat()).await;
    config.ended(0, &[]);
    assert!(
        config.text().contains("log.filter = \"info\"  # "),
        "{}",
        config.text()
    );
    let filter = done(&[&["streams", "log-filter", "debug"], &admin[..]].concat()).await;
    assert!(filter.text().contains("debug"), "{}", filter.text());
    let filter = done(&[&["streams", "log-filter"], &admin[..]].concat()).await;
    assert!(filter.text().contains("debug"), "{}", filter.text());
    let wrong = done(&[&["streams", "log-filter", "inof"], &admin[..]].concat()).await;
    wrong.ended(1, &["400"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_only_reads_is_enough_to_look() {
    let (_process, _connector, admin) =
        router(&[("admin.token", TOKEN), ("admin.read_token", READ_TOKEN)]);
    let admin = admin.to_string();
    let with_token = |args: &[&str]| {
        let mut command = program(args, false);
        command.args(["--admin", &admin]);
        command.env("JUMPSTARTER_ROUTER_ADMIN_TOKEN", READ_TOKEN);
        aside(move || run(command, b""))
    };
    let listed = with_token(&["streams", "list"]).await;
    listed.ended(0, &[]);
    assert!(
        listed.text().contains("this token only reads"),
        "{}",
        listed.text()
    );
    with_token(&["streams", "end", "1"])
        .await
        .ended(1, &["only reads"]);
    with_token(&["streams", "drain"])
        .await
        .ended(1, &["only reads"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_no_further_has_seen_enough() {
    let (_process, _connector, admin) = router(&[]);
    for command in [
        "streams list",
        "streams past",
        "streams config",
        "top --json",
        "streams drain",
    ] {
        let script = format!("\"$0\" {command} --admin {admin}; echo $? >&2");
        let ended = aside(move || {
            let mut shell = std::process::Command::new("/bin/sh");
            let script = format!("sleep 0.1 | {{ {script} ; }} | true");
            shell.args(["-c", &script, env!("CARGO_BIN_EXE_jumpstarter-router")]);
            shell.output().unwrap()
        })
        .await;
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "0\n", "{command}");
    }
}

/// Plays routers at one address: each request is answered by what `answer` makes of its number and its head, or not at all.
async fn play(mut answer: impl FnMut(usize, &str) -> Option<String> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            if let Some(answer) = answer(number, std::str::from_utf8(&head).unwrap()) {
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    address
}

/// An answer of the process with this name, which runs nowhere; a router without one is an old one.
fn answer(name: &str, status: &str, body: &Value) -> String {
    let name = match name {
        "" => String::new(),
        name => format!("x-router-process: {name}\r\n"),
    };
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{name}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn status(name: &str) -> Value {
    let mut status = json!({
        "version": "0.0.9", "commit": "abc", "tls_provider": "ring", "cluster": null, "phase": "ready",
        "uptime_seconds": 1.0, "memory_pressure": "normal", "held_bytes": 0, "windows_granted_bytes": 0,
        "connections": 0, "waiting": 0, "pairs": 5, "stalled": 0, "forwarded_rate": 0,
        "totals": {
            "streams": 0, "pairs": 0, "refusals": 0, "forwarded_bytes": 0, "forwarded_messages": 0,
        },
    });
    if !name.is_empty() {
        status["process"] =
            json!({ "id": name, "pid": 1, "host": "far away", "started_unix_ms": 1 });
    }
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_router_is_understood_and_what_it_lacks_is_said() {
    let address = play(|_, head| {
        let answer = |status: &str, body: Value| Some(answer("", status, &body));
        if head.starts_with("GET /api/status ") {
            return answer("200 OK", status(""));
        }
        if head.starts_with("GET /api/streams?") {
            return answer(
                "200 OK",
                json!({ "total": 0, "matching": 0, "streams": [] }),
            );
        }
        answer("404 Not Found", json!({ "error": "there is nothing here" }))
    })
    .await;
    let listed = done(&["streams", "list", "--admin", &address]).await;
    listed.ended(0, &[]);
    assert!(
        listed
            .text()
            .starts_with("the router  ready, up 1.0s  0.0.9"),
        "{}",
        listed.text()
    );
    for (command, said) in [
        ("past", "keeps no past"),
        ("config", "does not show its settings"),
    ] {
        let done = done(&["streams", command, "--admin", &address]).await;
        done.ended(1, &[said, "older"]);
    }
    let done = done(&["streams", "show", "7", "--admin", &address]).await;
    done.ended(1, &["shows no single stream"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_does_not_take_another_router_for_the_end_of_the_one_it_asked() {
    let drain = |address: String| async move {
        done(&["streams", "drain", "--wait", "--admin", &address]).await
    };
    // It leaves its address to another at once: nobody knows when it ends.
    let shared = play(|number, _| match number {
        0 | 1 => Some(answer("aa", "202 Accepted", &status("aa"))),
        _ => Some(answer(
            "bb",
            "421 Misdirected Request",
            &json!({ "error": "no" }),
        )),
    })
    .await;
    let done = drain(shared).await;
    done.ended(
        1,
        &[
            "router aa does not answer",
            "there is bb",
            "another machine",
        ],
    );
    assert!(!done.text().contains("has stopped"), "{}", done.text());
    // Nobody answers in between: it was alone there, and has stopped.
    let alone = play(|number, _| match number {
        0 | 1 => Some(answer("aa", "202 Accepted", &status("aa"))),
        2 => None,
        _ => Some(answer(
            "bb",
            "421 Misdirected Request",
            &json!({ "error": "no" }),
        )),
    })
    .await;
    let done = drain(alone).await;
    done.ended(0, &[]);
    assert!(
        done.text()
            .ends_with("router aa (pid 1 on far away) has stopped\n"),
        "{}",
        done.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_one_process_is_done_by_no_other() {
    let (process, _connector, admin) = router(&[]);
    let address = admin.to_string();
    let seen = json(&done(&["top", "--once", "--json", "--admin", &address]).await);
    let name = seen["status"]["process"]["id"].as_str().unwrap().to_owned();
    let drain = |meant: &str| {
        let (host, meant) = (address.clone(), meant.to_owned());
        aside(move || {
            let headers = [
                ("Host", &*host),
                ("Content-Type", "application/json"),
                ("X-Router-Process", &meant),
            ];
            raw(admin, "POST /api/drain", &headers, "{}").status
        })
    };
    assert_eq!(drain("another").await, 421);
    let seen = aside(move || get(admin, "/api/status").json()).await;
    assert_eq!(seen["phase"], "ready");
    assert_eq!(drain(&name).await, 202);
    assert_eq!(process.wait().code(), Some(0));
}
