//! What callers are told, in the codes and words that stock clients act on.
//!
//! The stock Python client shows people the text of UNAVAILABLE and UNKNOWN only, and says "grpc error" for any other
//! code. Upstream's controller answers most mistakes with UNKNOWN, and so does the lab. What else the client looks at:
//!
//! * `Dial`: `FAILED_PRECONDITION` with "not ready" in the text, and UNAVAILABLE, are tried again for half a minute.
//!   "permission denied" means that the lease now belongs to another client.
//! * "expired" in a text has it log in anew, which a lab does not know: no text here says so.
//! * Exporters try UNAVAILABLE and `DEADLINE_EXCEEDED` again, and give up on anything else.

use thiserror::Error;
use tonic::{Code, Status};

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no such lease.
    #[error("leases.jumpstarter.dev \"{0}\" not found")]
    LeaseNotFound(String),
    /// There is no such exporter.
    #[error("exporters.jumpstarter.dev \"{0}\" not found; exporters are named in lab.toml")]
    ExporterNotFound(String),
    /// There is no such client.
    #[error("clients.jumpstarter.dev \"{0}\" not found; clients are named in lab.toml")]
    ClientNotFound(String),
    /// A lease of this name is or was there.
    #[error("leases.jumpstarter.dev \"{0}\" already exists")]
    LeaseExists(String),
    /// The lease belongs to another client.
    #[error("permission denied: lease {lease} belongs to client {owner}")]
    NotYours {
        /// The lease.
        lease: String,
        /// Whose it is.
        owner: String,
    },
    /// The lease has not got an exporter yet.
    #[error("lease not active: {0} is waiting for an exporter")]
    NotActive(String),
    /// The lease is over.
    #[error("lease {0} has ended")]
    Ended(String),
    /// The lease is over, and somebody wants to end it.
    #[error("lease \"namespaces/default/leases/{0}\" has already been released")]
    AlreadyReleased(String),
    /// The lease is another exporter's, or nobody's.
    #[error("lease {lease} is not held by exporter {exporter}")]
    NotHeld {
        /// The lease.
        lease: String,
        /// The exporter that asked.
        exporter: String,
    },
    /// The same, for `Listen`.
    #[error("permission denied: lease {lease} is not held by exporter {exporter}")]
    NotListener {
        /// The lease.
        lease: String,
        /// The exporter that asked.
        exporter: String,
    },
    /// The exporter has a lease and will be ready soon.
    #[error("exporter is not ready (status: {0})")]
    NotReady(&'static str),
    /// The exporter says that nothing will come of it.
    #[error("{0}")]
    Unusable(&'static str),
    /// The exporter is not there, or has not asked for tokens yet.
    #[error("exporter is not listening on lease {0}")]
    NotListening(String),
    /// More tokens wait for the exporter than it may be behind.
    #[error("listener buffer full on lease {0}")]
    ListenerFull(String),
    /// A lease that nothing can be made of.
    #[error("{0}")]
    Terms(String),
    /// A lease without any wish.
    #[error("one of selector or exporter_name is required")]
    NoTarget,
    /// More leases wait or are held than a lab keeps.
    #[error("there are {0} leases already, which is as many as a lab keeps; release some")]
    TooMany(usize),
    /// A resource name of another form.
    #[error("{name:?} is no name of the right form, expected {expected}")]
    BadName {
        /// What was given.
        name: String,
        /// The form.
        expected: String,
    },
    /// Another namespace.
    #[error("namespace mismatch: this lab has the namespace \"default\" and no {found:?}")]
    Namespace {
        /// What was given.
        found: String,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// No token, or several.
    #[error("{0}")]
    NoToken(&'static str),
    /// A token that is not of this lab, or no longer.
    #[error("invalid bearer token: {0}")]
    BadToken(String),
    /// The token of a client where one of an exporter is needed, or the other way round.
    #[error("object kind mismatch: this needs the token of {needed}")]
    WrongKind {
        /// "a client" or "an exporter".
        needed: &'static str,
    },
    /// The token is good, but not for the name in the metadata.
    #[error("permission denied for {named}: the token is for {holder}")]
    WrongName {
        /// What the metadata says.
        named: String,
        /// Whose token it is.
        holder: String,
    },
    /// Another exporter process has connected with the same name.
    #[error("another process has connected as exporter {0}; each needs a name of its own")]
    Superseded(String),
    /// The lab is being stopped.
    #[error("the lab is shutting down")]
    Stopping,
}

impl Refusal {
    /// Gives the status code that stock clients expect.
    pub fn code(&self) -> Code {
        match self {
            Self::LeaseNotFound(_)
            | Self::ExporterNotFound(_)
            | Self::ClientNotFound(_)
            | Self::LeaseExists(_)
            | Self::NotYours { .. }
            | Self::NotListener { .. }
            | Self::NotActive(_)
            | Self::Terms(_)
            | Self::BadToken(_) => Code::Unknown,
            Self::NoTarget | Self::BadName { .. } | Self::Invalid(_) | Self::WrongKind { .. } => {
                Code::InvalidArgument
            }
            Self::NoToken(_) => Code::Unauthenticated,
            Self::Namespace { .. } | Self::WrongName { .. } => Code::PermissionDenied,
            Self::Ended(_)
            | Self::AlreadyReleased(_)
            | Self::NotHeld { .. }
            | Self::NotReady(_)
            | Self::Unusable(_) => Code::FailedPrecondition,
            Self::NotListening(_) | Self::Stopping => Code::Unavailable,
            Self::ListenerFull(_) | Self::TooMany(_) => Code::ResourceExhausted,
            Self::Superseded(_) => Code::Aborted,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}
