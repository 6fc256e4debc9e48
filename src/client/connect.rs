//! Makes connections to a router or a controller.

pub(super) mod error;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;

pub use self::error::{CONNECT_TIMEOUT, ConnectError};
use super::trust::{Identity, Trust, tls_config};

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

    /// Speaks HTTP/1.1 over its TLS connections, and no HTTP/2.
    #[cfg(feature = "cli")]
    pub(crate) fn http1(mut self) -> Self {
        self.tls = self.tls.map(|tls| {
            let mut config = rustls::ClientConfig::clone(tls.config());
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            TlsConnector::from(Arc::new(config))
        });
        self
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
