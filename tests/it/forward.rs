//! `forward` between processes: sockets of both kinds, endings, and ends that meet the wrong one. What it carries is in
//! `forward_data`.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    thread,
    time::{Duration, Instant},
};

use crate::helpers::{
    self, LONG,
    ends::{banner, connect, echo, ends, forward, near, router, session},
    process::{Process, usual},
    program::{Program, program},
    token,
};
use jumpstarter_router::client::{Connector, RouterStream, Trust};
use tokio::runtime::Runtime;

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
    let (mut one, mut far, address) = ends(&router, "two", &echo());
    let (mut other, other_address) = near(&router, "two");
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
    let broken = sessions.into_iter().map(thread::JoinHandle::join);
    let broken = broken.filter(Result::is_err).count();
    let said = [one.said(), other.said(), far.said()];
    assert_eq!(broken, 0, "{said:#?}");
    far.signal("TERM");
    far.wait().ended(0, &[]);
}

/// Two listening ends that meet break off, the quicker one before the other has heard from it.
#[test]
fn a_partner_that_breaks_off_at_once_costs_no_connection() {
    let (_router, router) = router(&[]);
    let (mut near, address) = near(&router, "breaks off");
    let mut socket = connect(&address);
    near.says("from ");
    let connector = Connector::new(&router, Trust::Insecure).unwrap();
    Runtime::new().unwrap().block_on(async {
        let token = token("breaks off");
        let mut partner = RouterStream::connect(&connector, &token).await.unwrap();
        partner.answered().await.unwrap();
        partner.cancel().await;
    });
    near.says("broke off before it said what it is; trying again");
    let mut far = forward(&router, "breaks off", &["--to", &echo()]);
    far.says("waiting at");
    banner(&mut socket);
}

/// One that does so again and again is not met again as fast as it can be.
#[test]
fn partners_that_break_off_are_met_with_pauses() {
    let (_router, router) = router(&[]);
    let mut far = forward(&router, "breaks off", &["--to", &echo()]);
    far.says("waiting at");
    let connector = Connector::new(&router, Trust::Insecure).unwrap();
    let met = Runtime::new().unwrap().block_on(async {
        let token = token("breaks off");
        let mut met = 0;
        let _ = tokio::time::timeout(Duration::from_secs(3), async {
            loop {
                let mut partner = RouterStream::connect(&connector, &token).await.unwrap();
                partner.answered().await.unwrap();
                partner.cancel().await;
                met += 1;
            }
        })
        .await;
        met
    });
    // After pauses of at least 125 ms, 250 ms, 500 ms, 1 s.
    assert!((2..=5).contains(&met), "{met} in 3 s");
    far.says("broke off before it said what it is; trying again in");
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
    // The near end has so long, too, however busy the machine is.
    let (first, router) = router(&[("pairing.timeout", "1s")]);
    let (_near, mut far, address) = ends(&router, "outlives", &echo());
    thread::sleep(Duration::from_millis(2500));
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
    start(&["--to", "host"])
        .wait()
        .ended(2, &["host:port", "or unix:PATH"]);
    let mut gone = forward("127.0.0.1:1", "x", &["--listen", "127.0.0.1:0"]);
    gone.close();
    gone.wait().ended(3, &["127.0.0.1:1"]);
}

#[test]
fn an_expired_token_ends_no_connection() {
    let (_router, router) = router(&[]);
    let minted = program(&["token", "mint", "--lifetime", "3s"], true);
    let token = helpers::program::run(minted, b"").text();
    let start = |end: &[&str]| {
        let args = ["forward", "--router", &router, "--insecure"];
        let args = [&args, end].concat();
        let mut command = program(&args, false);
        command.env("JUMPSTARTER_ROUTER_TOKEN", token.trim());
        Program::start(command)
    };
    let mut far = start(&["--to", &echo()]);
    far.says("waiting at");
    let mut near = start(&["--listen", "127.0.0.1:0"]);
    let address = helpers::ends::listening(&mut near);
    let mut socket = connect(&address);
    banner(&mut socket);
    thread::sleep(Duration::from_secs(4));
    assert!(connect(&address).read(&mut [0; 1]).is_err());
    near.says("1 go on");
    assert!(
        TcpStream::connect(&address).is_err(),
        "nobody listens any more"
    );
    socket.write_all(b"still here").unwrap();
    let mut echoed = [0; 10];
    socket.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"still here");
    socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(socket.read(&mut echoed).unwrap(), 0);
    near.wait()
        .ended(4, &["the router refused: invalid jwt token"]);
}
