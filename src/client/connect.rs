//! Connections to a router: TLS that trusts given certificates, any certificate, or none at all.

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, sign::CertifiedKey};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName,
    pem::{self, PemObject as _},
};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::transport::{tls::Provider, trust};

/// Which routers are believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those whose certificate is, or is signed by, one of these.
    Certificates(Vec<CertificateDer<'static>>),
    /// Any certificate.
    Insecure,
    /// No TLS at all.
    Plaintext,
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
        let unreadable = |path: &Path| {
            let path = path.display().to_string();
            move |error| ConnectError::Identity { path, error }
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable(certificate))?;
        if chain.is_empty() {
            return Err(unreadable(certificate)(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
        Ok(Self::new(chain, key))
    }
}

/// Why no connection was made.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The endpoint cannot be read.
    #[error("{endpoint:?} is no endpoint; expected host:port")]
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
        error: pem::Error,
    },
    /// A trusted certificate or the TLS settings are unusable.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// TCP or the TLS handshake failed.
    #[error("cannot connect to {endpoint}: {error}")]
    Io {
        /// Where to.
        endpoint: String,
        /// What went wrong.
        error: io::Error,
    },
    /// HTTP/2 could not be set up.
    #[error("cannot connect: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Makes connections to one router.
#[derive(Clone)]
pub struct Connector {
    endpoint: String,
    name: ServerName<'static>,
    tls: Option<TlsConnector>,
    proxy: Option<SocketAddr>,
    /// HTTP/2 stream and connection windows of channels, bytes.
    pub window: u32,
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
        let bad = || ConnectError::Endpoint {
            endpoint: endpoint.to_owned(),
        };
        let (host, port) = endpoint.rsplit_once(':').ok_or_else(bad)?;
        port.parse::<u16>().map_err(|_| bad())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|_| bad())?;
        Ok(Self {
            endpoint: endpoint.to_owned(),
            name,
            tls: tls_config(trust, identity)?.map(|config| TlsConnector::from(Arc::new(config))),
            proxy: None,
            window: 1024 * 1024,
        })
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

    fn failed(&self, error: io::Error) -> ConnectError {
        ConnectError::Io {
            endpoint: self.endpoint.clone(),
            error,
        }
    }
}

fn tls_config(
    trust: Trust,
    identity: Option<Identity>,
) -> Result<Option<ClientConfig>, rustls::Error> {
    let trust = match trust {
        Trust::Plaintext => return Ok(None),
        Trust::Insecure => trust::Trust::Any,
        Trust::Certificates(certificates) => trust::Trust::Signed(certificates),
    };
    let identity = identity
        .map(|Identity { chain, key }| {
            CertifiedKey::from_der(chain, key, &Provider::Auto.crypto()).map(Arc::new)
        })
        .transpose()?;
    trust::client_config(trust, identity).map(Some)
}
