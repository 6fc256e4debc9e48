//! Asks a proxy to connect (RFC 9110, section 9.3.6).

use std::{fmt::Write as _, io};

use thiserror::Error;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::Proxy;
use crate::common::{
    dial::{Unreachable, plain},
    text::printable,
};

/// No answer of a proxy has a longer head, bytes.
const MOST: usize = 16 * 1024;

/// Is what ends a head.
const END: &[u8] = b"\r\n\r\n";

/// Says why a proxy made no connection.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The proxy itself cannot be reached.
    #[error("the proxy cannot be reached: {0}")]
    Unreachable(#[from] Unreachable),
    /// The connection to it failed.
    #[error("the connection to the proxy failed: {}", plain(.0))]
    Io(#[from] io::Error),
    /// It took the request, and said nothing.
    #[error("the proxy did not answer in time")]
    Silent,
    /// It closed the connection instead of answering.
    #[error("the proxy closed the connection without an answer")]
    Closed,
    /// What answers speaks no HTTP.
    #[error("what answers is no HTTP proxy: it sent {0:?}")]
    NotHttp(String),
    /// It answers, and the answer has no end.
    #[error("the head of the proxy's answer is longer than {} KiB", MOST / 1024)]
    TooLong,
    /// It does not connect.
    #[error("the proxy answered {status}{}{reason}", if .reason.is_empty() { "" } else { " " })]
    Refused {
        /// The status.
        status: u16,
        /// What is written behind it.
        reason: String,
        /// Whether it was sent a user's name.
        authorized: bool,
    },
}

impl ProxyError {
    /// Says what may help.
    pub fn advice(&self) -> &'static str {
        let Self::Refused {
            status, authorized, ..
        } = self
        else {
            return match self {
                Self::NotHttp(_) => "; is the proxy's port right, and is it one for http://?",
                _ => "; is the variable right? A host in no_proxy is reached without a proxy",
            };
        };
        match (status, authorized) {
            (407, false) => {
                "; it wants a user and a password, in the variable: http://USER:PASSWORD@HOST:PORT"
            }
            (407, true) => "; it does not accept the user or the password in the variable",
            (403, _) => {
                "; it does not allow connections to this address or port: ask who runs it, or reach the router without \
                 it by no_proxy"
            }
            (400 | 404 | 405 | 501, _) => "; it seems to be a web server, or not to allow CONNECT",
            (502..=504, _) => "; the proxy itself cannot reach that address",
            _ => "",
        }
    }

    /// Tells whether trying again is of no use.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 400..=499,
                ..
            } | Self::NotHttp(_)
                | Self::TooLong
        )
    }
}

/// Has the proxy at the other end connect to host:port. Then the socket is as one to there: not a byte more is taken.
pub(crate) async fn tunnel(
    socket: &mut TcpStream,
    to: &str,
    proxy: &Proxy,
) -> Result<(), ProxyError> {
    let agent = concat!("jumpstarter-router/", env!("CARGO_PKG_VERSION"));
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: {agent}\r\n");
    if let Some(credentials) = &proxy.credentials {
        let _ = write!(request, "Proxy-Authorization: Basic {credentials}\r\n");
    }
    request.push_str("\r\n");
    socket.write_all(request.as_bytes()).await?;
    let head = head(socket).await?;
    let (status, reason) = status(&head)?;
    if (200..300).contains(&status) {
        return Ok(());
    }
    let authorized = proxy.credentials.is_some();
    Err(ProxyError::Refused {
        status,
        reason,
        authorized,
    })
}

/// Reads until a head ends, and nothing behind it: that is of the router already.
async fn head(socket: &mut TcpStream) -> Result<Vec<u8>, ProxyError> {
    let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        let seen = socket.peek(&mut buffer).await?;
        if seen == 0 {
            return Err(ProxyError::Closed);
        }
        // Its end may lie in two pieces.
        let before = head.len();
        head.extend_from_slice(&buffer[..seen]);
        let from = before.saturating_sub(END.len());
        let end = head[from..].windows(END.len()).position(|part| part == END);
        head.truncate(end.map_or(head.len(), |end| from + end + END.len()));
        let taken = head.len() - before;
        socket.read_exact(&mut buffer[..taken]).await?;
        if end.is_some() {
            return Ok(head);
        }
        if !b"HTTP/".starts_with(&head[..head.len().min(5)]) {
            return Err(not_http(&head));
        }
        if head.len() > MOST {
            return Err(ProxyError::TooLong);
        }
    }
}

/// Reads the first line of an answer.
fn status(head: &[u8]) -> Result<(u16, String), ProxyError> {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.splitn(3, ' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().and_then(|status| status.parse().ok());
    match status.filter(|status| version.starts_with("HTTP/1.") && (100..600).contains(status)) {
        Some(status) => Ok((status, printable(words.next().unwrap_or_default().trim()))),
        None => Err(not_http(head)),
    }
}

fn not_http(head: &[u8]) -> ProxyError {
    ProxyError::NotHttp(String::from_utf8_lossy(&head[..head.len().min(40)]).into_owned())
}
