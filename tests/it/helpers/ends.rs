//! Both ends of `forward` as processes, and a service to reach through them.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

use super::{
    LONG,
    process::{Process, usual},
    program::{Program, program},
};

pub fn router(settings: &[(&str, &str)]) -> (Process, String) {
    let mut router = Process::start(usual(settings));
    let address = router.address();
    (router, address)
}

pub fn forward(router: &str, subject: &str, more: &[&str]) -> Program {
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
pub fn ends(router: &str, subject: &str, to: &str) -> (Program, Program, String) {
    let mut far = forward(router, subject, &["--to", to]);
    far.says("waiting at");
    let (near, address) = near(router, subject);
    (near, far, address)
}

pub fn near(router: &str, subject: &str) -> (Program, String) {
    let mut near = forward(router, subject, &["--listen", "127.0.0.1:0"]);
    let address = listening(&mut near);
    (near, address)
}

/// Where it says that it accepts connections.
pub fn listening(end: &mut Program) -> String {
    let line = end.says("listening on ");
    let address = line["listening on ".len()..].split(',').next().unwrap();
    address.to_owned()
}

pub fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket.set_write_timeout(Some(LONG)).unwrap();
    socket
}

/// A service that answers each line with the same, as a shell does with what is typed.
pub fn echo() -> String {
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

pub fn banner(socket: &mut TcpStream) {
    let mut first = [0; 7];
    socket.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"banner\n");
}

/// Many small messages both ways, each awaited, as when somebody types.
pub fn session(address: &str, seed: u32, keys: u32) {
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
