//! Finds a waiting stream's partner at the router that takes over while this one drains, by a stream there.
//!
//! The call is repeated there with the same token, and says which process forwards it. Nothing that the peer sent goes
//! along until the partner is found, so that an attempt that fails costs nothing and another can follow.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use http::HeaderMap;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use crate::transport::{
    call::{
        reached::{Outcome, Reached, Repeated},
        voucher::{Claim, Unproven},
    },
    forwarding::Target,
    outbound::{self, Connected, Failure, Known},
    phase::Phase,
    shared::Shared,
};
use crate::{
    common::{backoff::Backoff, dial},
    observe::metrics::{RouterProof, SuccessorStream},
    splice::ending::{Cause, Ending},
    tls::trust::Trust,
};

/// One attempt to connect may take this long; then the next begins.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Tells that no other attempt can go better.
fn is_final(failure: &Failure) -> bool {
    match failure {
        // That is also how a router says that it is about to stop, or that it is this very process.
        Failure::Refused(status) => status.code() != Code::Unavailable,
        _ => false,
    }
}

/// Opens a stream at the successor and waits until it has met its partner there. Gives up when the successor was not
/// reached `drain.forward_timeout` after the drain began. Dropping the future takes the stream back.
pub(crate) async fn reach(
    shared: &Shared,
    call: &Repeated<'_>,
) -> Result<Box<(Reached, Outcome<SuccessorStream>)>, Ending> {
    let counter = &shared.metrics.successor_streams;
    let outcome = Outcome::new(counter, SuccessorStream::GivenUp);
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
            Ok(connected) => ask(connected, shared, call).await,
            Err(failure) => Err(failure),
        };
        let failure = match reached {
            Ok(reached) => return Ok(Box::new((reached, outcome))),
            Err(failure) => failure,
        };
        tracing::debug!(error = %failure, "the successor does not take a stream yet");
        if is_final(&failure) && shared.life.phase().is_draining() {
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

async fn connect(shared: &Shared) -> Result<Connected, Failure> {
    let successor = shared.forwarding.successor.load_full();
    let Some((target, own)) = successor.to.as_ref().zip(shared.forwarding.own.get()) else {
        return Err(Failure::Lost);
    };
    // TLS has the rest of an attempt, and a failure here its addresses.
    let until = Instant::now() + ATTEMPT * 4 / 5;
    let socket = match target {
        Target::Own => dial::first(&[reachable(own.address)], until).await?,
        Target::Endpoint(endpoint) => dial::tcp(endpoint, until).await?,
    };
    let known = match &own.tls {
        None => None,
        Some(tls) => {
            let key = tls.key();
            let trust = match &successor.trust {
                Some(trust) => trust.clone(),
                None => Trust::Exactly(key.cert.first().ok_or(Failure::Lost)?.clone()),
            };
            Some(Known {
                trust,
                name: own.name.clone(),
                key: Some(key),
            })
        }
    };
    outbound::connect(socket, known, &shared.means(), true).await
}

/// Repeats the call and waits for the partner.
async fn ask(
    mut connected: Connected,
    shared: &Shared,
    call: &Repeated<'_>,
) -> Result<Reached, Failure> {
    let claim = Claim::new(
        &shared.rules.load(),
        call.authorization,
        &shared.forwarding.process,
        SystemTime::now(),
    );
    let mut request = call.request(shared);
    if let Some(claim) = &claim {
        claim.add_to(request.headers_mut());
    }
    let answered = connected.call(request).await?;
    let believed = is_router(shared, claim.as_ref(), &answered.headers);
    Ok(Reached::new(connected, answered, believed, None))
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

/// Finds where a connection from this machine reaches a listener.
fn reachable(listening: SocketAddr) -> SocketAddr {
    if listening.ip().to_canonical().is_unspecified() {
        // All interfaces take IPv4, also those of IPv6.
        return (Ipv4Addr::LOCALHOST, listening.port()).into();
    }
    listening
}
