//! Finds a call's partner: it takes the offer of one that waits, or waits itself. When this router stops, the
//! partner may be at its successor.

use std::{
    future::{pending, poll_fn},
    net::IpAddr,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use http::{HeaderValue, Response};
use tokio::sync::oneshot;

use crate::transport::{
    call::{
        elsewhere, forward,
        peer::{PeerSink, PeerSource},
        reached::{Outcome, Reached, Repeated},
        session::Session,
        successor,
    },
    limits::{count::Counted, pace::Paced},
    phase::Phase,
    shared::{Lanes, Offer, Partner},
};
use crate::{
    cluster::halves::Signer,
    grpc::{
        headers::{Encodings, Mismatch},
        status,
    },
    observe::metrics::{Held, SuccessorStream},
    pairing::table::Waiter,
    splice::{
        drive,
        ending::{Cause, Ending},
        side::Side,
    },
};

pub(crate) type PeerSide = Side<Paced<PeerSource>, PeerSink>;

/// Holds what a call that has to wait keeps for itself.
pub(crate) struct Waiting {
    pub lanes: Lanes,
    pub seat: Counted,
    pub joined: oneshot::Receiver<Partner>,
}

/// Tells what a waiting stream has found.
enum Found {
    /// Its partner here, unless that one panicked.
    Partner(Result<Partner, oneshot::error::RecvError>),
    /// Its partner at the successor, or why there is none.
    Successor(Result<Box<(Reached, Outcome<SuccessorStream>)>, Ending>),
    /// Its partner at another router, which has cost its offer, or why it finds none there.
    Elsewhere(Result<Box<(Reached, Offer)>, Ending>),
}

/// Tells a stream what it needs to know of the partner that it has met.
pub(crate) struct Meeting {
    pub other_peer: IpAddr,
    pub waited: Duration,
    /// The head of this side's response; `None` if the encodings do not match.
    pub head: Option<Response<()>>,
    /// Whoever came second counts the pair.
    pub counted: Option<Held>,
    /// The stream has to end, though it has met its partner.
    pub ended: Option<Ending>,
}

/// Looks for the partner of a call.
pub(crate) struct Seeker {
    pub session: Session,
    pub encodings: Encodings,
    /// With this the call is repeated at the successor. `None` if another router forwards it, which finds the way there
    /// by itself.
    pub authorization: Option<HeaderValue>,
    /// What signed its token; `None` if there are no other routers where its partner may wait.
    pub signer: Option<Signer>,
}

impl Seeker {
    /// The second stream takes the first one's offer.
    pub(crate) fn join(&self, offer: Offer) -> (Lanes, Counted, Meeting) {
        let (entry, first) = (self.session.entry(), &offer.entry);
        entry.set_first(first.id);
        // A pair whose sides are at two routers is counted at the one that called.
        let counted = if self.session.to_peer {
            self.count_pair(first.arrived.elapsed())
        } else {
            self.session.control().set_paired();
            Held::new(&self.session.shared.metrics.cluster_pairs_taken)
        };
        first.control.set_paired();
        tracing::debug!(peer = %entry.peer, other_peer = %first.peer, stream = %entry.subject, "forwarding");
        let meeting = Meeting {
            other_peer: first.peer,
            waited: Duration::ZERO,
            head: response_head(&self.encodings, &offer.encodings).ok(),
            counted: Some(counted),
            ended: None,
        };
        // The first stream is gone if this fails; its lanes say so.
        let _ = offer.joined.send(Partner {
            peer: entry.peer,
            encodings: self.encodings.clone(),
        });
        (offer.lanes.into_inner(), offer.seat, meeting)
    }

    /// Counts the pair, now that this stream has its partner. `waited`: the first one.
    fn count_pair(&self, waited: Duration) -> Held {
        let metrics = &self.session.shared.metrics;
        metrics.pairs.inc();
        metrics.observe_pairing_wait(waited);
        self.session.control().set_paired();
        Held::new(&metrics.streams_paired)
    }

    /// The first stream waits for the second.
    pub(crate) async fn wait(
        &self,
        side: &mut PeerSide,
        waiter: Waiter<Offer>,
        mut on_joined: oneshot::Receiver<Partner>,
    ) -> Result<Box<Meeting>, Ending> {
        let entry = self.session.entry();
        tracing::debug!(peer = %entry.peer, stream = %entry.subject, "waiting for the other side");
        let _counted = Held::new(&self.session.shared.metrics.streams_waiting);
        let mut leaving = pin!(self.leave());
        let mut elsewhere = pin!(self.elsewhere(&waiter));
        let found = poll_fn(|cx| {
            if let Poll::Ready(partner) = Pin::new(&mut on_joined).poll(cx) {
                return Poll::Ready(Found::Partner(partner));
            }
            if let Poll::Ready(found) = elsewhere.as_mut().poll(cx) {
                return Poll::Ready(Found::Elsewhere(found));
            }
            leaving.as_mut().poll(cx).map(Found::Successor)
        });
        let deadlines = &self.session.deadlines;
        let outcome = drive::wait(side, &entry.control, deadlines, entry.arrived, found).await;
        let (reached, ending) = match outcome {
            Ok(Found::Partner(partner)) => return self.met(partner.ok(), None),
            Ok(Found::Elsewhere(Ok(found))) => {
                let (reached, offer) = *found;
                tracing::info!(
                    id = entry.pair(),
                    stream = %entry.subject,
                    peer = %entry.peer.to_canonical(),
                    router = reached.router().map(|router| display(router.id)),
                    address = reached.router().map(|router| &*router.address),
                    "met at another router"
                );
                let open = Held::new(&self.session.shared.metrics.cluster_pairs_called);
                return Ok(Box::new(self.hand_over(reached, open, offer)));
            }
            // It was about to call, so nobody else can have come.
            Ok(Found::Elsewhere(Err(ending))) | Err(ending) if waiter.is_reserved() => {
                return Err(ending);
            }
            Ok(Found::Successor(Ok(reached))) => (Some(reached), None),
            Ok(Found::Successor(Err(ending)) | Found::Elsewhere(Err(ending))) | Err(ending) => {
                (None, Some(ending))
            }
        };
        match (waiter.leave(), reached) {
            (Some(offer), Some(reached)) => {
                let (reached, outcome) = *reached;
                outcome.set(SuccessorStream::Forwarded);
                tracing::info!(
                    id = entry.pair(),
                    stream = %entry.subject,
                    peer = %entry.peer.to_canonical(),
                    successor = %reached.address,
                    "forwarded to the successor"
                );
                let open = Held::new(&self.session.shared.metrics.successor_streams_open);
                Ok(Box::new(self.hand_over(reached, open, offer)))
            }
            (Some(_), None) => Err(self.with_bus(ending.unwrap_or(Cause::Panicked.into()))),
            // A partner came at the same moment. It is on its way to us, and has to be told.
            (None, _) => {
                let matters =
                    |ending: &Ending| !matches!(ending.cause, Cause::Unpaired(_) | Cause::Draining);
                self.met(on_joined.await.ok(), ending.filter(matters))
            }
        }
    }

    /// Says of a stream that nobody has met if it could not be met from elsewhere.
    fn with_bus(&self, ending: Ending) -> Ending {
        let shared = &self.session.shared;
        match ending.cause {
            Cause::Unpaired(after)
                if shared.cluster.get().is_some() && !shared.is_met_elsewhere() =>
            {
                Cause::UnpairedBusAway(after).into()
            }
            _ => ending,
        }
    }

    /// The first stream has met the second, or nobody if that one panicked: a partner's call sends before it does
    /// anything else.
    fn met(&self, partner: Option<Partner>, ended: Option<Ending>) -> Result<Box<Meeting>, Ending> {
        let partner = partner.ok_or(Ending::from(Cause::Panicked).for_other())?;
        Ok(Box::new(Meeting {
            other_peer: partner.peer,
            waited: self.session.entry().arrived.elapsed(),
            head: response_head(&self.encodings, &partner.encodings).ok(),
            counted: None,
            ended,
        }))
    }

    /// When the router is about to stop: finds the partner at its successor, if there is one.
    async fn leave(&self) -> Result<Box<(Reached, Outcome<SuccessorStream>)>, Ending> {
        let shared = &self.session.shared;
        shared.life.until(Phase::is_forwarding).await;
        if shared.is_met_elsewhere() {
            return pending().await;
        }
        let Some(authorization) = &self.authorization else {
            return Err(Cause::Draining.into());
        };
        let call = Repeated {
            authorization,
            encodings: &self.encodings,
        };
        // In a box: a stream shall not keep room for it while it waits.
        Box::pin(successor::reach(shared, &call)).await
    }

    /// Finds the partner at another router, if there are any.
    async fn elsewhere(&self, waiter: &Waiter<Offer>) -> Result<Box<(Reached, Offer)>, Ending> {
        let shared = &self.session.shared;
        let Some(((cluster, signer), authorization)) = shared
            .cluster
            .get()
            .zip(self.signer.as_ref())
            .zip(self.authorization.as_ref())
        else {
            return pending().await;
        };
        let call = Repeated {
            authorization,
            encodings: &self.encodings,
        };
        let subject = &self.session.entry().subject;
        // In a box, as above.
        Box::pin(elsewhere::look(
            shared, cluster, subject, signer, &call, waiter,
        ))
        .await
    }

    /// The partner was found at another router. `open` counts the pair while it lasts.
    fn hand_over(&self, reached: Reached, open: Held, offer: Offer) -> Meeting {
        let entry = self.session.entry();
        let waited = entry.arrived.elapsed();
        let counted = self.count_pair(waited);
        let meeting = Meeting {
            other_peer: reached.address,
            waited,
            head: response_head(&self.encodings, &reached.encodings).ok(),
            counted: Some(counted),
            ended: None,
        };
        forward::start(&self.session.shared, reached, open, offer);
        meeting
    }
}

/// The head of the response to `receiver`, whose partner is `sender`: messages pass as they are, so the
/// sender's encoding is declared, and what the sender can read is what the receiver may use.
fn response_head(receiver: &Encodings, sender: &Encodings) -> Result<Response<()>, Mismatch> {
    let mut head = status::head();
    if let Some(encoding) = sender.towards(receiver)? {
        head.headers_mut().insert("grpc-encoding", encoding);
    }
    if let Some(accepts) = &sender.accepts {
        head.headers_mut()
            .insert("grpc-accept-encoding", accepts.clone());
    }
    // The other direction must work as well, or both ends are told.
    receiver.towards(sender)?;
    Ok(head)
}
