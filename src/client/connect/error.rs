//! Says why there is no connection, and what may help.

use std::{io, time::Duration};

use rustls::CertificateError;
use thiserror::Error;

/// How long TCP and TLS may take together: as long as a stock client waits for its tunnel.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Says why no connection was made.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The endpoint cannot be read.
    #[error("{endpoint:?} is no endpoint; expected host:port, such as router.example.com:443")]
    Endpoint {
        /// Is what was given.
        endpoint: String,
    },
    /// A file with the peer's own certificate or key cannot be read.
    #[error("{path}: {error}; expected a certificate or a private key in PEM")]
    Identity {
        /// Is the file.
        path: String,
        /// Says what went wrong.
        error: String,
    },
    /// A trusted certificate or the TLS settings are unusable.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The system's trusted certificates were asked for, and it has none.
    #[error(
        "this system has no trusted certificates{}; install them (ca-certificates), or name the \
         router's own", .0
    )]
    NoSystemRoots(String),
    /// TCP or the TLS handshake failed.
    #[error("cannot connect to {endpoint}: {error}")]
    Io {
        /// Is the endpoint that was to be reached.
        endpoint: String,
        /// Says what went wrong.
        error: io::Error,
    },
    /// No answer came.
    #[error(
        "cannot connect to {endpoint}: no answer within {}",
        humantime::format_duration(CONNECT_TIMEOUT)
    )]
    Timeout {
        /// Is the endpoint that was to be reached.
        endpoint: String,
    },
    /// What answered does not speak HTTP/2.
    #[error("cannot connect to {endpoint}: {error}; is that a router?")]
    Http2 {
        /// Is the endpoint that was to be reached.
        endpoint: String,
        /// Says what went wrong.
        error: h2::Error,
    },
    /// HTTP/2 could not be set up.
    #[cfg(feature = "controller")]
    #[error("cannot connect")]
    Channel(#[from] tonic::transport::Error),
    /// The token does not fit a header.
    #[error("the token holds characters that no token has")]
    Token,
}

impl ConnectError {
    /// Says whether trying again is of no use: the settings are wrong, or do not fit what answers.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Endpoint { .. }
            | Self::Identity { .. }
            | Self::Tls(_)
            | Self::NoSystemRoots(_)
            | Self::Token => true,
            Self::Io { error, .. } => tls_error(error).is_some(),
            Self::Timeout { .. } | Self::Http2 { .. } => false,
            #[cfg(feature = "controller")]
            Self::Channel(_) => false,
        }
    }

    /// Says what to do about it with the program's options, if there is more to say than the message does.
    pub fn advice(&self) -> &'static str {
        let Self::Io { error, .. } = self else {
            return "";
        };
        match tls_error(error) {
            Some(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => "; give its CA with --ca FILE (`tls.ca` in a configuration file)",
            Some(rustls::Error::InvalidMessage(_)) => {
                "; what answers does not speak TLS: is the port right, or is this a router without TLS (--plaintext)?"
            }
            _ => "",
        }
    }
}

/// Finds what TLS itself found wrong.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
