//! Makes connections to a router or a controller.

mod answer;
pub(super) mod error;
mod handshake;
mod told;

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use rustls_pki_types::ServerName;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;

pub use self::{
    answer::Answer,
    error::{CONNECT_TIMEOUT, ConnectError},
    handshake::HandshakeError,
};
use super::{
    proxy::{self, Proxies, Proxy, ProxyError, Route},
    trust::{Identity, Trust, tls_config},
};
use crate::common::dial;
pub use crate::common::dial::{Tried, Unreachable};

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

/// Says what else there is to say of connections to a router; most have nothing to say.
#[derive(Debug)]
pub struct ConnectOptions {
    /// Is shown to a router that asks for a certificate.
    pub identity: Option<Identity>,
    /// Is what the certificate must be for, instead of the endpoint's host, and the authority that the router is told, as
    /// with gRPC's `ssl_target_name_override`.
    pub server_name: Option<String>,
    /// Says which endpoints are reached through a proxy.
    pub proxies: Proxies,
    /// Whether to offer a key exchange that withstands quantum computers. It makes the first message longer than a packet,
    /// which some firewalls do not let through.
    pub post_quantum: bool,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            identity: None,
            server_name: None,
            proxies: Proxies::default(),
            post_quantum: true,
        }
    }
}

/// Makes connections to one router.
#[derive(Clone)]
pub struct Connector {
    endpoint: String,
    name: ServerName<'static>,
    /// Is what the router is told to be, if not the endpoint.
    authority: Option<String>,
    tls: Option<TlsConnector>,
    proxies: Proxies,
    route: Route,
    via: Option<SocketAddr>,
    /// Is the HTTP/2 window of each stream, in bytes: what may be on its way and unread. Over a long path it bounds the speed.
    pub window: u32,
    /// Applies to streams and sessions.
    pub keepalive: Keepalive,
    /// How long it may take to connect: name, TCP, proxy and TLS together.
    pub timeout: Duration,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// Makes connections to `endpoint`, host:port; the host is what the certificate must be for. No proxy is used.
    pub fn new(endpoint: &str, trust: Trust) -> Result<Self, ConnectError> {
        Self::with_options(endpoint, trust, ConnectOptions::default())
    }

    /// Does what [`Connector::new`] does, for a router that asks for certificates.
    pub fn with_identity(
        endpoint: &str,
        trust: Trust,
        identity: Option<Identity>,
    ) -> Result<Self, ConnectError> {
        let options = ConnectOptions {
            identity,
            ..ConnectOptions::default()
        };
        Self::with_options(endpoint, trust, options)
    }

    /// Does what [`Connector::new`] does, with all that can be said.
    pub fn with_options(
        endpoint: &str,
        trust: Trust,
        options: ConnectOptions,
    ) -> Result<Self, ConnectError> {
        let name = match &options.server_name {
            None => host_name(endpoint)?,
            Some(name) => ServerName::try_from(name.clone())
                .map_err(|_| ConnectError::ServerName(name.clone()))?,
        };
        host_name(endpoint)?;
        let tls = tls_config(trust, options.identity, options.post_quantum)?;
        Ok(Self {
            endpoint: endpoint.to_owned(),
            name,
            authority: options.server_name,
            tls: tls.map(|config| TlsConnector::from(Arc::new(config))),
            route: options.proxies.route(endpoint),
            proxies: options.proxies,
            via: None,
            window: 1024 * 1024,
            keepalive: Keepalive::STOCK,
            timeout: CONNECT_TIMEOUT,
        })
    }

    /// Makes connections to another endpoint with the same settings. TLS sessions are shared, so that returning to an
    /// endpoint is cheap. A server's name that was given is that of any endpoint, as with gRPC.
    pub fn with_endpoint(&self, endpoint: &str) -> Result<Self, ConnectError> {
        Ok(Self {
            endpoint: endpoint.to_owned(),
            name: match self.authority {
                None => host_name(endpoint)?,
                Some(_) => self.name.clone(),
            },
            route: self.proxies.route(endpoint),
            via: None,
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

    /// Gives what the router is told to be: the endpoint, unless another server's name was given.
    pub fn authority(&self) -> &str {
        self.authority.as_ref().unwrap_or(&self.endpoint)
    }

    /// Gives the name that the certificate must be for.
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// Says whether TLS is used.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Says how the endpoint is reached: directly or through a proxy, and why so.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Gives the proxy in between, if there is one.
    pub fn proxy(&self) -> Option<&Proxy> {
        match &self.route {
            Route::Through(proxy) if self.via.is_none() => Some(proxy),
            _ => None,
        }
    }

    /// Connects to this address instead; the certificate must still be the router's.
    #[must_use]
    pub fn via(mut self, address: SocketAddr) -> Self {
        self.via = Some(address);
        self
    }

    /// Makes a TCP connection without delay of small writes: to the first address that answers, or through the proxy.
    pub async fn tcp(&self) -> Result<TcpStream, ConnectError> {
        self.socket(Instant::now() + self.timeout).await
    }

    /// Makes a TLS connection that has agreed on HTTP/2. Fails if this connector is for plain text.
    pub async fn tls(&self) -> Result<TlsStream<TcpStream>, ConnectError> {
        let until = Instant::now() + self.timeout;
        let socket = self.socket(until).await?;
        self.secure(socket, until).await
    }

    /// Makes a connection, with TLS or without, within the time it may take.
    pub async fn io(&self) -> Result<Io, ConnectError> {
        let until = Instant::now() + self.timeout;
        let socket = self.socket(until).await?;
        let io = match self.tls {
            Some(_) => Either::Left(self.secure(socket, until).await?),
            None => Either::Right(socket),
        };
        told::connected(&self.endpoint, &io);
        Ok(io)
    }

    async fn socket(&self, until: Instant) -> Result<TcpStream, ConnectError> {
        tracing::debug!(endpoint = self.endpoint, route = %self.route, "connecting");
        let connected = match (self.via, self.proxy()) {
            (Some(address), _) => Box::pin(dial::first(&[address], until)).await,
            (None, Some(proxy)) => return Box::pin(self.proxied(proxy, until)).await,
            (None, None) => Box::pin(dial::tcp(&self.endpoint, until)).await,
        };
        connected.map_err(|error| ConnectError::Unreachable {
            endpoint: self.endpoint.clone(),
            unused: matches!(self.route, Route::Unusable(..)).then(|| self.route.to_string()),
            error,
        })
    }

    async fn proxied(&self, proxy: &Proxy, until: Instant) -> Result<TcpStream, ConnectError> {
        let connect = async {
            let mut socket = dial::tcp(proxy.address(), until).await?;
            let tunnel = proxy::tunnel(&mut socket, &self.endpoint, proxy);
            let tunnel = timeout_at(until, tunnel).await;
            tunnel.map_err(|_| ProxyError::Silent)??;
            Ok(socket)
        };
        connect.await.map_err(|error| ConnectError::Proxy {
            endpoint: self.endpoint.clone(),
            proxy: Box::new(proxy.clone()),
            error,
        })
    }

    /// Makes TLS on a TCP connection.
    pub(crate) async fn secure(
        &self,
        socket: TcpStream,
        until: Instant,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let Some(tls) = &self.tls else {
            return Err(ConnectError::NoTls);
        };
        let at = socket.peer_addr().ok();
        let made = handshake::make(tls, self.name.clone(), socket, until);
        let made = Box::pin(made).await;
        made.map_err(|error| ConnectError::Handshake {
            endpoint: self.endpoint.clone(),
            // Behind a proxy it is the proxy's.
            at: at.filter(|_| self.proxy().is_none()),
            proxy: self.proxy().cloned().map(Box::new),
            error: Box::new(error),
        })
    }

    pub(super) fn no_http2(&self, error: h2::Error) -> ConnectError {
        ConnectError::Http2 {
            endpoint: self.endpoint.clone(),
            error,
        }
    }
}

/// Finds the host of an endpoint, which its certificate must be for.
fn host_name(endpoint: &str) -> Result<ServerName<'static>, ConnectError> {
    let bad = || ConnectError::Endpoint {
        endpoint: endpoint.to_owned(),
    };
    let (_, port) = endpoint.rsplit_once(':').ok_or_else(bad)?;
    port.parse::<u16>().map_err(|_| bad())?;
    ServerName::try_from(dial::host(endpoint).to_owned()).map_err(|_| bad())
}
