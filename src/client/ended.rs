//! How a stream ended, if not as both sides wanted.

use std::{fmt, io};

use thiserror::Error;
use tonic::{Code, Status};

use super::frame::{FrameError, MAX_PAYLOAD};
use crate::{
    grpc::{headers, status},
    splice::ending::{By, Cause, Ending},
};

/// Says who ended a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The partner did: it cancelled, failed, or its connection was lost.
    Partner,
    /// The router did: for a limit, an administrator, a shutdown, because nobody came, or it refused the call.
    Router,
    /// The network between here and the router failed, or the router's process.
    Connection,
    /// This side did.
    ThisSide,
}

impl fmt::Display for EndedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Partner => "the other side",
            Self::Router => "the router",
            Self::Connection => "the connection",
            Self::ThisSide => "this side",
        })
    }
}

/// Says why a stream did not end as both sides wanted, or what was wrong with its use.
///
/// As [`io::Error`] it keeps its type: [`StreamError::of`] finds it again.
#[derive(Clone, Debug, Error)]
pub enum StreamError {
    /// The router ended the stream with this status, or refused the call.
    #[error("{}", status::described(.0))]
    Status(Status),
    /// The connection was taken, but nothing came that a router would send: something else answers there, or TLS is used
    /// at one end only.
    #[error("no router answers: {0}; is the port right, and does it use TLS as this side does?")]
    NoRouter(String),
    /// TLS was set up, and then refused by the router: for this side's certificate, or for none.
    #[error("the router refused the TLS connection: {0}")]
    Alert(String),
    /// The connection to the router is gone.
    #[error("the connection to the router was lost: {0}")]
    Lost(String),
    /// The stream was reset without a status.
    #[error("the stream was reset without a reason: {0}")]
    Reset(h2::Reason),
    /// What came is not what a router sends.
    #[error("the answer is not understood: {0}; is that a router?")]
    Answer(String),
    /// What came are no frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The stream ended with status OK in the middle of a message.
    #[error("the stream ended inside a message")]
    Truncated,
    /// This side has written after [`shutdown`](tokio::io::AsyncWriteExt::shutdown).
    #[error("this side of the stream is closed already")]
    Closed,
    /// This side has written a message that does not fit one frame.
    #[error("a message of {0} bytes is too long: at most {MAX_PAYLOAD} bytes fit a frame")]
    TooLong(usize),
}

impl StreamError {
    /// Gives the gRPC status, if the router sent one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Status(status) => Some(status),
            _ => None,
        }
    }

    /// Tells what happened, if the router said so behind the status. Upstream's router does not.
    fn ending(&self) -> Option<Ending> {
        let ending = self.status()?.metadata().get(headers::ENDING.as_str())?;
        Ending::from_text(ending.to_str().ok()?)
    }

    /// Tells who ended the stream. Another router than this package's does not say, and then it is taken for the one.
    pub fn by(&self) -> EndedBy {
        match self {
            Self::Status(_) if self.ending().map(Ending::by) == Some(By::OtherSide) => {
                EndedBy::Partner
            }
            Self::Status(_)
            | Self::Reset(_)
            | Self::Answer(_)
            | Self::Frame(_)
            | Self::Truncated => EndedBy::Router,
            Self::Lost(_) | Self::NoRouter(_) | Self::Alert(_) => EndedBy::Connection,
            Self::Closed | Self::TooLong(_) => EndedBy::ThisSide,
        }
    }

    /// Tells whether the token was not accepted: to try again with the same one is of no use.
    pub fn is_refusal(&self) -> bool {
        let code = self.status().map(Status::code);
        matches!(code, Some(Code::Unauthenticated | Code::PermissionDenied))
    }

    /// Tells whether the other side did not come in time. If the router does not say what happened, its status code decides.
    pub fn is_unpaired(&self) -> bool {
        match self.ending() {
            Some(ending) => matches!(ending.cause, Cause::Unpaired(_) | Cause::UnpairedBusAway(_)),
            None => self.status().map(Status::code) == Some(Code::DeadlineExceeded),
        }
    }

    /// Finds the stream's own error inside an [`io::Error`] of a [`RouterStream`](super::RouterStream).
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Status(status) => match status.code() {
                Code::Unauthenticated | Code::PermissionDenied => io::ErrorKind::PermissionDenied,
                Code::DeadlineExceeded => io::ErrorKind::TimedOut,
                _ => io::ErrorKind::ConnectionAborted,
            },
            Self::Lost(_) | Self::NoRouter(_) | Self::Alert(_) | Self::Reset(_) => {
                io::ErrorKind::ConnectionReset
            }
            Self::Answer(_) | Self::Frame(_) => io::ErrorKind::InvalidData,
            Self::Truncated => io::ErrorKind::UnexpectedEof,
            Self::Closed => io::ErrorKind::BrokenPipe,
            Self::TooLong(_) => io::ErrorKind::InvalidInput,
        }
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        Self::new(error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderMap;

    use super::*;

    /// As it arrives at the peer.
    fn error(ending: Ending) -> StreamError {
        let mut trailers = status::trailers(ending.code(), &ending.message());
        headers::set_ending(&mut trailers, ending);
        StreamError::Status(Status::from_header_map(&trailers).unwrap())
    }

    #[test]
    fn who_ended_it_is_what_the_table_of_endings_says() {
        for cause in Cause::samples().split_off(1) {
            for ending in [Ending::from(cause), Ending::from(cause).for_other()] {
                let error = error(ending);
                assert_eq!(error.ending(), Some(ending));
                let expected = match ending.by() {
                    By::OtherSide => EndedBy::Partner,
                    By::Both | By::ThisSide | By::Router => EndedBy::Router,
                };
                assert_eq!(error.by(), expected, "{error}");
                let unpaired = matches!(cause, Cause::Unpaired(_) | Cause::UnpairedBusAway(_));
                assert_eq!(error.is_unpaired(), unpaired, "{error}");
            }
        }
    }

    /// No word of a status says it, and no ending that is not understood.
    #[test]
    fn without_an_ending_the_code_counts() {
        let cancelled = Ending::from(Cause::Cancelled).for_other();
        for said in [None, Some("cancelled"), Some("this eaten")] {
            let by = |code, message: &str| {
                let mut trailers: HeaderMap = status::trailers(code, message);
                trailers.extend(said.map(|said| (headers::ENDING, said.parse().unwrap())));
                let error = StreamError::Status(Status::from_header_map(&trailers).unwrap());
                (error.by(), error.is_unpaired())
            };
            let unavailable = by(cancelled.code(), &cancelled.message());
            assert_eq!(unavailable, (EndedBy::Router, false));
            let late = by(Code::DeadlineExceeded, "context deadline exceeded");
            assert_eq!(late, (EndedBy::Router, true));
        }
    }

    #[test]
    fn an_io_error_keeps_the_type() {
        let error = io::Error::from(StreamError::Status(Status::unavailable("gone")));
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        let inner = StreamError::of(&error).and_then(StreamError::status);
        assert_eq!(inner.map(Status::code), Some(Code::Unavailable));
        assert!(StreamError::of(&io::Error::other("else")).is_none());
    }
}
