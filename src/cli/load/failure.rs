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
    Ended(String),
    /// The stream takes no more bytes, and nobody said why.
    #[error("the stream was closed while sending")]
    Closed,
    /// It took too long.
    #[error("{0} took too long")]
    Late(&'static str),
    /// What arrived in total is not what was sent.
    #[error("{0}")]
    Total(String),
}

impl Failure {
    /// Says how the call ended, for the report.
    pub fn status(&self) -> String {
        match self {
            Self::Ended(status) => status.clone(),
            other => format!("status none: {other}"),
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

/// Says how a call ended: the gRPC status in trailers, or in headers alone, or that there was none.
pub(crate) fn status(headers: &HeaderMap) -> String {
    let text = |name| Some(String::from_utf8_lossy(headers.get(name)?.as_bytes()));
    let code = text("grpc-status").unwrap_or("none".into());
    match text("grpc-message").filter(|message| !message.is_empty()) {
        Some(message) => format!("status {code} {message}"),
        None => format!("status {code}"),
    }
}
