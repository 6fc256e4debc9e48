//! Makes connections to a router or a controller.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::CertificateError;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;

use super::trust::{Identity, Trust, tls_config};

/// How long TCP and TLS may take together: as long as a stock client waits for its tunnel.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Says how a peer finds out that the other end of an open connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Passes between two PINGs, whether or not anything else is sent.
    pub interval: Duration,
    /// How long the answer may take; then the connection counts as lost.
    pub timeout: Duration,
}

impl Keepalive {
    /// Does as stock clients and exporters do. The long timeout lets a stream live through a laptop's sleep or a change
    /// of networks.
    pub const STOCK: Self = Self {
        interval: Duration::from_secs(20),
        timeout: Duration::from_secs(180),
    };
}

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
    Tls(rustls::Error),
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

/// Is a connection with TLS or without.
pub type Io = Either<TlsStream<TcpStream>, TcpStream>;

/// Makes connections to one router.
#[derive(Clone)]
pub struct Connector {
    endpoint: String,
    name: ServerName<'static>,
    tls: Option<TlsConnector>,
    proxy: Option<SocketAddr>,
    /// Is the HTTP/2 window of each stream, in bytes: what may be on its way and unread. Over a long path it bounds the speed.
    pub window: u32,
    /// Applies to streams and sessions.
    pub keepalive: Keepalive,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// Makes connections to `endpoint`, host:port; the host is what the certificate must be for.
    pub fn new(endpoint: &str, trust: Trust) -> Result<Self, ConnectError> {
        Self::with_identity(endpoint, trust, None)
    }

    /// Does what [`Connector::new`] does, for a router that asks for certificates.
    pub fn with_identity(
        endpoint: &str,
        trust: Trust,
        identity: Option<Identity>,
    ) -> Result<Self, ConnectError> {
        Ok(Self {
            endpoint: endpoint.to_owned(),
            name: server_name(endpoint)?,
            tls: tls_config(trust, identity)?.map(|config| TlsConnector::from(Arc::new(config))),
            proxy: None,
            window: 1024 * 1024,
            keepalive: Keepalive::STOCK,
        })
    }

    /// Makes connections to another endpoint with the same settings. TLS sessions are shared, so that returning to an endpoint is cheap.
    pub fn with_endpoint(&self, endpoint: &str) -> Result<Self, ConnectError> {
        Ok(Self {
            endpoint: endpoint.to_owned(),
            name: server_name(endpoint)?,
            proxy: None,
            ..self.clone()
        })
    }

    /// Gives the endpoint, host:port.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Says whether TLS is used.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects to this address instead; the certificate must still be the router's.
    #[must_use]
    pub fn via(mut self, proxy: SocketAddr) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Makes a TCP connection without delay of small writes.
    pub async fn tcp(&self) -> Result<TcpStream, ConnectError> {
        let connected = match self.proxy {
            Some(proxy) => TcpStream::connect(proxy).await,
            None => TcpStream::connect(&self.endpoint).await,
        };
        let socket = connected.map_err(|error| self.failed(error))?;
        socket
            .set_nodelay(true)
            .map_err(|error| self.failed(error))?;
        Ok(socket)
    }

    /// Makes a TLS connection that has agreed on HTTP/2. Fails if this connector is for plain text.
    pub async fn tls(&self) -> Result<TlsStream<TcpStream>, ConnectError> {
        let Some(tls) = &self.tls else {
            return Err(self.failed(io::Error::other("this connector is for plain text")));
        };
        let socket = self.tcp().await?;
        tls.connect(self.name.clone(), socket)
            .await
            .map_err(|error| self.failed(error))
    }

    /// Makes a connection, with TLS or without, within [`CONNECT_TIMEOUT`].
    pub async fn io(&self) -> Result<Io, ConnectError> {
        let connect = async {
            Ok(match self.tls {
                Some(_) => Either::Left(self.tls().await?),
                None => Either::Right(self.tcp().await?),
            })
        };
        let late = || ConnectError::Timeout {
            endpoint: self.endpoint.clone(),
        };
        timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| late())?
    }

    pub(super) fn no_http2(&self, error: h2::Error) -> ConnectError {
        ConnectError::Http2 {
            endpoint: self.endpoint.clone(),
            error,
        }
    }

    fn failed(&self, error: io::Error) -> ConnectError {
        ConnectError::Io {
            endpoint: self.endpoint.clone(),
            error,
        }
    }
}

/// Finds the host of an endpoint, which its certificate must be for.
fn server_name(endpoint: &str) -> Result<ServerName<'static>, ConnectError> {
    let bad = || ConnectError::Endpoint {
        endpoint: endpoint.to_owned(),
    };
    let (host, port) = endpoint.rsplit_once(':').ok_or_else(bad)?;
    port.parse::<u16>().map_err(|_| bad())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|_| bad())
}
