//! What `forward` carries between processes: sessions, several channels in one connection, a file.
//!
//! The file has 64 MiB; with more, here a gigabyte:
//! `FORWARD_MIB=1024 cargo test --test it forward_data::a_file -- --nocapture`, with `--release` if speed is the question.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use crate::helpers::ends::{banner, connect, echo, ends, router, session};
use sha2::{Digest as _, Sha256};

/// Bytes that do not repeat: a generator with this state.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, block: &mut [u8]) {
        for word in block.chunks_exact_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes());
        }
    }
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

/// What a channel of the session below says: its number, whether this is its last word, and the data behind it.
fn packet(channel: u8, last: bool, data: &[u8]) -> Vec<u8> {
    let mut packet = vec![channel, u8::from(last)];
    packet.extend((data.len() as u32).to_be_bytes());
    packet.extend(data);
    packet
}

/// The next packet; `None` at a proper end.
fn next_packet(socket: &mut TcpStream) -> Option<(u8, bool, Vec<u8>)> {
    let mut head = [0; 6];
    match socket.read(&mut head[..1]).unwrap() {
        0 => return None,
        _ => socket.read_exact(&mut head[1..]).unwrap(),
    }
    let length = u32::from_be_bytes(head[2..].try_into().unwrap());
    let mut data = vec![0; length as usize];
    socket.read_exact(&mut data).unwrap();
    Some((head[0], head[1] == 1, data))
}

const SHELL: u8 = 0;
const UPLOAD: u8 = 1;
const DOWNLOAD: u8 = 2;

/// So much goes up on one channel and down on another, in packets of SSH's usual size.
const BULK: usize = 256;
const PIECE: usize = 32 * 1024;

/// A server with several channels in one connection, as `sshd`: a shell that answers what is typed, a file that is
/// taken, and one that is sent meanwhile. When the client has half-closed, it still says what it has counted.
fn shell_service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        let writer = Arc::new(Mutex::new(socket.try_clone().unwrap()));
        let say = |packet: Vec<u8>| writer.lock().unwrap().write_all(&packet).unwrap();
        say(b"banner\n".to_vec());
        let sender = {
            let writer = writer.clone();
            thread::spawn(move || {
                let mut noise = Noise(2);
                let mut piece = vec![0; PIECE];
                for at in 0..BULK {
                    noise.fill(&mut piece);
                    let packet = packet(DOWNLOAD, at + 1 == BULK, &piece);
                    writer.lock().unwrap().write_all(&packet).unwrap();
                }
            })
        };
        let mut taken = Sha256::new();
        while let Some((channel, last, data)) = next_packet(&mut socket) {
            match channel {
                SHELL => say(packet(SHELL, last, &data.to_ascii_uppercase())),
                _ => taken.update(&data),
            }
        }
        sender.join().unwrap();
        say(packet(UPLOAD, true, &taken.finalize()));
        socket.shutdown(Shutdown::Write).unwrap();
    });
    address
}

#[test]
fn a_session_with_several_channels_like_ssh() {
    let (_router, router) = router(&[]);
    let (_near, _far, address) = ends(&router, "ssh", &shell_service());
    let mut socket = connect(&address);
    socket.set_nodelay(true).unwrap();
    banner(&mut socket);
    let writer = Arc::new(Mutex::new(socket.try_clone().unwrap()));
    let uploader = {
        let writer = writer.clone();
        thread::spawn(move || {
            let mut hash = Sha256::new();
            let mut noise = Noise(1);
            let mut piece = vec![0; PIECE];
            for at in 0..BULK {
                noise.fill(&mut piece);
                hash.update(&piece);
                let packet = packet(UPLOAD, at + 1 == BULK, &piece);
                writer.lock().unwrap().write_all(&packet).unwrap();
            }
            hash.finalize()
        })
    };
    // Somebody types, each key after the echo of the one before, while files go both ways.
    let type_key = |key: u8| {
        let packet = packet(SHELL, key == b'z', &[key]);
        writer.lock().unwrap().write_all(&packet).unwrap();
    };
    type_key(b'a');
    let (mut echoed, mut downloaded, mut received) = (Vec::<u8>::new(), Sha256::new(), 0);
    let mut complete = [false; 2];
    while complete != [true; 2] {
        let (channel, last, data) = next_packet(&mut socket).expect("the session goes on");
        if channel == SHELL {
            echoed.extend(&data);
            if last {
                complete[0] = true;
            } else {
                type_key(data[0].to_ascii_lowercase() + 1);
            }
        } else {
            assert_eq!(channel, DOWNLOAD);
            received += data.len();
            downloaded.update(&data);
            complete[1] |= last;
        }
    }
    assert_eq!(echoed, (b'A'..=b'Z').collect::<Vec<_>>());
    let mut expected = Sha256::new();
    let (mut noise, mut piece) = (Noise(2), vec![0; PIECE]);
    for _ in 0..BULK {
        noise.fill(&mut piece);
        expected.update(&piece);
    }
    assert_eq!(received, BULK * PIECE);
    assert_eq!(downloaded.finalize(), expected.finalize());
    // The server has more to say after this side has closed.
    let sent = uploader.join().unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let counted = next_packet(&mut socket).expect("an answer after the half-close");
    assert_eq!(counted, (UPLOAD, true, sent.to_vec()));
    assert_eq!(next_packet(&mut socket), None, "a proper end");
}

/// Takes a file to its end, and answers with its SHA-256.
fn digest_service() -> String {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = service.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut socket, _) = service.accept().unwrap();
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 18];
        loop {
            match socket.read(&mut buffer).unwrap() {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
        socket.write_all(&hash.finalize()).unwrap();
    });
    address
}

#[test]
fn a_file_arrives_as_it_was() {
    let mib: u32 = std::env::var("FORWARD_MIB").map_or(64, |mib| mib.parse().unwrap());
    let (_router, router) = router(&[]);
    let (_near, _far, address) = ends(&router, "file", &digest_service());
    let mut socket = connect(&address);
    let start = Instant::now();
    let mut hash = Sha256::new();
    let mut noise = Noise(88_172_645_463_325_252);
    let mut block = vec![0; 1 << 20];
    for _ in 0..mib {
        noise.fill(&mut block);
        hash.update(&block);
        socket.write_all(&block).unwrap();
    }
    socket.shutdown(Shutdown::Write).unwrap();
    let mut answer = [0; 32];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..], hash.finalize()[..]);
    assert_eq!(socket.read(&mut answer).unwrap(), 0, "a proper end");
    let took = start.elapsed().as_secs_f64();
    let rate = f64::from(mib) * 1.048_576 / took;
    println!("{mib} MiB in {took:.1} s, {rate:.0} MB/s");
}
