//! Why a call that is no stream is refused, or ended before its answer.

use std::time::Duration;

use http::Response;
use thiserror::Error;
use tonic::Code;

use crate::{
    grpc::{headers::MalformedTimeout, status},
    observe::metrics::CallRefusal,
    splice::scanner::Fault,
};

/// Why a call is refused. The text is for the caller and for the log.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its content type is another one.
    #[error("expected a gRPC call, with the content type application/grpc")]
    NotGrpc,
    /// Its `grpc-timeout` cannot be read.
    #[error("{0}")]
    Timeout(MalformedTimeout),
    /// The connection has as many as it may have.
    #[error(
        "{limit} calls of health and reflection are open on this connection already, the limit; end some"
    )]
    TooManyOnConnection {
        /// So many.
        limit: u32,
    },
    /// The router has as many as it may have.
    #[error(
        "{limit} calls of health and reflection are open at this router already, the limit; try again later"
    )]
    TooMany {
        /// So many.
        limit: usize,
    },
    /// The router had as many as it may have, and a newer one needed the place.
    #[error(
        "this call made room for a newer one: the router has too many of health and reflection"
    )]
    MadeRoom,
    /// Memory is short.
    #[error("the router is short of memory (memory.limit); try again later")]
    Memory,
    /// A message is too large.
    #[error("expected requests of at most {limit} bytes here, found one of {size}")]
    TooLarge {
        /// Announced length, or bytes that wait to be looked at.
        size: u64,
        /// The most.
        limit: u64,
    },
    /// What was sent are no messages.
    #[error("{0}")]
    Malformed(Fault),
    /// The caller took too long.
    #[error("the call did not go on for {}; try again", humantime::format_duration(*.0))]
    TooSlow(Duration),
    /// The caller's own deadline has passed.
    #[error("the deadline of the call has passed")]
    Deadline,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TooLarge { size, limit } => Self::TooLarge { size, limit },
            fault => Self::Malformed(fault),
        }
    }
}

impl Refusal {
    /// Gives the label it is counted under, and the caller's status.
    pub(crate) fn row(&self) -> (CallRefusal, Code) {
        match self {
            // As HTTP has it: what is no gRPC call gets no gRPC status.
            Self::NotGrpc => (CallRefusal::NotGrpc, Code::Unknown),
            Self::Timeout(_) => (CallRefusal::MalformedTimeout, Code::Internal),
            Self::TooManyOnConnection { .. } => {
                (CallRefusal::TooManyOnConnection, Code::ResourceExhausted)
            }
            Self::TooMany { .. } => (CallRefusal::TooMany, Code::ResourceExhausted),
            Self::MadeRoom => (CallRefusal::MadeRoom, Code::ResourceExhausted),
            Self::Memory => (CallRefusal::Memory, Code::ResourceExhausted),
            Self::TooLarge { .. } => (CallRefusal::TooLarge, Code::ResourceExhausted),
            Self::Malformed(_) => (CallRefusal::Malformed, Code::Internal),
            Self::TooSlow(_) => (CallRefusal::TooSlow, Code::DeadlineExceeded),
            Self::Deadline => (CallRefusal::Deadline, Code::DeadlineExceeded),
        }
    }

    /// The whole response, if nothing was sent yet.
    pub(crate) fn response(&self) -> Response<()> {
        match self {
            Self::NotGrpc => status::unsupported_media_type(),
            Self::Timeout(error) => status::bad_request(&error.to_string()),
            _ => status::trailers_only(self.row().1, &self.to_string()),
        }
    }
}
