//! Takes connections in: limits, then the first words, then HTTP/2.

mod hello;
mod outage;

use std::{future::poll_fn, io, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use self::outage::Outage;
use crate::common::backoff::Backoff;
use crate::observe::{
    metrics::{ConnectionAccept, ConnectionEnd, Held, Label as _},
    panics::caught,
};
use crate::transport::{
    http2::{connection, wire::Wire},
    limits::{
        addresses::{ConnectionPermit, Origin},
        proxy_protocol::{self, HeaderError},
    },
    memory::level::Level,
    phase::Phase,
    shared::Shared,
    socket::prepare,
    tls::current::CurrentTls,
};

/// Says who connects to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Clients and exporters.
    Peers,
    /// Other routers of the cluster. They have no limits of their own, and may come until the end: what waits here during a
    /// drain is met from elsewhere.
    Routers,
}

/// Accepts until the drain, serves what there is until everything stops, then ends what is left. `tls`: `None` serves plain text.
///
/// `handed_over`: other processes accept from the very same queue, so what waits there is left to them. Otherwise it would
/// be lost when the listener is closed, so it is accepted first.
pub async fn run(
    router: Arc<Shared>,
    listener: TcpListener,
    tls: Option<Arc<CurrentTls>>,
    handed_over: bool,
    who: Who,
) {
    let mut draining = pin!(router.life.until(match who {
        Who::Peers => Phase::is_draining,
        Who::Routers => Phase::is_stopped,
    }));
    let stopped = router.life.until(Phase::is_stopped);
    let acceptor = Arc::new(Acceptor { router, tls, who });
    let mut tasks = JoinSet::new();
    let mut trouble = Trouble::new();
    loop {
        let accepted = tokio::select! {
            // What comes after that is for others.
            biased;
            () = &mut draining => break,
            Some(_) = tasks.join_next() => continue,
            accepted = poll_fn(|cx| {
                let accepted = listener.poll_accept(cx);
                if accepted.is_pending() {
                    trouble.over(&acceptor.router);
                }
                accepted
            }) => accepted,
        };
        match accepted {
            Ok((socket, address)) => {
                trouble.pauses.reset();
                acceptor.take_in(&mut tasks, socket, address.ip());
            }
            // The peer is gone already; the listener is fine.
            Err(error) if is_about_the_peer(&error) => {}
            Err(error) => sleep(trouble.begin(&acceptor.router, &error)).await,
        }
    }
    if handed_over || acceptor.router.life.phase().is_stopped() {
        drop(listener);
    } else if let Err(error) = take_rest(&acceptor, &mut tasks, listener) {
        tracing::warn!(%error, "connections that had not been accepted are lost");
    }
    tokio::select! {
        biased;
        () = stopped => {}
        () = async { while tasks.join_next().await.is_some() {} } => {}
    }
    tasks.shutdown().await;
}

/// What there is while nothing can be accepted, for want of file descriptors or memory.
struct Trouble {
    pauses: Backoff,
    outage: Outage,
}

/// Connections without a stream that are taken back each time, as each has a descriptor.
const SPARES: usize = 16;

impl Trouble {
    fn new() -> Self {
        Self {
            pauses: Backoff::new(Duration::from_millis(5), Duration::from_secs(1)),
            outage: Outage::default(),
        }
    }

    /// How long to wait: trying again at once would only burn the processor.
    fn begin(&mut self, router: &Shared, error: &io::Error) -> Duration {
        router.metrics.accept_failures.inc();
        router.life.set_accepting(false);
        let told = (0..SPARES).filter(|_| router.limits.spares.take_back(ConnectionEnd::MadeRoom));
        let taken_back = told.count();
        if let Some(left_out) = self.outage.failed(Instant::now()) {
            tracing::warn!(
                %error,
                taken_back,
                left_out = (left_out > 0).then_some(left_out),
                "cannot accept connections, so the router is not ready; are there too few file descriptors \
                 (ulimit -n, LimitNOFILE=)?"
            );
        }
        self.pauses.pause()
    }

    /// All that waited has been accepted: only then the router is ready again, as it would be for moments else.
    fn over(&mut self, router: &Shared) {
        let Some(over) = self.outage.over(Instant::now()) else {
            return;
        };
        router.life.set_accepting(true);
        if let Some(long) = over.to_say {
            tracing::info!(after_s = long.as_secs(), "connections are accepted again");
        }
    }
}

/// Accepts what the kernel holds ready, and closes the listener.
fn take_rest(
    acceptor: &Arc<Acceptor>,
    tasks: &mut JoinSet<()>,
    listener: TcpListener,
) -> io::Result<()> {
    let listener = listener.into_std()?;
    loop {
        match listener.accept() {
            Ok((socket, address)) => {
                socket.set_nonblocking(true)?;
                let socket = TcpStream::from_std(socket)?;
                acceptor.take_in(tasks, socket, address.ip());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if is_about_the_peer(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Tells whether a failed accept says nothing about the next one.
pub(crate) fn is_about_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// What every connection passes on its way in.
struct Acceptor {
    router: Arc<Shared>,
    tls: Option<Arc<CurrentTls>>,
    who: Who,
}

impl Acceptor {
    /// Serves a connection, in a task of its own, unless a limit is reached.
    fn take_in(self: &Arc<Self>, tasks: &mut JoinSet<()>, socket: TcpStream, address: IpAddr) {
        let peer = address.to_canonical();
        let Some(open) = self.count(peer) else {
            return;
        };
        if self.is_proxy(peer) {
            tasks.spawn(serve_proxied(self.clone(), socket, peer, open));
        } else if let Some(visit) = self.enter(peer) {
            tasks.spawn(serve(self.clone(), socket, visit, open));
        }
    }

    /// Counts the connection as open until the guard is dropped, unless there are too many.
    fn count(&self, peer: IpAddr) -> Option<Held> {
        let metrics = &self.router.metrics;
        let limit = self.router.settings.load().connections.max as usize;
        // Only the accept loop adds connections, so the gauge cannot pass the limit in between.
        let open = usize::try_from(metrics.connections_open.get()).unwrap_or(0);
        if !self.router.limits.spares.make_room(open, limit) {
            metrics.connections.inc(ConnectionAccept::RefusedLimit);
            log_refusal(peer, "connections.max", limit);
            return None;
        }
        if self.router.memory.level() >= Level::Full {
            metrics.connections.inc(ConnectionAccept::RefusedMemory);
            tracing::info!(%peer, "connection refused: memory is short");
            return None;
        }
        Some(Held::new(&metrics.connections_open))
    }

    /// Lets in a connection from this address, unless it has too many.
    fn enter(&self, peer: IpAddr) -> Option<ConnectionPermit> {
        let metrics = &self.router.metrics;
        if self.who == Who::Routers {
            let mut visit = self.router.limits.routers.enter(peer, None)?;
            visit.origin.is_router = true;
            metrics.connections.inc(ConnectionAccept::Accepted);
            return Some(visit);
        }
        let limit = self.router.settings.load().connections.max_per_address;
        let limit = limit.map(|limit| limit as usize);
        let visit = self.router.limits.addresses.enter(peer, limit);
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

    /// Runs a connection from its first byte to its last.
    async fn run(&self, socket: TcpStream, peer: &Origin) -> ConnectionEnd {
        let router = &self.router;
        if let Err(error) = prepare(&socket, &router.settings.load().connections) {
            tracing::debug!(%peer, %error, "cannot set socket options");
        }
        match &self.tls {
            Some(tls) => match Box::pin(hello::handshake(router, peer, tls, socket)).await {
                Ok((wire, certificate)) => {
                    let peer = Origin {
                        certificate: certificate.map(Arc::from),
                        ..peer.clone()
                    };
                    Box::pin(connection::serve(router.clone(), peer, wire)).await
                }
                Err(end) => end,
            },
            None => match Box::pin(hello::plaintext(router, peer, &socket)).await {
                Ok(()) => {
                    let wire = Wire::new(socket);
                    Box::pin(connection::serve(router.clone(), peer.clone(), wire)).await
                }
                Err(end) => end,
            },
        }
    }

    /// Whether a PROXY header must come first on a connection from this address.
    fn is_proxy(&self, peer: IpAddr) -> bool {
        let settings = self.router.settings.load();
        self.who == Who::Peers
            && settings
                .proxies
                .iter()
                .any(|network| network.contains(&peer))
    }
}

fn log_refusal(peer: IpAddr, name: &str, limit: usize) {
    tracing::info!(%peer, limit, name, "connection refused: limit reached");
}

/// Serves a connection that a load balancer passes on, under the address that its PROXY header names.
async fn serve_proxied(acceptor: Arc<Acceptor>, mut socket: TcpStream, proxy: IpAddr, open: Held) {
    let router = &acceptor.router;
    let long = router.settings.load().proxy_header_timeout;
    let header = timeout(long, proxy_protocol::read(&mut socket));
    let what = "a connection's task panicked at its PROXY header";
    let Some(header) = caught(&router.metrics, proxy, what, header).await else {
        return;
    };
    let (result, error) = match header {
        Ok(Ok(named)) => {
            if let Some(visit) = acceptor.enter(named.unwrap_or(proxy)) {
                Box::pin(serve(acceptor, socket, visit, open)).await;
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

async fn serve(acceptor: Arc<Acceptor>, socket: TcpStream, visit: ConnectionPermit, _open: Held) {
    let metrics = &acceptor.router.metrics;
    let peer = &visit.origin;
    let what = "a connection's task panicked; its streams were ended";
    let run = Box::pin(acceptor.run(socket, peer));
    let end = caught(metrics, peer, what, run).await;
    let end = end.unwrap_or(ConnectionEnd::Panicked);
    metrics.connections_closed.inc(end);
    tracing::debug!(%peer, reason = end.as_str(), "connection closed");
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
}
