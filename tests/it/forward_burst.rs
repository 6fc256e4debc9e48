//! Many connections at once through `forward`: how many streams they take, and that they do not get into each other's way.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use jumpstarter_router::inside::cli::load::delay;
use socket2::SockRef;
use tokio::runtime::Runtime;

use crate::helpers::{
    LONG,
    ends::{banner, connect, echo, ends, forward, near, router, session},
};

/// Longer than what counts as a burst.
const NO_BURST: Duration = Duration::from_millis(1500);

/// A path to the router whose connections are counted, and can be cut.
#[derive(Clone)]
struct Path {
    address: String,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Path {
    fn to(router: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (router, list) = (router.to_owned(), connections.clone());
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = TcpStream::connect(&router).unwrap();
                list.lock().unwrap().push(near.try_clone().unwrap());
                for (mut from, mut to) in [
                    (near.try_clone().unwrap(), far.try_clone().unwrap()),
                    (far, near),
                ] {
                    from.set_nodelay(true).unwrap();
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self {
            address,
            connections,
        }
    }

    fn count(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    fn cut(&self, at: usize) {
        let connection = &self.connections.lock().unwrap()[at];
        connection.shutdown(Shutdown::Both).unwrap();
    }
}

/// A service that does as the first byte says: sends without end, resets, or answers with the same.
fn service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut first = [0; 1];
                if socket.read_exact(&mut first).is_err() {
                    return;
                }
                match &first {
                    b"f" => while socket.write_all(&[0; 16_384]).is_ok() {},
                    b"r" => SockRef::from(&socket)
                        .set_linger(Some(Duration::ZERO))
                        .unwrap(),
                    _ => {
                        socket.write_all(&first).unwrap();
                        let mut copy = socket.try_clone().unwrap();
                        let _ = std::io::copy(&mut socket, &mut copy);
                        let _ = copy.shutdown(Shutdown::Write);
                    }
                }
            });
        }
    });
    address
}

fn ask(address: &str, what: &[u8]) -> TcpStream {
    let mut socket = connect(address);
    socket.write_all(what).unwrap();
    socket
}

/// The answer to what was asked of the service that says the same.
fn answer(socket: &mut TcpStream, expected: u8) {
    let mut answer = [0; 1];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [expected]);
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Over a round trip of 100 ms, each connection took four of them after the one before.
#[test]
fn a_burst_takes_as_long_as_one() {
    let count = number("FORWARD_BURST", 40) as u32;
    let delay = Duration::from_millis(number("FORWARD_ROUND_TRIP_MS", 100) / 2);
    let (_router, router) = router(&[]);
    let runtime = Runtime::new().unwrap();
    let far_away = runtime.block_on(delay::start(router, delay));
    let far_away = far_away.unwrap().to_string();
    let path = Path::to(&far_away);
    let mut far = forward(&far_away, "burst", &["--to", &echo()]);
    far.says("waiting at");
    let (_near, address) = near(&path.address, "burst");
    let before = path.count();
    let (done, all) = mpsc::channel();
    let start = Instant::now();
    for seed in 0..count {
        let (address, done) = (address.clone(), done.clone());
        thread::spawn(move || {
            let mut socket = connect(&address);
            banner(&mut socket);
            let took = start.elapsed();
            socket.write_all(&seed.to_be_bytes()).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            let mut echoed = Vec::new();
            socket.read_to_end(&mut echoed).unwrap();
            assert_eq!(echoed, seed.to_be_bytes());
            done.send(took).unwrap();
        });
    }
    drop(done);
    let mut took: Vec<_> = all.iter().collect();
    assert_eq!(took.len(), count as usize, "all end as they should");
    took.sort_unstable();
    let streams = path.count() - before;
    let [first, median, last] = [0, took.len() / 2, took.len() - 1].map(|at| took[at]);
    println!(
        "{count} connections: the first after {first:.2?}, half after {median:.2?}, the last after {last:.2?}; {streams} streams"
    );
    assert_eq!(streams, took.len().div_ceil(128), "they share streams");
    assert!(last < Duration::from_secs(8), "{last:?}");
}

#[test]
fn connections_that_come_one_by_one_have_streams_of_their_own_and_break_alone() {
    let (_router, router) = router(&[]);
    let path = Path::to(&router);
    let mut far = forward(&router, "alone", &["--to", &service()]);
    far.says("waiting at");
    let (_near, address) = near(&path.address, "alone");
    let before = path.count();
    let mut one = ask(&address, b"1");
    answer(&mut one, b'1');
    thread::sleep(NO_BURST);
    let mut other = ask(&address, b"2");
    answer(&mut other, b'2');
    assert_eq!(path.count() - before, 2);
    // The stream that carries nothing any more is there for the next one.
    drop(one);
    thread::sleep(NO_BURST);
    let mut third = ask(&address, b"3");
    answer(&mut third, b'3');
    assert_eq!(path.count() - before, 2);

    path.cut(before);
    let error = third.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    other.write_all(b"x").unwrap();
    answer(&mut other, b'x');
    // And so is a new one.
    answer(&mut ask(&address, b"4"), b'4');
}

#[test]
fn what_happens_to_one_connection_is_nothing_to_others_on_its_stream() {
    let (_router, router) = router(&[]);
    let path = Path::to(&router);
    let mut far = forward(&router, "shared", &["--to", &service()]);
    far.says("waiting at");
    let (_near, address) = near(&path.address, "shared");
    let before = path.count();
    let flood = ask(&address, b"f");
    let mut reset = ask(&address, b"r");
    let mut quiet = ask(&address, b"q");
    answer(&mut quiet, b'q');
    assert_eq!(path.count() - before, 1, "they share a stream");
    let error = reset.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    // Nobody reads the flood: its window fills up, and those of others do not.
    for key in 0..40_u8 {
        quiet.write_all(&[key]).unwrap();
        answer(&mut quiet, key);
        thread::sleep(Duration::from_millis(25));
    }
    // A reset of a client is one of the service.
    SockRef::from(&flood)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(flood);
    far.says("the other side broke off this connection");
    // One direction's end is not the other's.
    quiet.write_all(b"last").unwrap();
    quiet.shutdown(Shutdown::Write).unwrap();
    let mut last = String::new();
    quiet.read_to_string(&mut last).unwrap();
    assert_eq!(last, "last");
}

/// More connections than the other end serves at once wait for a place.
#[test]
fn the_other_ends_limit_makes_connections_wait() {
    let (_router, router) = router(&[]);
    let more = ["--to", &service(), "--max-connections", "1"];
    let mut far = forward(&router, "limit", &more);
    far.says("waiting at");
    let (_near, address) = near(&router, "limit");
    let mut one = ask(&address, b"1");
    answer(&mut one, b'1');
    let mut other = ask(&address, b"2");
    other.set_read_timeout(Some(NO_BURST)).unwrap();
    let waits = other.read(&mut [0; 1]).unwrap_err().kind();
    assert_eq!(waits, ErrorKind::WouldBlock);
    other.set_read_timeout(Some(LONG)).unwrap();
    drop(one);
    answer(&mut other, b'2');
}

#[test]
fn a_stream_that_carries_nothing_is_closed_when_its_router_drains() {
    let (mut router, at) = router(&[]);
    let (_near, _far, address) = ends(&at, "drain", &echo());
    session(&address, 1, 2);
    let start = Instant::now();
    router.signal("TERM");
    let ended = loop {
        // The stream that waits for the next one is ended, too.
        let ended = router.line("stream ended");
        if ended.get("other_peer").is_some() {
            break ended;
        }
    };
    assert_eq!(ended["status"], "OK", "{ended}");
    router.wait();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}
