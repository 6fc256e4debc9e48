//! What can go wrong for a peer, and how calls end.

use http::HeaderMap;
use thiserror::Error;

use super::verify::Corruption;
use crate::client::ConnectError;

/// Why a peer could not go on.
#[derive(Debug, Error)]
pub enum Failure {
    /// No connection.
    #[error("{}{}", .0, .0.advice())]
    Connect(#[from] ConnectError),
    /// HTTP/2 failed.
    #[error("HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    /// What came is not what was sent.
    #[error("corruption: {0}")]
    Corrupt(#[from] Corruption),
    /// The router ended the call.
    #[error("the router ended the call early: {0}")]
    Ended(Status),
    /// The stream takes no more bytes, and nobody said why.
    #[error("the stream was closed while sending")]
    Closed,
    /// It took too long.
    #[error("{0} took too long")]
    Late(&'static str),
    /// What arrived in total is not what was sent.
    #[error("lane {lane}: {sent} messages sent, {received} received")]
    Total {
        /// Where.
        lane: u32,
        /// By its sender.
        sent: u64,
        /// By its receiver.
        received: u64,
    },
}

impl Failure {
    /// Says how the call ended, for the report.
    pub fn status(&self) -> Status {
        match self {
            Self::Ended(status) => status.clone(),
            other => Status::new(format!("none: {other}")),
        }
    }

    /// Tells whether it says only that the stream is no more: the receiving side may know why.
    pub fn is_silent(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Http2(error) => !error.is_io() && !error.is_go_away(),
            _ => false,
        }
    }
}

/// How a call ended: the gRPC status, or that there was none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status(String);

impl Status {
    /// Makes a status of words for the report.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads what trailers, or headers alone, say.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            headers
                .get(name)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let code = text("grpc-status").unwrap_or_else(|| "none".to_owned());
        match text("grpc-message").filter(|message| !message.is_empty()) {
            Some(message) => Self(format!("{code} {message}")),
            None => Self(code),
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {}", self.0)
    }
}
