//! What programs at Unix sockets see when a tunnel breaks.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::helpers::{
    LONG,
    ends::{forward, router},
    program::Program,
};

/// Both ends with Unix sockets, and the two programs at them, joined.
fn joined(router: &str, subject: &str, quiet: bool) -> (Program, Program, UnixStream, UnixStream) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let service = UnixListener::bind(path("service")).unwrap();
    let (joined, join) = mpsc::channel();
    thread::spawn(move || joined.send(service.accept().unwrap().0));
    let start = |end: &str, name: &str| {
        let path = path(name);
        let mut more = vec![end, path.as_str()];
        more.extend(quiet.then_some("--quiet"));
        forward(router, subject, &more)
    };
    let far = start("--to", "service");
    let near = start("--listen", "local");
    // With `--quiet` it does not say that it listens.
    let end = Instant::now() + LONG;
    let client = loop {
        match UnixStream::connect(path("local")) {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    let server = join.recv_timeout(LONG).unwrap();
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(LONG)).unwrap();
    }
    (near, far, client, server)
}

fn hears(socket: &mut UnixStream, expected: &[u8]) {
    let mut heard = vec![0; expected.len()];
    socket.read_exact(&mut heard).unwrap();
    assert_eq!(heard, expected);
}

#[test]
fn a_tunnel_that_breaks_is_an_error_for_both_programs() {
    let (_router, router) = router(&[]);
    let (_near, mut far, mut client, mut server) = joined(&router, "breaks", false);
    client.write_all(b"a request").unwrap();
    hears(&mut server, b"a request");
    server.write_all(b"half of the an").unwrap();
    hears(&mut client, b"half of the an");
    // The other way round, and in small steps: nothing is kept back, and nothing comes twice.
    for step in 0..20_u8 {
        client.write_all(&[step]).unwrap();
        hears(&mut server, &[step]);
        server.write_all(&[step; 3]).unwrap();
        hears(&mut client, &[step; 3]);
    }
    far.kill();
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn the_service_sees_it_too() {
    let (_router, router) = router(&[]);
    let (mut near, _far, mut client, mut server) = joined(&router, "service", false);
    server.write_all(b"banner").unwrap();
    hears(&mut client, b"banner");
    near.kill();
    let error = server.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// The system has no way then.
#[test]
fn where_the_program_cannot_see_it_a_line_says_so_even_with_quiet() {
    let (_router, router) = router(&[]);
    let (mut near, mut far, mut client, mut server) = joined(&router, "unseen", true);
    server.write_all(b"banner").unwrap();
    hears(&mut client, b"banner");
    far.kill();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    near.says("warning: connection 1 broke, and the program at the Unix socket sees a proper end");
}

#[test]
fn a_proper_end_is_one_and_long_data_arrives_as_it_was() {
    let (_router, router) = router(&[]);
    let (_near, _far, mut client, mut server) = joined(&router, "proper", false);
    let sent: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut writer = client.try_clone().unwrap();
    let long = sent.clone();
    let writing = thread::spawn(move || {
        // In pieces of all lengths, those at which a byte is kept and others.
        let mut at = 0;
        for length in [1, 2, 2047, 2048, 2049, 1, 5000, 1].into_iter().cycle() {
            let end = (at + length).min(long.len());
            writer.write_all(&long[at..end]).unwrap();
            at = end;
            if at == long.len() {
                break;
            }
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).unwrap();
    assert!(heard == sent, "{} bytes of {}", heard.len(), sent.len());
    writing.join().unwrap();
    server.write_all(b"taken").unwrap();
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "taken");
}
