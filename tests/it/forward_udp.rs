//! Datagrams through `forward`: their lengths, and servers that answer from another port, as TFTP's.

use std::{net::UdpSocket, thread, time::Duration};

use crate::helpers::{
    LONG,
    ends::{connect, forward, listening, near, router},
    program::Program,
};

fn socket() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

/// Both ends, and where datagrams are taken in.
fn ends(router: &str, subject: &str, to: &str) -> (Program, Program, String) {
    let mut far = forward(router, subject, &["--to", &format!("udp:{to}")]);
    far.says("waiting at");
    let mut near = forward(router, subject, &["--listen", "udp:127.0.0.1:0"]);
    let address = listening(&mut near);
    let address = address.strip_prefix("udp:").unwrap().to_owned();
    (near, far, address)
}

/// Answers each datagram with the same.
fn echo() -> String {
    let (service, address) = socket();
    service.set_read_timeout(None).unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, from)) = service.recv_from(&mut buffer) {
            service.send_to(&buffer[..length], from).unwrap();
        }
    });
    address
}

#[test]
fn datagrams_keep_their_lengths_and_clients_are_not_mixed_up() {
    let (_router, router) = router(&[]);
    let (mut near, _far, address) = ends(&router, "lengths", &echo());
    let clients = [socket().0, socket().0, socket().0];
    let mut buffer = vec![0; 65_536];
    for length in [1, 0, 512, 516, 1404, 1472, 9000, 65_507] {
        for (seed, client) in clients.iter().enumerate() {
            client.send_to(&vec![seed as u8; length], &address).unwrap();
        }
        for (seed, client) in clients.iter().enumerate() {
            let (got, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((got, from.to_string()), (length, address.clone()));
            assert!(buffer[..got].iter().all(|&byte| byte == seed as u8));
        }
    }
    let said = near.said().matches(": from 127.0.0.1:").count();
    assert_eq!(said, clients.len(), "{}", near.said());
}

/// A server that sends blocks of a file from a port of its own for each transfer, each after the one before was
/// acknowledged there.
fn blocks(count: u16) -> String {
    let (service, address) = socket();
    service.set_read_timeout(None).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 600];
        while let Ok((length, client)) = service.recv_from(&mut buffer) {
            assert_eq!(&buffer[..length], b"read");
            thread::spawn(move || {
                let (transfer, _) = socket();
                for block in 1..=count {
                    let mut data = vec![block as u8; 514];
                    data[..2].copy_from_slice(&block.to_be_bytes());
                    transfer.send_to(&data, client).unwrap();
                    let mut heard = [0; 2];
                    let (_, from) = transfer.recv_from(&mut heard).unwrap();
                    assert_eq!((heard, from), (block.to_be_bytes(), client));
                }
            });
        }
    });
    address
}

#[test]
fn a_server_may_answer_from_another_port_for_each_transfer() {
    let (_router, router) = router(&[]);
    let (_near, _far, address) = ends(&router, "tftp", &blocks(50));
    let (client, _) = socket();
    let mut ports = Vec::new();
    for _ in 0..3 {
        client.send_to(b"read", &address).unwrap();
        let mut transfer = None;
        for block in 1..=50_u16 {
            let mut data = [0; 600];
            let (length, from) = client.recv_from(&mut data).unwrap();
            assert_eq!(length, 514);
            assert_eq!(data[..2], block.to_be_bytes());
            // As TFTP's clients do, which take another port for a mistake.
            assert_eq!(*transfer.get_or_insert(from), from);
            client.send_to(&block.to_be_bytes(), from).unwrap();
        }
        ports.extend(transfer);
    }
    assert!(ports.iter().all(|port| port.to_string() != address));
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 3, "each transfer has a port of its own");
}

#[test]
fn ends_of_two_kinds_say_so() {
    let (_router, router) = router(&[]);
    let mut far = forward(&router, "kinds", &["--to", &format!("udp:{}", echo())]);
    far.says("waiting at");
    let (mut near, address) = near(&router, "kinds");
    let mut socket = connect(&address);
    assert!(std::io::Read::read(&mut socket, &mut [0; 1]).is_err());
    near.says("say udp: at both or at none");
}

#[test]
fn more_clients_than_may_be_lose_their_datagrams() {
    let (_router, router) = router(&[]);
    let mut far = forward(&router, "full", &["--to", &format!("udp:{}", echo())]);
    far.says("waiting at");
    let more = ["--listen", "udp:127.0.0.1:0", "--max-connections", "1"];
    let mut near = forward(&router, "full", &more);
    let address = listening(&mut near);
    let address = address.strip_prefix("udp:").unwrap();
    let ((one, _), (other, _)) = (socket(), socket());
    one.send_to(b"one", address).unwrap();
    one.recv(&mut [0; 8]).unwrap();
    other.send_to(b"other", address).unwrap();
    near.says("no room for");
    let short = Duration::from_millis(300);
    other.set_read_timeout(Some(short)).unwrap();
    assert!(other.recv(&mut [0; 8]).is_err());
    one.send_to(b"again", address).unwrap();
    assert_eq!(one.recv(&mut [0; 8]).unwrap(), 5);
}
