//! Takes connections in: listening socket, limits, TLS.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    addresses::{Origin, Visit},
    connection,
    current_tls::CurrentTls,
    memory::{CONNECTION, Level, Share},
    proxy_protocol::{self, HeaderError},
    router::{ConnectionSettings, Router},
    tls::{self, FirstBytes},
    tls_stream::TlsStream,
    wire::Wire,
};
use crate::observe::metrics::{ConnectionAccept, ConnectionEnd, Held, TlsHandshake};

/// Binds a listening TCP socket. An unspecified IPv6 address takes IPv4 connections, too; on a host
/// without IPv6 it is taken for the unspecified IPv4 address.
///
/// `shared`: other processes of this user may listen there, too (`SO_REUSEPORT`), if they do it in the same way.
pub fn bind(address: SocketAddr, backlog: u32, shared: bool) -> io::Result<std::net::TcpListener> {
    match bind_exactly(address, backlog, shared) {
        Err(error)
            if error.raw_os_error() == Some(EAFNOSUPPORT)
                && address.is_ipv6()
                && address.ip().is_unspecified() =>
        {
            let address = (Ipv4Addr::UNSPECIFIED, address.port());
            bind_exactly(address.into(), backlog, shared)
        }
        result => result,
    }
}

/// The system knows no such address family (Linux).
const EAFNOSUPPORT: i32 = 97;

fn bind_exactly(
    address: SocketAddr,
    backlog: u32,
    shared: bool,
) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restarted router takes its port back from connections that are closing.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Accepts until the drain, serves what there is until `stop`, then ends what is left. `tls`: `None` serves plain text.
///
/// `handed_over`: other processes accept from the very same queue, so what waits there is left to them. Otherwise it would
/// be lost when the listener is closed, so it is accepted first.
pub async fn run(
    router: Arc<Router>,
    listener: TcpListener,
    tls: Option<Arc<CurrentTls>>,
    handed_over: bool,
) {
    let (draining, stop) = (router.draining.clone(), router.stop.clone());
    let door = Arc::new(Door { router, tls });
    let tasks = TaskTracker::new();
    let mut pause = Duration::ZERO;
    loop {
        let accepted = tokio::select! {
            // What comes after that is for others.
            biased;
            () = stop.cancelled() => break,
            () = draining.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, address)) => {
                pause = Duration::ZERO;
                door.take_in(&tasks, socket, address.ip());
            }
            // The peer is gone already; the listener is fine.
            Err(error) if is_about_the_peer(&error) => {}
            Err(error) => {
                // Out of file descriptors or memory: trying again at once would only burn the processor.
                pause = (pause * 2).clamp(Duration::from_millis(5), Duration::from_secs(1));
                tracing::warn!(%error, "cannot accept connections; trying again in {pause:?}");
                sleep(pause).await;
            }
        }
    }
    if handed_over || stop.is_cancelled() {
        drop(listener);
    } else if let Err(error) = take_rest(&door, &tasks, listener) {
        tracing::warn!(%error, "connections that had not been accepted are lost");
    }
    tasks.close();
    tasks.wait().await;
}

/// Accepts what the kernel holds ready, and closes the listener.
fn take_rest(door: &Arc<Door>, tasks: &TaskTracker, listener: TcpListener) -> io::Result<()> {
    let listener = listener.into_std()?;
    loop {
        match listener.accept() {
            Ok((socket, address)) => {
                socket.set_nonblocking(true)?;
                let socket = TcpStream::from_std(socket)?;
                door.take_in(tasks, socket, address.ip());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if is_about_the_peer(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_about_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// A connection's place among all, and in memory; given back on drop.
struct Place {
    _open: Held,
    _memory: Share,
}

/// What every connection passes on its way in.
struct Door {
    router: Arc<Router>,
    tls: Option<Arc<CurrentTls>>,
}

impl Door {
    /// Serves a connection, in a task of its own, unless a limit is reached.
    fn take_in(self: &Arc<Self>, tasks: &TaskTracker, socket: TcpStream, address: IpAddr) {
        let peer = address.to_canonical();
        let Some(place) = self.place(peer) else {
            return;
        };
        let stop = self.router.stop.clone();
        if self.is_proxy(peer) {
            let task = Box::pin(serve_proxied(self.clone(), socket, peer, place));
            tasks.spawn(stop.run_until_cancelled_owned(task));
        } else if let Some(visit) = self.enter(peer) {
            // In a box: `run_until_cancelled_owned` keeps room for its argument three times.
            let task = Box::pin(serve(self.clone(), socket, visit, place));
            tasks.spawn(stop.run_until_cancelled_owned(task));
        }
    }

    /// A place among all connections, if one is free; given back on drop.
    fn place(&self, peer: IpAddr) -> Option<Place> {
        let metrics = &self.router.metrics;
        let limit = self.router.settings.load().connections.max;
        // Only the accept loop adds connections, so the gauge cannot pass the limit in between.
        if usize::try_from(metrics.connections_open.get()).unwrap_or(0) >= limit {
            metrics.connections.inc(ConnectionAccept::RefusedLimit);
            log_refusal(peer, "connections.max", limit);
            return None;
        }
        if self.router.memory.level() >= Level::Evict {
            metrics.connections.inc(ConnectionAccept::RefusedMemory);
            tracing::info!(%peer, "connection refused: memory is short");
            return None;
        }
        let mut memory = Share::new(self.router.memory.clone());
        memory.set(CONNECTION);
        Some(Place {
            _open: Held::new(&metrics.connections_open),
            _memory: memory,
        })
    }

    /// Lets in a connection from this address, unless it has too many.
    fn enter(&self, peer: IpAddr) -> Option<Visit> {
        let metrics = &self.router.metrics;
        let limit = self.router.settings.load().connections.max_per_address;
        let visit = self.router.addresses.enter(peer, limit);
        if visit.is_some() {
            metrics.connections.inc(ConnectionAccept::Accepted);
        } else {
            metrics
                .connections
                .inc(ConnectionAccept::RefusedAddressLimit);
            let limit = limit.unwrap_or_default();
            log_refusal(peer, "connections.max_per_address", limit);
        }
        visit
    }

    /// Whether a PROXY header must come first on a connection from this address.
    fn is_proxy(&self, peer: IpAddr) -> bool {
        let settings = self.router.settings.load();
        let proxies = &settings.connections.proxies;
        proxies.iter().any(|network| network.contains(&peer))
    }
}

fn log_refusal(peer: IpAddr, name: &str, limit: usize) {
    tracing::info!(%peer, limit, name, "connection refused: limit reached");
}

/// Serves a connection that a load balancer passes on, under the address that its PROXY header names.
async fn serve_proxied(door: Arc<Door>, mut socket: TcpStream, proxy: IpAddr, place: Place) {
    let router = &door.router;
    let long = router.settings.load().connections.proxy_header_timeout;
    let (result, error) = match timeout(long, proxy_protocol::read(&mut socket)).await {
        Ok(Ok(named)) => {
            if let Some(visit) = door.enter(named.unwrap_or(proxy)) {
                Box::pin(serve(door, socket, visit, place)).await;
            }
            return;
        }
        Ok(Err(HeaderError::Nothing)) => {
            // As a load balancer looks whether somebody listens.
            router
                .metrics
                .connections
                .inc(ConnectionAccept::NoProxyHeader);
            return;
        }
        Ok(Err(error)) => (ConnectionAccept::RefusedProxyHeader, error.to_string()),
        Err(_) => (
            ConnectionAccept::ProxyHeaderTimeout,
            format!("no PROXY header within {long:?} (listen.proxy_protocol_timeout)"),
        ),
    };
    router.metrics.connections.inc(result);
    tracing::info!(%proxy, error, "connection refused: its address is in listen.proxy_protocol_from");
}

/// Bytes the kernel may hold unsent before the socket counts as full.
const UNSENT: u32 = 128 * 1024;

async fn serve(door: Arc<Door>, socket: TcpStream, visit: Visit, _place: Place) {
    let router = &door.router;
    let peer = &visit.origin;
    if let Err(error) = prepare(&socket, &router.settings.load().connections) {
        tracing::debug!(%peer, %error, "cannot set socket options");
    }
    // Each phase in a box of its own: a connection that only waits should not keep room for its handshake.
    let end = match &door.tls {
        Some(tls) => match Box::pin(handshake(router, peer, tls, socket)).await {
            Ok((wire, certificate)) => {
                let peer = peer.clone().with_certificate(certificate);
                Box::pin(connection::serve(router.clone(), peer, wire)).await
            }
            Err(end) => end,
        },
        None => match Box::pin(plaintext(router, peer, &socket)).await {
            Ok(()) => {
                let wire = Wire::new(socket);
                Box::pin(connection::serve(router.clone(), peer.clone(), wire)).await
            }
            Err(end) => end,
        },
    };
    router.metrics.connections_closed.inc(end);
    tracing::debug!(%peer, reason = end.as_str(), "connection closed");
}

pub(super) fn prepare(socket: &TcpStream, settings: &ConnectionSettings) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    // Finds peers that vanished without a word while nothing is sent to them.
    if let Some(interval) = settings.keepalive_interval {
        let keepalive = TcpKeepalive::new()
            .with_time(interval)
            .with_interval(settings.keepalive_timeout.max(Duration::from_secs(1)));
        socket.set_tcp_keepalive(&keepalive)?;
    }
    // Bytes wait here, where a PING's answer can still go before them, rather than in the kernel.
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.set_tcp_user_timeout(settings.tcp_user_timeout)
}

/// Waits for enough bytes to tell the protocol, without taking them.
async fn first_bytes(socket: &TcpStream) -> io::Result<FirstBytes> {
    let mut bytes = [0; 4];
    loop {
        let count = socket.peek(&mut bytes).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if bytes[0] == 0x16 || count == bytes.len() {
            return Ok(FirstBytes::of(&bytes[..count]));
        }
        // Fewer than four bytes of plain text: peek would return them again at once.
        sleep(Duration::from_millis(10)).await;
    }
}

fn refuse_protocol(peer: &Origin, found: FirstBytes, expected: &str) {
    let found = match found {
        FirstBytes::Tls => "TLS",
        FirstBytes::Http2 => "plaintext HTTP/2",
        FirstBytes::Http1 => "plaintext HTTP/1",
        FirstBytes::Unknown => "an unknown protocol",
    };
    tracing::info!(%peer, found, expected, "connection closed: wrong protocol");
}

async fn plaintext(
    router: &Router,
    peer: &Origin,
    socket: &TcpStream,
) -> Result<(), ConnectionEnd> {
    let long = router.settings.load().connections.preface_timeout;
    match timeout(long, first_bytes(socket)).await {
        Ok(Ok(FirstBytes::Http2)) => Ok(()),
        Ok(Ok(found)) => {
            refuse_protocol(peer, found, "plaintext HTTP/2 (tls.plaintext is set)");
            Err(ConnectionEnd::NotHttp2)
        }
        Ok(Err(_)) => Err(ConnectionEnd::PeerClosed),
        Err(_) => Err(ConnectionEnd::PrefaceTimeout),
    }
}

/// A connection after its handshake, and the subject of the certificate that the peer has shown.
type Met = (Wire<TlsStream<TcpStream>>, Option<String>);

async fn handshake(
    router: &Router,
    peer: &Origin,
    tls: &CurrentTls,
    socket: TcpStream,
) -> Result<Met, ConnectionEnd> {
    let long = router.settings.load().connections.tls_handshake_timeout;
    match timeout(long, shake_hands(router, peer, tls, socket)).await {
        Ok(result) => result,
        Err(_) => {
            router.metrics.tls_handshakes.inc(TlsHandshake::Timeout);
            tracing::debug!(%peer, "TLS handshake not finished within {long:?}");
            Err(ConnectionEnd::TlsTimeout)
        }
    }
}

async fn shake_hands(
    router: &Router,
    peer: &Origin,
    tls: &CurrentTls,
    socket: TcpStream,
) -> Result<Met, ConnectionEnd> {
    let handshakes = &router.metrics.tls_handshakes;
    match first_bytes(&socket).await {
        Ok(FirstBytes::Tls) => {}
        Ok(found) => {
            handshakes.inc(TlsHandshake::Plaintext);
            refuse_protocol(peer, found, "TLS");
            return Err(ConnectionEnd::NotHttp2);
        }
        // Port scanners and load balancers' probes: connected and closed.
        Err(_) => return Err(ConnectionEnd::PeerClosed),
    }
    let mut stream = match tls.accept(socket).await {
        Ok(stream) => stream,
        Err(error) => {
            let result = failure(&error);
            handshakes.inc(result);
            tracing::info!(%peer, cause = result.as_str(), %error, "TLS handshake failed");
            return Err(ConnectionEnd::NotHttp2);
        }
    };
    if stream.alpn_protocol().is_none() {
        // Stock clients with `insecure` look at the certificate this way before each connection.
        handshakes.inc(TlsHandshake::NoAlpn);
        tracing::debug!(%peer, "TLS without ALPN: closed after the handshake");
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
        return Err(ConnectionEnd::NotHttp2);
    }
    handshakes.inc(TlsHandshake::Ok);
    let certificate = stream.peer_certificate().and_then(tls::subject);
    Ok((Wire::new(stream), certificate))
}

/// What a failed handshake counts as.
fn failure(error: &io::Error) -> TlsHandshake {
    let error = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    match error {
        Some(rustls::Error::NoCertificatesPresented) => TlsHandshake::NoCertificate,
        // The peer's, as the router shows its own to the peer.
        Some(rustls::Error::InvalidCertificate(_)) => TlsHandshake::BadCertificate,
        _ => TlsHandshake::Failed,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_peer_are_told_from_those_of_this_machine() {
        // ECONNABORTED, ECONNRESET, EINTR; EMFILE, ENFILE, ENOMEM, ENOBUFS, EINVAL (Linux).
        for (code, peer) in [103, 104, 4]
            .map(|code| (code, true))
            .into_iter()
            .chain([24, 23, 12, 105, 22].map(|code| (code, false)))
        {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(is_about_the_peer(&error), peer, "{error}");
        }
    }

    #[test]
    fn a_restarted_router_takes_its_port_back_but_never_anothers() {
        let first = bind("127.0.0.1:0".parse().unwrap(), 16, false).unwrap();
        let address = first.local_addr().unwrap();
        let taken = bind(address, 16, false).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        // A connection the router closed first keeps the port in TIME_WAIT.
        first.set_nonblocking(false).unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        drop(first.accept().unwrap());
        drop(first);
        drop(client);
        bind(address, 16, false).unwrap();
    }

    #[test]
    fn two_listen_side_by_side_only_if_both_want_to() {
        let first = bind("127.0.0.1:0".parse().unwrap(), 16, true).unwrap();
        let address = first.local_addr().unwrap();
        bind(address, 16, false).unwrap_err();
        let second = bind(address, 16, true).unwrap();
        drop(first);
        drop(second);
        let _alone = bind(address, 16, false).unwrap();
        bind(address, 16, true).unwrap_err();
    }

    #[test]
    fn all_interfaces_take_both_families() {
        let Ok(listener) = bind("[::]:0".parse().unwrap(), 16, false) else {
            panic!("an unspecified address is taken on any machine")
        };
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}
