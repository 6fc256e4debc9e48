//! Finds a waiting stream's partner at the router that takes over while this one drains, by a stream there.
//!
//! The call is repeated there with the same token, and says which process forwards it. Nothing that the peer sent goes
//! along until the partner is found, so that an attempt that fails costs nothing and another can follow.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use h2::{Ping, RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use thiserror::Error;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use tonic::{Code, Status};

use crate::transport::{
    call::voucher::{Claim, Unproven},
    forwarding::Target,
    outgoing::Outgoing,
    phase::Phase,
    shared::Shared,
    socket,
};
use crate::{
    common::backoff::Backoff,
    grpc::{
        call,
        headers::{self, Encodings},
        status,
    },
    observe::metrics::{Metrics, RouterProof, SuccessorStream},
    splice::ending::{Cause, Ending},
    tls::trust::{self, Trust},
};

/// One attempt to connect may take this long; then the next begins.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Holds what of a call is repeated.
#[derive(Debug)]
pub(crate) struct Repeated<'c> {
    pub authorization: &'c HeaderValue,
    pub encodings: &'c Encodings,
}

/// Holds a stream at the successor that has met its partner there.
pub(crate) struct Reached {
    pub address: IpAddr,
    /// The partner's.
    pub encodings: Encodings,
    /// It has proved that it is a router, so it is believed how the partner's stream ended.
    pub believed: bool,
    pub send: SendStream<Outgoing>,
    pub receive: RecvStream,
    /// The connection, which has this one stream. It must be polled for anything to pass.
    pub driver: BoxFuture<'static, ()>,
}

/// Counts, once, how it went. If nobody says, the stream ended or met its partner here.
pub(crate) struct Outcome {
    metrics: Arc<Metrics>,
    result: SuccessorStream,
}

impl Outcome {
    pub(super) fn set(mut self, result: SuccessorStream) {
        self.result = result;
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.metrics.successor_streams.inc(self.result);
    }
}

/// Says why an attempt failed.
#[derive(Debug, Error)]
enum Failure {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("no answer within {ATTEMPT:?}")]
    Silent,
    #[error("the connection was lost")]
    Lost,
    #[error("it refused the stream: {}", status::described(.0))]
    Refused(Status),
}

impl Failure {
    /// Tells that no other attempt can go better.
    fn is_final(&self) -> bool {
        match self {
            // That is also how a router says that it is about to stop, or that it is this very process.
            Self::Refused(status) => status.code() != Code::Unavailable,
            _ => false,
        }
    }
}

/// Opens a stream at the successor and waits until it has met its partner there. Gives up when the successor was not
/// reached `drain.forward_timeout` after the drain began. Dropping the future takes the stream back.
pub(crate) async fn reach(
    shared: &Shared,
    call: &Repeated<'_>,
) -> Result<Box<(Reached, Outcome)>, Ending> {
    let outcome = Outcome {
        metrics: shared.metrics.clone(),
        result: SuccessorStream::GivenUp,
    };
    let mut late = std::pin::pin!(async {
        shared.life.until(Phase::is_draining).await;
        let long = shared.forwarding.successor.load().timeout;
        sleep(long).await;
    });
    let mut last = None;
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let failure = loop {
        // Only to be reached has a deadline. Then the stream waits there, as it would here.
        let connected = tokio::select! {
            biased;
            connected = timeout(ATTEMPT, connect(shared)) => connected.unwrap_or(Err(Failure::Silent)),
            () = &mut late => break last.unwrap_or(Failure::Silent),
        };
        let reached = match connected {
            Ok(connected) => connected.ask(shared, call).await,
            Err(failure) => Err(failure),
        };
        let failure = match reached {
            Ok(reached) => return Ok(Box::new((reached, outcome))),
            Err(failure) => failure,
        };
        tracing::debug!(error = %failure, "the successor does not take a stream yet");
        if failure.is_final() && shared.life.phase().is_draining() {
            break failure;
        }
        last = Some(failure);
        tokio::select! {
            () = sleep(backoff.pause()) => {}
            () = &mut late => break last.unwrap_or(Failure::Silent),
        }
    };
    outcome.set(match failure {
        Failure::Refused(_) => SuccessorStream::Refused,
        _ => SuccessorStream::Unreachable,
    });
    tracing::warn!(error = %failure, "cannot forward a waiting stream to the successor");
    Err(Cause::Draining.into())
}

/// Holds a connection that has answered.
struct Connected {
    address: IpAddr,
    sender: SendRequest<Outgoing>,
    driver: BoxFuture<'static, ()>,
}

async fn connect(shared: &Shared) -> Result<Connected, Failure> {
    let successor = shared.forwarding.successor.load_full();
    let Some((target, own)) = successor.to.as_ref().zip(shared.forwarding.own.get()) else {
        return Err(Failure::Lost);
    };
    let socket = match target {
        Target::Own => TcpStream::connect(reachable(own.address)).await?,
        Target::Endpoint(endpoint) => TcpStream::connect(endpoint).await?,
    };
    let address = socket.peer_addr()?.ip().to_canonical();
    let settings = shared.settings.load_full();
    socket::prepare(&socket, &settings.connections)?;
    let wire = match &own.tls {
        None => Either::Left(socket),
        Some(tls) => {
            let key = tls.key();
            let trust = match &successor.trust {
                Some(trust) => trust.clone(),
                None => Trust::Exactly(key.cert.first().ok_or(Failure::Lost)?.clone()),
            };
            let tls = TlsConnector::from(Arc::new(trust::client_config(trust, Some(key))?));
            let connected = Box::pin(tls.connect(own.name.clone(), socket)).await;
            Either::Right(connected?)
        }
    };
    let window = settings.streams.initial_window.bytes_u32();
    let (sender, mut connection) = call::http2(window, settings.streams.send_buffer.bytes())
        // One stream; as for a router's peers, the stream's window is the bound.
        .initial_connection_window_size(window.saturating_mul(3) / 2)
        .max_header_list_size(settings.connections.max_header_size.bytes_u32())
        .handshake(wire)
        .await?;
    let pings = connection.ping_pong();
    let mut driver: BoxFuture<'static, ()> = Box::pin(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the successor ended");
        }
    });
    // Somebody has to be there: a connection can lie in the queue of a socket that nobody listens on now.
    if let Some(mut pings) = pings {
        driven(&mut driver, pings.ping(Ping::opaque())).await??;
    }
    Ok(Connected {
        address,
        sender,
        driver,
    })
}

impl Connected {
    /// Repeats the call and waits for the partner.
    async fn ask(mut self, shared: &Shared, call: &Repeated<'_>) -> Result<Reached, Failure> {
        let claim = Claim::new(
            &shared.rules.load(),
            call.authorization,
            &shared.forwarding.process,
            SystemTime::now(),
        );
        let request = request(shared, call, claim.as_ref());
        let driver = &mut self.driver;
        let mut sender = driven(driver, self.sender.ready()).await??;
        let (response, send) = sender.send_request(request, false)?;
        let response = driven(driver, response).await??;
        let (head, receive) = response.into_parts();
        if let Some(status) = Status::from_header_map(&head.headers) {
            return Err(Failure::Refused(status));
        }
        if head.status != StatusCode::OK {
            let status = Status::unknown(format!("HTTP {}", head.status));
            return Err(Failure::Refused(status));
        }
        Ok(Reached {
            address: self.address,
            encodings: Encodings::of(&head.headers),
            believed: is_router(shared, claim.as_ref(), &head.headers),
            send,
            receive,
            driver: self.driver,
        })
    }
}

/// Tells whether the successor has proved that it is a router.
fn is_router(shared: &Shared, claim: Option<&Claim>, headers: &HeaderMap) -> bool {
    let answered = claim.map_or(Err(Unproven::Missing), |claim| claim.is_answered(headers));
    shared.metrics.router_proofs.inc(match answered {
        Ok(()) => RouterProof::SuccessorGood,
        Err(Unproven::Missing) => RouterProof::SuccessorMissing,
        Err(_) => RouterProof::SuccessorWrong,
    });
    if let Err(error) = answered {
        tracing::debug!(%error, "the successor is not believed how its peers' streams end");
    }
    answered.is_ok()
}

fn request(shared: &Shared, repeated: &Repeated<'_>, claim: Option<&Claim>) -> Request<()> {
    let target = shared.forwarding.own.get().map(|own| own.target.clone());
    let mut request = call::request(target.unwrap_or_default(), repeated.authorization.clone());
    let map = request.headers_mut();
    map.insert(headers::FORWARDED_BY, shared.forwarding.process.clone());
    if let Some(claim) = claim {
        claim.add_to(map);
    }
    if let Some(encoding) = &repeated.encodings.sends {
        map.insert("grpc-encoding", encoding.clone());
    }
    if let Some(encodings) = &repeated.encodings.accepts {
        map.insert("grpc-accept-encoding", encodings.clone());
    }
    request
}

/// Awaits `future` while the connection is kept going.
async fn driven<F: Future>(
    driver: &mut BoxFuture<'static, ()>,
    future: F,
) -> Result<F::Output, Failure> {
    tokio::select! {
        biased;
        output = future => Ok(output),
        () = driver => Err(Failure::Lost),
    }
}

/// Finds where a connection from this machine reaches a listener.
fn reachable(listening: SocketAddr) -> SocketAddr {
    if listening.ip().to_canonical().is_unspecified() {
        // All interfaces take IPv4, also those of IPv6.
        return (Ipv4Addr::LOCALHOST, listening.port()).into();
    }
    listening
}
