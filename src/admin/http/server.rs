//! A small HTTP/1.1 server that a few slow or hostile clients cannot hold up.
//!
//! `axum::serve` sets no limits, so connections are served here: few at once, one request each, and
//! each with a deadline for its header and for its whole life. Connections over the limit wait in
//! the kernel's queue, which for a probe is better than being refused.

use std::{future::Future, io, net, pin::pin, time::Duration};

use axum::{Router, http::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::ServiceExt as _;
use tracing::{debug, error, warn};

/// What a client may use up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// From accept to the end of the request's header.
    pub header: Duration,
    /// From accept to close.
    pub life: Duration,
    /// From the call to shut down until open connections are cut.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            header: Duration::from_secs(5),
            life: Duration::from_secs(60),
            grace: Duration::from_secs(1),
        }
    }
}

/// Connections that a listener serves at once.
pub const CONNECTIONS: usize = 64;

/// How much of a request is read before its header must be complete.
const HEADER_BYTES: usize = 16 * 1024;

/// How long to wait after a failed accept, which mostly means that no descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves `app` on `listener` until `shutdown` ends, then gives open connections one second.
///
/// At most 64 connections are served at once. Each carries one request and lives at most 60 s.
/// Fails only if the listener cannot be used. Keep it running while the router drains, so that
/// probes see why it is not ready.
pub async fn serve(
    listener: net::TcpListener,
    app: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_with(listener, app, Limits::default(), shutdown).await
}

pub(super) async fn serve_with(
    listener: net::TcpListener,
    app: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => {
                if ended.is_err_and(|error| error.is_panic()) {
                    error!("a handler of the admin server panicked");
                }
            }
            accepted = listener.accept(), if connections.len() < limits.connections => {
                match accepted {
                    Ok((socket, remote)) => {
                        connections.spawn(connection(socket, remote, app.clone(), limits));
                    }
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        warn!(%error, "admin server cannot accept connections");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    // What is left is cut when the set is dropped.
    let _ = timeout(limits.grace, finish).await;
    Ok(())
}

/// Who sent a request. Every request has this among its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Remote(pub net::SocketAddr);

async fn connection(socket: TcpStream, remote: net::SocketAddr, app: Router, limits: Limits) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        // A connection kept open would hold a place among the few for nothing.
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(HEADER_BYTES);
    let app = app.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Remote(remote));
        request
    });
    let service = TowerToHyperService::new(app);
    let served = builder.serve_connection(TokioIo::new(socket), service);
    match timeout(limits.life, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error = &*error, "admin connection failed"),
        Err(_) => debug!("admin connection took too long"),
    }
}

/// Whether the failed accept says nothing about the next one.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
