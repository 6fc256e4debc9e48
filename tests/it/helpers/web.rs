//! Plain HTTP/1.1 requests, byte by byte as a test wants them.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use serde_json::Value;

use super::LONG;

pub struct Answer {
    pub status: u16,
    /// In lower case, up to the empty line.
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("JSON: {}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let start = format!("{name}: ");
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(&*start))
    }
}

/// Sends just these headers and this body. Blocks.
pub fn raw(address: SocketAddr, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let mut request = format!("{target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    if !body.is_empty() {
        write!(request, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    write!(request, "\r\n{body}").unwrap();
    socket.write_all(&request).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    Answer {
        status: head.strip_prefix("HTTP/1.1 ").unwrap()[..3]
            .parse()
            .unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    let host = address.to_string();
    raw(address, &format!("GET {path}"), &[("Host", &host)], "")
}

/// With the content type that is asked for.
pub fn send(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let host = address.to_string();
    let headers = [("Host", &*host), ("Content-Type", "application/json")];
    raw(address, &format!("{method} {path}"), &headers, body)
}

/// Does something blocking while the router, in the same process, goes on.
pub async fn aside<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(what).await.unwrap()
}
