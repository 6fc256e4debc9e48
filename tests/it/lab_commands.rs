//! `listen` and `dial` through a lab, with the configuration files that it writes.

use std::path::Path;

use crate::helpers::{
    lab::Bench,
    program::{Program, program, run},
    until_async, within,
};
use jumpstarter_router::{
    client::{ControllerConfig, Role, Session},
    protocol::client::v1::{CreateLeaseRequest, DeleteLeaseRequest, Lease},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const NAME: &str = "namespaces/default/leases/session";

/// The words, for whoever has that configuration file of the lab.
fn as_jmp(folder: &Path, kind: &str, name: &str, words: &[&str]) -> std::process::Command {
    let file = folder.join(kind).join(format!("{name}.yaml"));
    let option = if kind == "clients" {
        "--client-config"
    } else {
        "--exporter-config"
    };
    let mut args = words.to_vec();
    args.extend([option, file.to_str().unwrap()]);
    program(&args, false)
}

async fn echo() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    (address, serving)
}

async fn is_echoed<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: T) {
    let sent: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
    let (mut read, mut write) = tokio::io::split(stream);
    let sending = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let both = async { tokio::join!(sending, read.read_to_end(&mut heard)) };
    within("the echo", both).await.1.unwrap();
    assert_eq!(heard, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_the_lab_is_served_and_dialled() {
    let lab = Bench::start().await;
    let (service, serving) = echo().await;
    let listen = as_jmp(
        lab.folder(),
        "exporters",
        "x",
        &["listen", "--to", &service],
    );
    let mut listen = Program::start(listen);
    listen.says("registered");

    let mut clients = lab.client("me").await.clients();
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
        lease_id: "session".to_owned(),
        lease: Some(lease),
    };
    clients.create_lease(create).await.unwrap();

    // The library, by the same file.
    let file = lab.folder().join("clients/me.yaml");
    let config = ControllerConfig::load(&file, Role::Client).unwrap();
    let session = Session::new(&config).unwrap();
    is_echoed(
        within("a stream", session.connect("session"))
            .await
            .unwrap(),
    )
    .await;

    let words = ["dial", "--lease", "session", "--listen", "127.0.0.1:0"];
    let mut dial = Program::start(as_jmp(lab.folder(), "clients", "me", &words));
    let line = dial.says("listening on ");
    let address = line["listening on ".len()..].split(',').next().unwrap();
    let two = [TcpStream::connect(address), TcpStream::connect(address)];
    let [one, other] = two.map(|connecting| async { is_echoed(connecting.await.unwrap()).await });
    tokio::join!(one, other);

    // Without a file: all of it is in the environment.
    let mut named = program(&["dial", "--lease", "session"], false);
    named.env("JMP_NAMESPACE", "default").env("JMP_NAME", "me");
    named.env("JMP_ENDPOINT", lab.endpoint());
    named.env("JMP_TOKEN", lab.token("clients", "me"));
    named.env("JMP_GRPC_INSECURE", "1");
    let dialled = tokio::task::spawn_blocking(move || run(named, b"hello"))
        .await
        .unwrap();
    dialled.ended(0, &[]);
    assert_eq!(dialled.text(), "hello");

    // Somebody else's lease.
    let words = ["dial", "--lease", "session"];
    let stranger = as_jmp(lab.folder(), "clients", "you", &words);
    let refused = tokio::task::spawn_blocking(move || run(stranger, b""));
    let refused = refused.await.unwrap();
    refused.ended(4, &["permission denied"]);

    let delete = DeleteLeaseRequest {
        name: NAME.to_owned(),
    };
    clients.delete_lease(delete).await.unwrap();
    listen.says("the lease has ended");
    let late = as_jmp(lab.folder(), "clients", "me", &words);
    let late = tokio::task::spawn_blocking(move || run(late, b"")).await;
    late.unwrap().ended(4, &["jmp get leases"]);

    listen.signal("TERM");
    let ended = tokio::task::spawn_blocking(|| listen.wait()).await;
    ended.unwrap().ended(0, &[]);
    dial.signal("TERM");
    let ended = tokio::task::spawn_blocking(|| dial.wait()).await;
    ended.unwrap().ended(0, &[]);
    until_async("the streams are gone", async || lab.streams() == 0).await;
    lab.stop().await;
    serving.abort();
}
