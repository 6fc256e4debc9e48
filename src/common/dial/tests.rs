#![allow(clippy::unwrap_used)]

use std::net::TcpListener;

use socket2::{Domain, Socket, Type};

use super::*;

/// Holds an address that drops what calls it: nobody accepts, and no room is left to wait.
struct Hole {
    address: SocketAddr,
    _sockets: Vec<Socket>,
}

impl Hole {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut sockets = vec![listener];
        for _ in 0..4 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            sockets.push(socket);
        }
        Self {
            address,
            _sockets: sockets,
        }
    }
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn families_take_turns_and_the_systems_first_begins() {
    let found = addresses(&["[::1]:1", "[::2]:1", "[::1]:1", "1.1.1.1:1", "[::3]:1"]);
    let turns = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
    assert_eq!(alternating(found), turns);
    let found = addresses(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"]);
    let turns = addresses(&["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]);
    assert_eq!(alternating(found), turns);
    assert_eq!(alternating(vec![]), vec![]);
}

#[tokio::test]
async fn an_address_that_is_silent_costs_a_quarter_of_a_second_and_one_that_refuses_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = listener.local_addr().unwrap();
    let hole = Hole::new();
    let began = Instant::now();
    let until = began + Duration::from_secs(5);
    let reached = first(&[free(), free(), good], until).await.unwrap();
    assert_eq!(reached.peer_addr().unwrap(), good);
    assert!(began.elapsed() < NEXT, "{:?}", began.elapsed());
    let began = Instant::now();
    let reached = first(&[hole.address, good], until).await.unwrap();
    assert_eq!(reached.peer_addr().unwrap(), good);
    let took = began.elapsed();
    assert!(took >= NEXT && took < NEXT * 4, "{took:?}");
}

#[tokio::test]
async fn an_error_names_every_address_with_what_was_wrong_there() {
    let (hole, refusing) = (Hole::new(), free());
    let until = Instant::now() + Duration::from_millis(600);
    let error = first(&[hole.address, refusing], until).await.unwrap_err();
    let text = format!(
        "{refusing}: connection refused; {}: no answer in 0.6 s",
        hole.address
    );
    assert_eq!(error.to_string(), text);
    assert!(error.is_silent() && !error.is_refused());
    let until = until + Duration::from_secs(5);
    let error = first(&[refusing], until).await.unwrap_err();
    assert!(error.is_refused() && !error.is_silent());
}

#[tokio::test]
async fn a_name_without_addresses_is_named() {
    let until = Instant::now() + Duration::from_secs(20);
    let error = tcp("nobody.invalid:1", until)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("\"nobody.invalid\" has no address that this machine can find: "),
        "{error}"
    );
    assert!(!error.contains("os error"), "{error}");
}

#[test]
fn the_host_of_an_endpoint() {
    for (endpoint, expected) in [
        ("a.test:1", "a.test"),
        ("[::1]:1", "::1"),
        ("1.2.3.4:5", "1.2.3.4"),
    ] {
        assert_eq!(host(endpoint), expected);
    }
}
