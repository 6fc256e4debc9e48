//! `forward` between processes: many connections at once, a file, endings, and ends that meet the wrong one.
//!
//! The file has 64 MiB. With the release binary and a gigabyte:
//! `FORWARD_MIB=1024 cargo test --release --test forward a_file`.
#![allow(clippy::unwrap_used)]

mod helpers;

use std::{
    hash::{DefaultHasher, Hasher as _},
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    thread,
    time::{Duration, Instant},
};

use helpers::{
    LONG,
    process::{Process, usual},
    program::{Program, program},
};

fn router(settings: &[(&str, &str)]) -> (Process, String) {
    let mut router = Process::start(usual(settings));
    let address = router.address();
    (router, address)
}

fn forward(router: &str, subject: &str, more: &[&str]) -> Program {
    let args = [
        "forward",
        "--router",
        router,
        "--insecure",
        "--subject",
        subject,
    ];
    Program::start(program(&[&args, more].concat(), true))
}

/// Both ends, and where connections are accepted.
fn ends(router: &str, subject: &str, to: &str) -> (Program, Program, String) {
    let mut far = forward(router, subject, &["--to", to]);
    far.says("waiting at");
    let (near, address) = near(router, subject);
    (near, far, address)
}

fn near(router: &str, subject: &str) -> (Program, String) {
    let mut near = forward(router, subject, &["--listen", "127.0.0.1:0"]);
    let line = near.says("listening on ");
    let address = line["listening on ".len()..].split(',').next().unwrap();
    let address = address.to_owned();
    (near, address)
}

fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket
}

/// A service that answers each line with the same, as a shell does with what is typed.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                // As SSH: the server speaks first.
                let _ = socket.write_all(b"banner\n");
                let mut copy = socket.try_clone().unwrap();
                let _ = std::io::copy(&mut socket, &mut copy);
                let _ = copy.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

fn banner(socket: &mut TcpStream) {
    let mut first = [0; 7];
    socket.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"banner\n");
}

/// Many small messages both ways, each awaited, as when somebody types.
fn session(address: &str, seed: u32, keys: u32) {
    let mut socket = connect(address);
    socket.set_nodelay(true).unwrap();
    banner(&mut socket);
    for key in 0..keys {
        let typed = [seed, key].map(u32::to_be_bytes).concat();
        socket.write_all(&typed).unwrap();
        let mut echoed = [0; 8];
        socket.read_exact(&mut echoed).unwrap();
        assert_eq!(echoed[..], typed[..], "connection {seed}, key {key}");
    }
    socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(socket.read(&mut [0; 1]).unwrap(), 0, "a proper end");
}

#[test]
fn several_sessions_at_once_are_not_mixed_up() {
    let (_router, router) = router(&[]);
    let (_near, _far, address) = ends(&router, "sessions", &echo());
    let sessions: Vec<_> = (0..12)
        .map(|seed| {
            let address = address.clone();
            thread::spawn(move || session(&address, seed, 200))
        })
        .collect();
    for session in sessions {
        session.join().unwrap();
    }
}

#[test]
fn a_file_arrives_as_it_was() {
    let mib: u64 = std::env::var("FORWARD_MIB").map_or(64, |mib| mib.parse().unwrap());
    let (_router, router) = router(&[]);
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let received = {
        let service = service.try_clone().unwrap();
        thread::spawn(move || {
            let (mut socket, _) = service.accept().unwrap();
            let (mut hash, mut length) = (DefaultHasher::new(), 0);
            let mut buffer = vec![0; 1 << 18];
            let mut odd = Vec::new();
            loop {
                let read = socket.read(&mut buffer).unwrap();
                if read == 0 {
                    break;
                }
                length += read as u64;
                // In pieces of one size, as the hash depends on them.
                odd.extend_from_slice(&buffer[..read]);
                let whole = odd.len() / 4096 * 4096;
                for piece in odd[..whole].chunks(4096) {
                    hash.write(piece);
                }
                odd.drain(..whole);
            }
            hash.write(&odd);
            // The answer to the end of the file.
            socket.write_all(&hash.finish().to_be_bytes()).unwrap();
            (length, hash.finish())
        })
    };
    let to = service.local_addr().unwrap().to_string();
    let (_near, _far, address) = ends(&router, "file", &to);
    let mut socket = connect(&address);
    let start = Instant::now();
    let mut hash = DefaultHasher::new();
    let mut state = 88_172_645_463_325_252_u64;
    let mut block = vec![0; 1 << 20];
    for _ in 0..mib {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        for piece in block.chunks(4096) {
            hash.write(piece);
        }
        socket.write_all(&block).unwrap();
    }
    hash.write(&[]);
    socket.shutdown(Shutdown::Write).unwrap();
    let mut answer = [0; 8];
    socket.read_exact(&mut answer).unwrap();
    let took = start.elapsed();
    assert_eq!(u64::from_be_bytes(answer), hash.finish());
    assert_eq!(received.join().unwrap(), (mib << 20, hash.finish()));
    println!(
        "{mib} MiB in {:.1} s, {:.0} MB/s",
        took.as_secs_f64(),
        (mib << 20) as f64 / 1e6 / took.as_secs_f64()
    );
}

#[test]
fn unix_sockets_on_both_ends() {
    let (_router, router) = router(&[]);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let service = UnixListener::bind(path("service")).unwrap();
    thread::spawn(move || {
        let (mut socket, _) = service.accept().unwrap();
        let mut heard = String::new();
        socket.read_to_string(&mut heard).unwrap();
        socket.write_all(heard.to_uppercase().as_bytes()).unwrap();
    });
    let mut far = forward(
        &router,
        "unix",
        &["--to", &format!("unix:{}", path("service"))],
    );
    far.says("waiting at");
    // What an earlier process has left behind is no obstacle.
    drop(UnixListener::bind(path("local")).unwrap());
    let mut near = forward(&router, "unix", &["--listen", &path("local")]);
    near.says("listening on");
    let mut socket = UnixStream::connect(path("local")).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket.write_all(b"quiet").unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    socket.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "QUIET");
    near.signal("TERM");
    near.wait().ended(0, &[]);
    assert!(
        !directory.path().join("local").exists(),
        "it takes its socket away"
    );
}

#[test]
fn a_killed_end_is_no_proper_end() {
    let (_router, router) = router(&[]);
    let (mut near, mut far, address) = ends(&router, "killed", &echo());
    let mut socket = connect(&address);
    banner(&mut socket);
    far.kill();
    let error = socket.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    near.says("the other side");

    // The next process takes over.
    let mut far = forward(&router, "killed", &["--to", &echo()]);
    far.says("waiting at");
    session(&address, 1, 3);
}

#[test]
fn a_service_that_is_not_there_is_named() {
    let (_router, router) = router(&[]);
    let (mut near, _far, address) = ends(&router, "no service", "127.0.0.1:1");
    let mut socket = connect(&address);
    assert!(socket.read(&mut [0; 1]).is_err(), "the connection is reset");
    let line = near.says("closed: ");
    assert!(line.contains("cannot connect to 127.0.0.1:1"), "{line}");
}

#[test]
fn two_listening_ends_share_one_service() {
    let (_router, router) = router(&[]);
    let (_near, far, address) = ends(&router, "two", &echo());
    let (_other, other_address) = self::near(&router, "two");
    let sessions: Vec<_> = (0..6)
        .map(|seed| {
            let address = if seed % 2 == 0 {
                &address
            } else {
                &other_address
            };
            let address = address.clone();
            thread::spawn(move || session(&address, seed, 20))
        })
        .collect();
    for session in sessions {
        session.join().unwrap();
    }
    far.signal("TERM");
    far.wait().ended(0, &[]);
}

#[test]
fn ends_that_do_not_fit_together_say_so() {
    let (_router, router) = router(&[("pairing.timeout", "1s")]);
    // Nobody at the other end.
    let (mut lonely, address) = near(&router, "lonely");
    assert!(connect(&address).read(&mut [0; 1]).is_err());
    lonely.says("did not connect");
    // Something else at the other end.
    let (mut odd, address) = near(&router, "odd");
    let args = [
        "pipe",
        "--router",
        &router,
        "--insecure",
        "--subject",
        "odd",
    ];
    let mut pipe = Program::start(program(&args, true));
    pipe.write(b"hello\n");
    assert!(connect(&address).read(&mut [0; 1]).is_err());
    odd.says("no `forward`");
    // Two that connect.
    let mut one = forward(&router, "twice", &["--to", "127.0.0.1:1"]);
    one.says("waiting at");
    let mut other = forward(&router, "twice", &["--to", "127.0.0.1:1"]);
    other.says("only one may run");
}

#[test]
fn the_waiting_end_outlives_the_pairing_timeout_and_the_router() {
    let (first, router) = router(&[("pairing.timeout", "300ms")]);
    let (_near, mut far, address) = ends(&router, "outlives", &echo());
    thread::sleep(Duration::from_secs(1));
    session(&address, 1, 3);
    drop(first);
    far.says("trying again");
    let settings = [("listen.address", router.as_str())];
    let mut again = Process::start(usual(&settings));
    again.line("serving");
    let start = Instant::now();
    loop {
        let mut socket = connect(&address);
        let mut first = [0; 7];
        if socket.read_exact(&mut first).is_ok() {
            break;
        }
        assert!(
            start.elapsed() < LONG,
            "nobody serves after the router has come back"
        );
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_cannot_begin_ends_with_a_code() {
    let (_router, router) = router(&[]);
    let start = |more: &[&str]| {
        let args = [
            "forward",
            "--router",
            &router,
            "--insecure",
            "--token",
            "no.such.token",
        ];
        Program::start(program(&[&args, more].concat(), false))
    };
    start(&["--to", "127.0.0.1:1"])
        .wait()
        .ended(4, &["invalid jwt token"]);
    start(&["--listen", "203.0.113.1:1"])
        .wait()
        .ended(1, &["cannot listen on 203.0.113.1:1"]);
    start(&[]).wait().ended(2, &["--listen"]);
    start(&["--to", "22"])
        .wait()
        .ended(2, &["host:port, or unix:PATH"]);
    let mut gone = forward("127.0.0.1:1", "x", &["--listen", "127.0.0.1:0"]);
    gone.close();
    gone.wait().ended(3, &["127.0.0.1:1"]);
}
