//! Why a controller did not do as asked, and what may go better later.

use std::{error::Error as _, iter, time::Duration};

use thiserror::Error;
use tonic::{Code, Status};

use super::super::connect::ConnectError;
use crate::grpc::status;

/// Why the controller did not do as asked.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The controller's endpoint or certificates are unusable.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Namespace, name or token do not fit a header.
    #[error("the {0} of the configuration holds characters that no header may have")]
    Credentials(&'static str),
    /// The controller, or what stands in its place, answered with an error.
    #[error(
        "the controller at {endpoint} refused {call}: {}{}",
        status::described(.status), advice(call, .status.code())
    )]
    Refused {
        /// Where it is.
        endpoint: String,
        /// What was asked.
        call: &'static str,
        /// Its answer.
        status: Status,
    },
    /// The controller cannot be reached, or does not answer.
    #[error("cannot reach the controller at {endpoint} for {call}: {why}")]
    Unreachable {
        /// Where it should be.
        endpoint: String,
        /// What was asked.
        call: &'static str,
        /// What went wrong.
        why: String,
        /// Trying again is of no use: its certificate is not trusted, say.
        is_lasting: bool,
    },
    /// The exporter was not ready in time.
    #[error(
        "the exporter was not ready within {}: {}",
        humantime::format_duration(*.waited), status::described(.status)
    )]
    NotReady {
        /// How long it was tried.
        waited: Duration,
        /// The last answer.
        status: Status,
    },
}

fn advice(call: &str, code: Code) -> &'static str {
    match (call, code) {
        (_, Code::Unauthenticated) => {
            "; the token may have expired: log in again, or get a new configuration file"
        }
        ("Dial", Code::FailedPrecondition | Code::NotFound) => {
            "; is the lease yours and still active? See `jmp get leases`"
        }
        (_, Code::PermissionDenied) => "; does the lease belong to this client or exporter?",
        (_, Code::Unimplemented) => "; is that a Jumpstarter controller?",
        _ => "",
    }
}

impl SessionError {
    /// Whether trying again with the same configuration is of no use.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Credentials(_) => true,
            Self::Connect(error) => error.is_lasting(),
            Self::Unreachable { is_lasting, .. } => *is_lasting,
            Self::NotReady { .. } => false,
        }
    }

    /// Tells an answer of the controller from a failure to reach it.
    pub(super) fn of(endpoint: &str, call: &'static str, status: Status) -> Self {
        let endpoint = endpoint.to_owned();
        // What tonic makes of a failure to connect has a cause, what a controller sends has none.
        let causes = || iter::successors(status.source(), |&error| error.source());
        let (why, is_lasting) = if let Some(error) = causes().find_map(ConnectError::inside) {
            (format!("{error}{}", error.advice()), error.is_lasting())
        } else if let Some(error) = causes().last() {
            (error.to_string(), false)
        } else {
            return Self::Refused {
                endpoint,
                call,
                status,
            };
        };
        Self::Unreachable {
            endpoint,
            call,
            why,
            is_lasting,
        }
    }
}

/// Whether stock clients dial again after this answer.
pub(super) fn is_not_ready(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::FailedPrecondition => status.message().contains("not ready"),
        _ => false,
    }
}

/// Whether it may go better later.
pub(super) fn may_pass(error: &SessionError) -> bool {
    match error {
        SessionError::Refused { status, .. } => {
            is_not_ready(status) || status.code() == Code::DeadlineExceeded
        }
        SessionError::Unreachable { is_lasting, .. } => !is_lasting,
        _ => false,
    }
}

/// Whether this is how a stream ends when its connection or the controller does.
pub(super) fn is_broken(error: &SessionError) -> bool {
    let SessionError::Refused { status, .. } = error else {
        return false;
    };
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled
    )
}
