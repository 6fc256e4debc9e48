//! Connections to a router or a controller: TLS that trusts given certificates, the system's, any, or none at all.

use std::{fmt, fs, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{CertificateError, ClientConfig, RootCertStore, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::transport::tls::{
    pem::{self, PemError},
    settings::Provider,
    trust,
};

/// How long TCP and TLS may take together: as long as a stock client waits for its tunnel.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How a peer finds out that the other end of an open connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Between two PINGs, whether or not anything else is sent.
    pub interval: Duration,
    /// How long the answer may take; then the connection counts as lost.
    pub timeout: Duration,
}

impl Keepalive {
    /// What stock clients and exporters do. The long timeout lets a stream live through a laptop's sleep or a change
    /// of networks.
    pub const STOCK: Self = Self {
        interval: Duration::from_secs(20),
        timeout: Duration::from_secs(180),
    };
}

/// Which routers are believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those whose certificate is signed by an authority that this system trusts.
    System,
    /// Those whose certificate is, or is signed by, one of these.
    Certificates(Vec<CertificateDer<'static>>),
    /// Any certificate.
    Insecure,
    /// No TLS at all.
    Plaintext,
}

impl Trust {
    /// The certificates in PEM text, at least one.
    pub fn from_pem(text: &[u8]) -> Result<Self, CertificatesError> {
        Ok(Self::Certificates(pem::certificates(text)?))
    }

    /// The certificates in a PEM file, at least one.
    pub fn from_pem_file(path: &Path) -> Result<Self, CertificatesError> {
        Self::from_pem(&std::fs::read(path)?)
    }
}

/// Why there is nothing to trust.
#[derive(Debug, Error)]
pub enum CertificatesError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] io::Error),
    /// It is not PEM, or has no certificate.
    #[error("expected certificates in PEM: {0}")]
    Pem(#[from] PemError),
}

/// What a peer shows to a router that asks for certificates.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// A certificate chain, the peer's own certificate first, and its key.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain, key }
    }

    /// Reads both from files in PEM.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, ConnectError> {
        let unusable = |path: &Path, error: &dyn fmt::Display| ConnectError::Identity {
            path: path.display().to_string(),
            error: error.to_string(),
        };
        let read = |path| fs::read(path).map_err(|error| unusable(path, &error));
        let chain = pem::certificates(&read(certificate)?);
        let chain = chain.map_err(|error| unusable(certificate, &error))?;
        let found = pem::private_key(&read(key)?);
        let key = found.map_err(|error| unusable(key, &error))?;
        Ok(Self::new(chain, key))
    }
}

/// Why no connection was made.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The endpoint cannot be read.
    #[error("{endpoint:?} is no endpoint; expected host:port, such as router.example.com:443")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// A file with the peer's own certificate or key cannot be read.
    #[error("{path}: {error}; expected a certificate or a private key in PEM")]
    Identity {
        /// The file.
        path: String,
        /// What went wrong.
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
        /// Where to.
        endpoint: String,
        /// What went wrong.
        error: io::Error,
    },
    /// No answer came.
    #[error(
        "cannot connect to {endpoint}: no answer within {}",
        humantime::format_duration(CONNECT_TIMEOUT)
    )]
    Timeout {
        /// Where to.
        endpoint: String,
    },
    /// What answered does not speak HTTP/2.
    #[error("cannot connect to {endpoint}: {error}; is that a router?")]
    Http2 {
        /// Where to.
        endpoint: String,
        /// What went wrong.
        error: h2::Error,
    },
    /// HTTP/2 could not be set up.
    #[error("cannot connect: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The token does not fit a header.
    #[error("the token holds characters that no token has")]
    Token,
}

impl ConnectError {
    /// Whether trying again is of no use: the settings are wrong, or do not fit what answers.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Endpoint { .. }
            | Self::Identity { .. }
            | Self::Tls(_)
            | Self::NoSystemRoots(_)
            | Self::Token => true,
            Self::Io { error, .. } => tls_error(error).is_some(),
            Self::Timeout { .. } | Self::Http2 { .. } | Self::Transport(_) => false,
        }
    }

    /// What to do about it, if there is more to say than the message does.
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

    /// This error as it is found among the causes of what tonic reports.
    #[cfg(feature = "controller-client")]
    pub(super) fn among<'a>(
        mut cause: Option<&'a (dyn std::error::Error + 'static)>,
    ) -> Option<&'a Self> {
        while let Some(error) = cause {
            let inside = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            if let Some(found) = inside.and_then(|error| error.downcast_ref()) {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
}

/// What TLS itself found wrong.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Makes connections to one router.
#[derive(Clone)]
pub struct Connector {
    endpoint: String,
    name: ServerName<'static>,
    tls: Option<TlsConnector>,
    proxy: Option<SocketAddr>,
    /// HTTP/2 window of each stream, bytes: what may be on its way and unread. Over a long path it bounds the speed.
    pub window: u32,
    /// For [`RouterStream`](super::RouterStream) and [`Session`](super::Session).
    pub keepalive: Keepalive,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// `endpoint`: host:port; the host is what the certificate must be for.
    pub fn new(endpoint: &str, trust: Trust) -> Result<Self, ConnectError> {
        Self::with_identity(endpoint, trust, None)
    }

    /// As [`Connector::new`], for a router that asks for certificates.
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

    /// To another endpoint with the same settings. TLS sessions are shared, so that returning to an endpoint is cheap.
    pub fn with_endpoint(&self, endpoint: &str) -> Result<Self, ConnectError> {
        Ok(Self {
            endpoint: endpoint.to_owned(),
            name: server_name(endpoint)?,
            proxy: None,
            ..self.clone()
        })
    }

    /// Where to: host:port.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether TLS is used.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects to this address instead; the certificate must still be the router's.
    #[must_use]
    pub fn via(mut self, proxy: SocketAddr) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// A TCP connection without delay of small writes.
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

    /// A TLS connection that has agreed on HTTP/2. Fails if this connector is for plain text.
    pub async fn tls(&self) -> Result<TlsStream<TcpStream>, ConnectError> {
        let Some(tls) = &self.tls else {
            return Err(self.failed(io::Error::other("this connector is for plain text")));
        };
        let socket = self.tcp().await?;
        tls.connect(self.name.clone(), socket)
            .await
            .map_err(|error| self.failed(error))
    }

    /// A gRPC channel over one new connection.
    pub async fn channel(&self) -> Result<Channel, ConnectError> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.endpoint))?
            .initial_stream_window_size(self.window)
            .initial_connection_window_size(self.window);
        let this = self.clone();
        // One connection: a channel that reconnects by itself would hide that it was lost.
        let connect = move |_: Uri| {
            let this = this.clone();
            async move {
                if this.tls.is_some() {
                    let stream = this.tls().await.map_err(io::Error::other)?;
                    Ok::<_, io::Error>(TokioIo::new(Either::Left(stream)))
                } else {
                    let stream = this.tcp().await.map_err(io::Error::other)?;
                    Ok(TokioIo::new(Either::Right(stream)))
                }
            }
        };
        Ok(endpoint
            .connect_with_connector(tower::service_fn(connect))
            .await?)
    }

    /// A gRPC channel that connects when it is used, and again when its connection was lost. With keepalive.
    pub fn lazy_channel(&self) -> Result<Channel, ConnectError> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.endpoint))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(self.keepalive.interval)
            .keep_alive_timeout(self.keepalive.timeout)
            .keep_alive_while_idle(true);
        let this = self.clone();
        let connect = move |_: Uri| {
            let this = this.clone();
            async move { this.io().await.map(TokioIo::new).map_err(io::Error::other) }
        };
        Ok(endpoint.connect_with_connector_lazy(tower::service_fn(connect)))
    }

    /// A connection, with TLS or without, within [`CONNECT_TIMEOUT`].
    pub async fn io(&self) -> Result<Either<TlsStream<TcpStream>, TcpStream>, ConnectError> {
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

    fn failed(&self, error: io::Error) -> ConnectError {
        ConnectError::Io {
            endpoint: self.endpoint.clone(),
            error,
        }
    }
}

/// The host of an endpoint, which its certificate must be for.
fn server_name(endpoint: &str) -> Result<ServerName<'static>, ConnectError> {
    let bad = || ConnectError::Endpoint {
        endpoint: endpoint.to_owned(),
    };
    let (host, port) = endpoint.rsplit_once(':').ok_or_else(bad)?;
    port.parse::<u16>().map_err(|_| bad())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|_| bad())
}

/// The certificates of the authorities this system trusts.
fn system_roots() -> Result<RootCertStore, ConnectError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems have a few among them that cannot be read.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = found.errors.first();
        let why = why.map_or_else(String::new, |error| format!(" ({error})"));
        return Err(ConnectError::NoSystemRoots(why));
    }
    Ok(roots)
}

fn tls_config(
    trust: Trust,
    identity: Option<Identity>,
) -> Result<Option<ClientConfig>, ConnectError> {
    let trust = match trust {
        Trust::System => trust::Trust::Roots(system_roots()?),
        Trust::Plaintext => return Ok(None),
        Trust::Insecure => trust::Trust::Any,
        Trust::Certificates(certificates) => trust::Trust::Signed(certificates),
    };
    let identity = identity
        .map(|Identity { chain, key }| {
            CertifiedKey::from_der(chain, key, &Provider::Auto.crypto()).map(Arc::new)
        })
        .transpose()?;
    Ok(Some(trust::client_config(trust, identity)?))
}
