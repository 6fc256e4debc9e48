//! Finds a waiting stream's partner at another router, where the bus says that it waits.
//!
//! Before this router calls, it takes the stream's own offer out of the table: so nobody else takes it meanwhile, and the
//! other router may answer its peer at once. A partner that comes here in that moment waits beside. If the call fails, the
//! offer goes back into the table; if somebody waits there by then, that one is called, at this very router.
//!
//! The other way is that the other router keeps its peer's answer back until this one has confirmed. It costs another turn
//! for each pair, and a half that was taken in vain has to be put back there instead of here.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use crate::transport::{
    call::reached::{Outcome, Reached, Repeated},
    outbound::{self, Connected, Failure, Known},
    shared::{Cluster, Offer, Shared},
    streams::OtherRouter,
};
use crate::{
    cluster::{
        announcement::sha256,
        halves::Signer,
        meet::{Elsewhere, Order, UNREACHED},
    },
    common::dial,
    grpc::headers,
    observe::metrics::ClusterCall,
    pairing::table::Waiter,
    splice::ending::{Cause, Ending},
    tls::trust::Trust,
};

/// A router that waits for another's answer holds a half of its own back, so it does not wait long. Four round trips
/// around the world take less.
const ANSWER: Duration = Duration::from_secs(3);

/// Somebody waits here who is not known to others yet.
const BESIDE: Duration = Duration::from_millis(5);

/// Looks for the partner of a stream that waits here; returns when it was found, with the stream's own offer.
///
/// While it calls it holds that offer, which is gone if the future is dropped. Then the call is given up.
pub(crate) async fn look(
    shared: &Shared,
    cluster: &Cluster,
    subject: &Arc<str>,
    signer: &Signer,
    repeated: &Repeated<'_>,
    waiter: &Waiter<Offer>,
) -> Result<Box<(Reached, Offer)>, Ending> {
    let mut failures = Failures::default();
    loop {
        let halves = &cluster.halves;
        let mut waiting = halves.waits(subject, signer, waiter.ticket(), failures.in_a_row);
        let order = waiting.order().await;
        drop(waiting);
        let mut at = match order {
            Order::Call(at) => at,
            Order::Unreached => return Err(Cause::RouterUnreached.into()),
        };
        // A partner has come at home, which the stream is about to learn.
        let Some(mut offer) = waiter.reserve() else {
            return std::future::pending().await;
        };
        loop {
            match call(shared, cluster, &at, repeated).await {
                Ok(reached) => return Ok(Box::new((reached, offer))),
                Err(failure) => failures.note(&at, &failure).inspect_err(|_| {
                    offer.entry.set_other_router(&Arc::new(named(&at)));
                    halves.gives_up(&at, subject, signer);
                })?,
            }
            match waiter.restore(offer) {
                Ok(()) => break,
                Err(back) => offer = back,
            }
            at = loop {
                if let Some(beside) = halves.beside(subject) {
                    break beside;
                }
                sleep(BESIDE).await;
            };
        }
    }
}

/// Follows the calls of one stream that came to nothing.
#[derive(Default)]
struct Failures {
    in_a_row: u32,
    /// When the first of those came that are no answer, or say that the other router is full.
    since: Option<Instant>,
}

impl Failures {
    /// Ends the stream if calls have failed for so long that waiting on helps nobody.
    fn note(&mut self, at: &Elsewhere, failure: &Failure) -> Result<(), Ending> {
        let cause = match failure {
            // The half had gone, or met another.
            Failure::Refused(status) if status.code() == Code::NotFound => {
                *self = Self::default();
                return Ok(());
            }
            Failure::Refused(status) if status.code() == Code::ResourceExhausted => {
                Cause::RouterFull
            }
            _ => Cause::RouterUnreached,
        };
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        self.in_a_row += 1;
        tracing::info!(
            router = %at.router, address = at.address, error = %failure, failed = self.in_a_row,
            "cannot call the router where the other side waits"
        );
        if now - since >= UNREACHED {
            return Err(cause.into());
        }
        Ok(())
    }
}

/// Calls the router at which a half waits, on a connection that is kept or a new one.
async fn call(
    shared: &Shared,
    cluster: &Cluster,
    at: &Elsewhere,
    repeated: &Repeated<'_>,
) -> Result<Reached, Failure> {
    let metrics = &shared.metrics;
    let outcome = Outcome::new(&metrics.cluster_calls, ClusterCall::GivenUp);
    let start = Instant::now();
    let called = timeout(ANSWER, try_call(shared, cluster, at, repeated)).await;
    let called = called.unwrap_or(Err(Failure::Silent));
    outcome.set(match &called {
        Ok(_) => ClusterCall::Met,
        Err(Failure::Refused(status)) if status.code() == Code::NotFound => ClusterCall::Nobody,
        Err(Failure::Refused(_)) => ClusterCall::Refused,
        Err(_) => ClusterCall::Unreachable,
    });
    if called.is_ok() {
        metrics.observe_cluster_meeting(start.elapsed());
    }
    called
}

async fn try_call(
    shared: &Shared,
    cluster: &Cluster,
    at: &Elsewhere,
    repeated: &Repeated<'_>,
) -> Result<Reached, Failure> {
    let mut request = repeated.request(shared);
    let ticket = URL_SAFE_NO_PAD.encode(at.ticket.0);
    if let Ok(ticket) = HeaderValue::try_from(ticket) {
        request.headers_mut().insert(headers::TICKET, ticket);
    }
    let mut connected = match kept(cluster, at).await {
        Some(connected) => connected,
        None => connect(shared, at).await?,
    };
    let answered = connected.call(request).await?;
    // Its certificate was announced by a router that has the token's key.
    Ok(Reached::new(connected, answered, true, Some(named(at))))
}

fn named(at: &Elsewhere) -> OtherRouter {
    OtherRouter {
        id: at.router,
        address: at.address.clone(),
    }
}

/// Gives a connection that is kept and can carry a call.
async fn kept(cluster: &Cluster, at: &Elsewhere) -> Option<Connected> {
    loop {
        let mut connected = cluster.pool.take(at.router).await?;
        if connected.ready().await.is_ok() {
            return Some(connected);
        }
    }
}

async fn connect(shared: &Shared, at: &Elsewhere) -> Result<Connected, Failure> {
    let own = shared.forwarding.own.get().ok_or(Failure::Lost)?;
    // TLS has the rest of the time for an answer, and a failure here its addresses.
    let socket = dial::tcp(&at.address, Instant::now() + ANSWER * 4 / 5).await?;
    let known = Known {
        trust: Trust::Pinned {
            sha256: at.certificate,
            hash: sha256,
        },
        name: own.name.clone(),
        key: None,
    };
    outbound::connect(socket, Some(known), &shared.means(), false).await
}
