//! Makes TLS on a TCP connection, and finds out what is wrong if that fails.

use std::{fmt::Write as _, io};

use rustls_pki_types::{CertificateDer, ServerName};
use thiserror::Error;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::answer::Answer;
use crate::{
    common::dial::plain,
    tls::{
        fault::{Fault, NO_HTTP2, of_io},
        trust::{ALPN_H2, showing},
    },
};

/// A first message that is longer does not fit one packet.
const PACKET: usize = 1400;

/// Asks what is the likeliest.
const PORT: &str = "; is the port right, or is this a router without TLS (--plaintext)?";

/// Says why a connection got no TLS.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The first message was sent, and nothing came back.
    #[error("it takes the TCP connection, and does not answer the TLS handshake in time")]
    Silent {
        /// The bytes of the first message.
        hello: usize,
    },
    /// The first message was sent, and the connection ended.
    #[error("it takes the TCP connection, and ends it when the TLS handshake begins: {}", plain(.error))]
    Cut {
        /// The bytes of the first message.
        hello: usize,
        /// How it ended.
        error: io::Error,
    },
    /// What answers speaks something else.
    #[error("what answers does not speak TLS: it sent {0}")]
    NotTls(Answer),
    /// It answered, and then no more.
    #[error("the TLS handshake began, and was not done in time")]
    Stalled,
    /// The connection ended in the midst of it.
    #[error("the connection ended during the TLS handshake: {}", plain(.0))]
    Io(io::Error),
    /// One of the two does not accept the other.
    #[error("{what}")]
    Tls {
        /// Says it in a sentence.
        what: String,
        /// What may help.
        advice: &'static str,
        /// Says it in the library's words.
        error: rustls::Error,
        /// Is the certificate that was shown, if it came to that.
        shown: Option<CertificateDer<'static>>,
    },
    /// It speaks TLS, and nothing was said of HTTP/2.
    #[error("it speaks TLS, but did not agree to HTTP/2 in it")]
    NoHttp2,
}

impl HandshakeError {
    /// Says whether trying again is of no use.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(self, Self::NotTls(_) | Self::Tls { .. } | Self::NoHttp2)
    }

    /// Says what may help.
    pub(crate) fn advice(&self) -> String {
        match self {
            Self::Silent { hello } | Self::Cut { hello, .. } => {
                let mut advice = PORT.to_owned();
                if *hello > PACKET {
                    let _ = write!(
                        advice,
                        " If both are right, something in between may not let a long first message through ({hello} bytes): try \
                         --no-post-quantum, which makes it short"
                    );
                }
                advice
            }
            Self::NotTls(Answer::Http2) => {
                "; is this a router without TLS? Then connect with --plaintext".to_owned()
            }
            Self::NotTls(_) => PORT.to_owned(),
            Self::Tls { advice, .. } => (*advice).to_owned(),
            Self::NoHttp2 => NO_HTTP2.to_owned(),
            Self::Stalled | Self::Io(_) => String::new(),
        }
    }
}

/// Makes TLS, with HTTP/2 in it if that is wanted, until then at the latest.
pub(super) async fn make(
    tls: &TlsConnector,
    name: ServerName<'static>,
    socket: TcpStream,
    until: Instant,
) -> Result<TlsStream<TcpStream>, HandshakeError> {
    let mut hello = Vec::new();
    let connect = tls.connect_with(name, socket, |session| {
        while session.wants_write() && session.write_tls(&mut hello).is_ok() {}
    });
    if let Some(socket) = connect.get_ref() {
        // Sent here rather than by the handshake, so that the first bytes of the answer can be looked at: they tell a
        // message that was lost, or another protocol, from what TLS itself finds wrong.
        begin(socket, &hello, until).await?;
    }
    let shaken = timeout_at(until, showing(connect)).await;
    let (made, shown) = shaken.map_err(|_| HandshakeError::Stalled)?;
    let stream = made.map_err(|error| match of_io(&error, shown.as_ref()) {
        Some((Fault { what, advice }, found)) => HandshakeError::Tls {
            what,
            advice,
            error: found.clone(),
            shown,
        },
        None => HandshakeError::Io(error),
    })?;
    let wants_http2 = tls
        .config()
        .alpn_protocols
        .iter()
        .any(|name| name == ALPN_H2);
    if wants_http2 && stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
        return Err(HandshakeError::NoHttp2);
    }
    Ok(stream)
}

/// Sends the first message and waits for what begins as TLS.
async fn begin(socket: &TcpStream, hello: &[u8], until: Instant) -> Result<(), HandshakeError> {
    let length = hello.len();
    let cut = |error| HandshakeError::Cut {
        hello: length,
        error,
    };
    let mut first = [0; Answer::LENGTH];
    let answer = async {
        send(socket, hello).await?;
        socket.peek(&mut first).await
    };
    let seen = match timeout_at(until, answer).await {
        Err(_) => return Err(HandshakeError::Silent { hello: length }),
        Ok(Err(error)) => return Err(cut(error)),
        Ok(Ok(0)) => return Err(cut(io::Error::other("it closes the connection"))),
        Ok(Ok(seen)) => seen,
    };
    match Answer::of(&first[..seen]) {
        Answer::Tls => Ok(()),
        other => Err(HandshakeError::NotTls(other)),
    }
}

async fn send(socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        socket.writable().await?;
        match socket.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
