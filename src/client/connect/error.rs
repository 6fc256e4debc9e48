//! Says why there is no connection, and what may help.

use std::{net::SocketAddr, time::Duration};

use thiserror::Error;

use super::{
    super::proxy::{Proxy, ProxyError},
    handshake::HandshakeError,
};
use crate::{common::dial::Unreachable, tls::fault};

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
    /// What the certificate is to be for is no name.
    #[error(
        "{0:?} is no name for a server; expected one such as router.example.com, or an IP address"
    )]
    ServerName(String),
    /// A file with the peer's own certificate or key cannot be read.
    #[error("{path}: {error}; expected a certificate or a private key in PEM")]
    Identity {
        /// Is the file.
        path: String,
        /// Says what went wrong.
        error: String,
    },
    /// A trusted certificate or the TLS settings are unusable.
    #[error("cannot set up TLS: {}", fault::setup(.0))]
    Tls(#[from] rustls::Error),
    /// The system's trusted certificates were asked for, and it has none.
    #[error(
        "this system has no trusted certificates{}; install them (ca-certificates), or name the \
         router's own", .0
    )]
    NoSystemRoots(String),
    /// No address of the endpoint could be reached.
    #[error("cannot connect to {endpoint}: {}", .error.of(.endpoint))]
    Unreachable {
        /// Is the endpoint that was to be reached.
        endpoint: String,
        /// Says which variable means a proxy and is of no use.
        unused: Option<String>,
        /// Names each address, and what was wrong there.
        error: Unreachable,
    },
    /// The proxy that the environment names made no connection.
    #[error("cannot connect to {endpoint} through {proxy}: {error}")]
    Proxy {
        /// Is the endpoint that was to be reached.
        endpoint: String,
        /// The proxy, and the variable that names it.
        proxy: Box<Proxy>,
        /// Says what went wrong.
        error: ProxyError,
    },
    /// There is a TCP connection, and TLS failed on it.
    #[error("cannot connect to {endpoint}{}: {error}", through(.endpoint, .at.as_ref(), .proxy.as_deref()))]
    Handshake {
        /// Is the endpoint that was to be reached.
        endpoint: String,
        /// The address that answered, unless a proxy is in between.
        at: Option<SocketAddr>,
        /// Is the proxy in between.
        proxy: Option<Box<Proxy>>,
        /// Says what went wrong.
        error: Box<HandshakeError>,
    },
    /// TLS was asked of a connector that is for plain text.
    #[error("this connector is for plain text")]
    NoTls,
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
            Self::Handshake { error, .. } => error.is_lasting(),
            Self::Proxy { error, .. } => error.is_lasting(),
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Http2 { .. } => false,
            #[cfg(feature = "controller")]
            Self::Channel(_) => false,
            settings => settings.is_of_settings(),
        }
    }

    /// Says whether the settings alone are wrong: nobody was asked yet.
    pub fn is_of_settings(&self) -> bool {
        matches!(
            self,
            Self::Endpoint { .. }
                | Self::ServerName(_)
                | Self::Identity { .. }
                | Self::Tls(_)
                | Self::NoSystemRoots(_)
                | Self::NoTls
                | Self::Token
        )
    }

    /// Says what to do about it with the program's options, if there is more to say than the message does.
    pub fn advice(&self) -> String {
        match self {
            Self::Unreachable { error, unused, .. } => {
                let advice = match error {
                    Unreachable::Unresolved { .. } => {
                        "; is the name right? One of a VPN or a cluster is known only there"
                    }
                    error if error.is_refused() => {
                        "; is the router running there, and is the port right?"
                    }
                    error if error.is_silent() => {
                        "; is the address right, and does a firewall let this through?"
                    }
                    Unreachable::All(_) => "",
                };
                format!(
                    "{advice}{}",
                    unused
                        .as_ref()
                        .map_or_else(String::new, |route| format!(" ({route})"))
                )
            }
            Self::Proxy { error, .. } => error.advice().to_owned(),
            Self::Handshake { error, .. } => error.advice(),
            _ => String::new(),
        }
    }
}

/// Says by which way the endpoint was reached, unless that is its own address.
fn through(endpoint: &str, at: Option<&SocketAddr>, proxy: Option<&Proxy>) -> String {
    match (proxy, at) {
        (Some(proxy), _) => format!(" through {proxy}"),
        (None, Some(at)) if at.to_string() != endpoint => format!(" at {at}"),
        _ => String::new(),
    }
}
