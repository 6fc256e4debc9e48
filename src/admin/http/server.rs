//! Serves HTTP/1.1 so that slow or hostile clients cannot hold it up.
//!
//! `axum::serve` sets no limits, so connections are served here: so many at once, one request each, and each with a
//! deadline for its header, for its whole request and for its life. Connections are accepted at all times: when all
//! places are taken, one that says nothing gives way, so a probe that speaks at once is answered at once.

use std::{
    fs::File,
    future::Future,
    io, net,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, body::Body, http::Request, response::Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};
use tower::ServiceExt as _;
use tracing::{debug, error, warn};

use super::places::{Places, Spoken};
use crate::transport::accept::is_about_the_peer;

/// Says what a client may use up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many connections there may be at once.
    pub connections: usize,
    /// How long the request's header may take, from accept.
    pub header: Duration,
    /// How long the whole request may take, from accept.
    pub request: Duration,
    /// How long the connection may last.
    pub life: Duration,
    /// How long open connections go on after the call to shut down.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            header: Duration::from_secs(5),
            request: Duration::from_secs(10),
            life: Duration::from_secs(60),
            grace: Duration::from_secs(1),
        }
    }
}

/// How many connections a listener serves at once.
pub(crate) const CONNECTIONS: usize = 256;

/// How much of a request is read before its header must be complete.
const HEADER_BYTES: usize = 16 * 1024;

/// How long to wait after a failed accept, which mostly means that no descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a silent connection keeps its descriptor while there are none.
const SILENT: Duration = Duration::from_secs(1);

/// Serves `app` on `listener` until `shutdown` ends, then gives open connections a moment.
///
/// Each connection carries one request. Fails only if the listener cannot be used. Keep it running while the router
/// drains, so that probes see why it is not ready.
pub(crate) async fn serve(
    listener: net::TcpListener,
    app: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    let mut places = Places::default();
    let mut spares = Spares::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next_with_id() => {
                let id = match ended {
                    Ok((id, ())) => id,
                    Err(failed) => {
                        if failed.is_panic() {
                            error!("a handler of the admin server panicked");
                        }
                        failed.id()
                    }
                };
                places.leave(id);
                spares.take_back();
            }
            accepted = accept(&listener, &mut spares, &mut places) => {
                let Some((socket, remote)) = accepted else {
                    continue;
                };
                if places.taken() >= limits.connections {
                    places.make_room();
                }
                let spoken = Spoken::default();
                let serving = connection(socket, remote, app.clone(), limits, spoken.clone());
                let task = connections.spawn(serving);
                places.take(remote.ip(), spoken, task);
                // So that it can read what has come already, before others come that it might give way to.
                yield_now().await;
            }
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    // What is left is cut when the set is dropped.
    let _ = timeout(limits.grace, finish).await;
    Ok(())
}

/// Accepts the next connection, or gives none if that failed.
async fn accept(
    listener: &TcpListener,
    spares: &mut Spares,
    places: &mut Places,
) -> Option<(TcpStream, net::SocketAddr)> {
    let error = match listener.accept().await {
        Ok(accepted) => return Some(accepted),
        Err(error) if is_about_the_peer(&error) => return None,
        Err(error) => error,
    };
    // Peers may have all descriptors, but a probe is answered still.
    let given = spares.give();
    match listener.accept().now_or_never() {
        Some(Ok(accepted)) => return Some(accepted),
        // Nobody waits: Linux asks for a descriptor before it looks.
        None => spares.take_back(),
        Some(Err(_)) => {
            spares.take_back();
            // Otherwise it serves somebody, and perhaps nobody else waits.
            if given {
                warn!(%error, "admin server cannot accept connections");
            }
            places.end_silent(SILENT);
            sleep(ACCEPT_PAUSE).await;
        }
    }
    None
}

/// Keeps file descriptors for when no others are free. More than one, as whoever else waits for one may get that which is
/// given for a probe, or which the probe gives back: with one, every twelfth run of five probes failed.
struct Spares(Vec<File>);

/// How many there are.
const SPARES: usize = 4;

impl Spares {
    fn new() -> Self {
        let mut spares = Self(Vec::with_capacity(SPARES));
        spares.take_back();
        spares
    }

    /// Closes one, so that it is free. False if there is none.
    fn give(&mut self) -> bool {
        self.0.pop().is_some()
    }

    /// Takes those again that have become free.
    fn take_back(&mut self) {
        while self.0.len() < SPARES
            && let Ok(file) = File::open("/dev/null")
        {
            self.0.push(file);
        }
    }
}

/// Names who sent a request. Every request has this among its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote(pub net::SocketAddr);

async fn connection(
    socket: TcpStream,
    remote: net::SocketAddr,
    app: Router,
    limits: Limits,
    spoken: Spoken,
) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        // A connection kept open would hold a place among the few for nothing.
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(HEADER_BYTES);
    let whole = spoken.clone();
    let app = app.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Remote(remote));
        request.map(|body| Body::new(Listening::new(body, whole.clone())))
    });
    let answered = spoken.clone();
    let app = app.map_response(move |response: Response| {
        // Perhaps without having read the body.
        answered.set();
        response
    });
    let service = TowerToHyperService::new(app);
    let served = builder.serve_connection(TokioIo::new(socket), service);
    tokio::select! {
        served = served => if let Err(error) = served {
            debug!(error = &*error, "admin connection failed");
        },
        () = too_late(limits, spoken) => debug!("admin connection took too long"),
    }
}

/// Ends when the request is not whole in time, or when the connection has lasted too long.
async fn too_late(limits: Limits, spoken: Spoken) {
    sleep(limits.request).await;
    if spoken.get() {
        sleep(limits.life.saturating_sub(limits.request)).await;
    }
}

/// Passes on the body of a request, and notes its end.
struct Listening {
    body: Incoming,
    spoken: Spoken,
}

impl Listening {
    fn new(body: Incoming, spoken: Spoken) -> Self {
        if body.is_end_stream() {
            spoken.set();
        }
        Self { body, spoken }
    }
}

impl http_body::Body for Listening {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.spoken.set();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
