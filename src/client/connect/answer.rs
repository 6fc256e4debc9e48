//! Recognizes what answers by its first bytes.

use thiserror::Error;

use crate::common::text::printable;

/// Is what the first bytes of an answer belong to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Answer {
    /// TLS, or something that looks like it.
    #[error("a message of TLS")]
    Tls,
    /// A web server.
    #[error("an HTTP/1 answer ({0:?})")]
    Http1(String),
    /// HTTP/2 without TLS.
    #[error("HTTP/2 without TLS")]
    Http2,
    /// Something else.
    #[error("{0:?}")]
    Other(String),
}

impl Answer {
    /// So many bytes are looked at.
    pub(crate) const LENGTH: usize = 64;

    /// Recognizes an answer.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(Self::LENGTH)];
        match bytes {
            // A record of one of the kinds there are (RFC 8446, section 5.1).
            [0x14..=0x18, 3, ..] | [0x14..=0x18] => return Self::Tls,
            // A SETTINGS frame of the connection (RFC 9113, section 6.5).
            [0, _, _, 4, 0 | 1, 0, 0, 0, 0, ..] => return Self::Http2,
            _ => {}
        }
        let text = String::from_utf8_lossy(bytes);
        if text.starts_with("HTTP/") {
            let line = text.lines().next().unwrap_or_default();
            return Self::Http1(printable(line));
        }
        Self::Other(text.chars().take(24).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_known_by_their_first_bytes() {
        assert_eq!(Answer::of(&[0x16, 3, 3, 0, 80, 2]), Answer::Tls);
        assert_eq!(Answer::of(&[0x15, 3, 3, 0, 2, 2, 70]), Answer::Tls);
        assert_eq!(Answer::of(&[0, 0, 18, 4, 0, 0, 0, 0, 0, 0]), Answer::Http2);
        let http = Answer::of(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n");
        assert_eq!(http, Answer::Http1("HTTP/1.1 400 Bad Request".to_owned()));
        let ssh = Answer::of(b"SSH-2.0-OpenSSH_9.6\r\n");
        assert_eq!(ssh.to_string(), "\"SSH-2.0-OpenSSH_9.6\\r\\n\"");
        assert_eq!(Answer::of(b""), Answer::Other(String::new()));
    }
}
