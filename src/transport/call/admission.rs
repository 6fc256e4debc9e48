//! Decides whether a call becomes a stream: its head, its address's limits, its token, what is left of memory, and whether there
//! is a place for it.
//!
//! Cheap checks come first: an address that sends too many calls, or too many bad tokens, is turned away before any
//! signature is looked at.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, Response, header::AUTHORIZATION, request::Parts};
use sync_wrapper::SyncWrapper;
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use crate::transport::{
    call::{
        partner::{Seeker, Waiting},
        peer::Dialect,
        refusal::{NoPlace, Refusal},
        session::{Session, deadlines_of_router},
        voucher::{self, Unproven},
    },
    counters::ConnectionCounters,
    limits::addresses::{Origin, StreamPermit},
    memory::level::Level,
    settings::Settings,
    shared::{Offer, Shared},
    streams::{OtherRouter, StreamEntry},
};
use crate::{
    auth::Admission,
    cluster::{
        halves::Signer,
        meet::{RouterId, Ticket},
    },
    grpc::headers::{self, Encodings},
    observe::metrics::RouterProof,
    pairing::table::Place,
    splice::{drive::Deadlines, lane::counted_lane},
};

/// Says where a call comes from.
pub(crate) struct Caller<'c> {
    pub shared: &'c Arc<Shared>,
    pub peer: &'c Origin,
    /// What the streams of its connection count.
    pub counters: &'c Arc<ConnectionCounters>,
}

/// Holds what a call that becomes a stream needs while it lasts.
pub(crate) struct Admitted {
    pub seeker: Seeker,
    /// How the caller is told its ending.
    pub dialect: Dialect,
    /// If the caller is another router that this one cannot know otherwise: what proves to it that so is this one.
    pub voucher: Option<Box<HeaderValue>>,
    pub open: StreamPermit,
    /// Its largest message, bytes.
    pub max_message: u64,
    pub place: Place<Offer, Waiting>,
}

/// Makes the whole decision. On refusal, which is counted and logged: the response.
pub(crate) fn admit(caller: &Caller<'_>, head: &Parts) -> Result<Admitted, Response<()>> {
    decide(caller, head).map_err(|refusal| refusal.tell(caller.shared, caller.peer))
}

fn decide(caller: &Caller<'_>, head: &Parts) -> Result<Admitted, Refusal> {
    if caller.peer.is_router {
        return take(caller, head);
    }
    let arrived = Instant::now();
    let &Caller {
        shared,
        peer,
        counters,
    } = caller;
    if counters.streams.open() > 0 && shared.memory.level() >= Level::Evict {
        return Err(Refusal::Memory);
    }
    let timeout = check_head(head)?;
    let settings = shared.settings.load();
    check_rates(peer, &settings)?;
    let (admission, signer) =
        check_token(caller, &head.headers, settings.refused_tokens_per_second)?;
    if shared.memory.level() >= Level::NoStreams {
        return Err(Refusal::Memory);
    }
    let subject = &admission.subject;
    let no_place = |why| Refusal::Stream {
        subject: subject.clone(),
        why,
    };
    let process = head.headers.get(headers::FORWARDED_BY);
    if let Some(process) = process {
        check_forwarded(shared, process).map_err(no_place)?;
    }
    let voucher = process.and_then(|_| voucher(caller, subject, &head.headers));
    let limit = settings.streams.max_per_address.map(|limit| limit as usize);
    let open = peer.address.open_stream(limit);
    let open = open.ok_or(Refusal::TooManyPerAddress(limit.unwrap_or_default()))?;

    let permit = shared.streams.enter(
        subject.clone(),
        peer.ip,
        peer.certificate.clone(),
        arrived,
        counters.clone(),
    );
    // The drain ends all streams that it finds waiting, so it is asked only once it would find this one.
    if shared.life.phase().refuses_streams() {
        return Err(no_place(NoPlace::Draining));
    }
    let encodings = Encodings::of(&head.headers);
    let most = settings.streams.max.map(|limit| limit as usize);
    let offer = || offer(shared, &permit.entry, &encodings, most);
    let place = shared.table.arrive(subject, admission.expires_at, offer);
    let place = place.map_err(no_place)?;
    shared.metrics.streams.inc();
    let authorization = head.headers.get(AUTHORIZATION);
    Ok(Admitted {
        seeker: Seeker {
            session: Session {
                shared: shared.clone(),
                permit,
                deadlines: deadlines(&settings, timeout.map(|after| arrived + after)),
                to_peer: true,
            },
            signer,
            encodings,
            authorization: authorization
                .filter(|_| process.is_none())
                .map(headers::detached),
        },
        dialect: match voucher {
            Some(_) => Dialect::Router,
            None => Dialect::Peer,
        },
        voucher: voucher.map(Box::new),
        open,
        max_message: settings.streams.max_message_size.bytes() as u64,
        place,
    })
}

/// Another router of the cluster calls for a half that waits here: it gets exactly that one, or is told at once that it is
/// gone. Nobody waits for it, and nothing is forwarded further.
fn take(caller: &Caller<'_>, head: &Parts) -> Result<Admitted, Refusal> {
    let &Caller {
        shared,
        peer,
        counters,
    } = caller;
    check_head(head)?;
    let admission = shared.rules.load().check_undated(&head.headers);
    let subject = admission.map_err(Refusal::Token)?.subject;
    if shared.memory.level() >= Level::NoStreams {
        return Err(Refusal::Memory);
    }
    let taken = take_half(shared, &head.headers, &subject);
    let offer = taken.ok_or_else(|| Refusal::Stream {
        subject: subject.clone(),
        why: NoPlace::NotWaiting,
    })?;
    let unlimited = peer.address.open_stream(None);
    let open = unlimited.ok_or(Refusal::TooManyPerAddress(0))?;
    let settings = shared.settings.load();
    let arrived = Instant::now();
    let permit = shared
        .streams
        .enter(subject, peer.ip, None, arrived, counters.clone());
    permit.entry.set_relay();
    if let Some(router) = router(peer, &head.headers).map(Arc::new) {
        permit.entry.set_other_router(&router);
        offer.entry.set_other_router(&router);
    }
    Ok(Admitted {
        seeker: Seeker {
            session: Session {
                shared: shared.clone(),
                permit,
                deadlines: deadlines_of_router(settings.streams.linger),
                to_peer: false,
            },
            signer: None,
            encodings: Encodings::of(&head.headers),
            authorization: None,
        },
        dialect: Dialect::Router,
        voucher: None,
        open,
        max_message: settings.streams.max_message_size.bytes() as u64,
        place: Place::Paired(offer),
    })
}

/// Names the router that calls, as it says; it has proved no more than that it knows the ticket.
fn router(peer: &Origin, headers: &HeaderMap) -> Option<OtherRouter> {
    let id = headers.get(headers::FORWARDED_BY)?;
    let id = Uuid::try_parse_ascii(id.as_bytes()).ok()?;
    Some(OtherRouter {
        id: RouterId(id.into_bytes()),
        address: peer.ip.to_canonical().to_string(),
    })
}

/// Takes the half that the call's ticket names.
fn take_half(shared: &Shared, headers: &HeaderMap, subject: &str) -> Option<Offer> {
    let ticket = URL_SAFE_NO_PAD.decode(headers.get(headers::TICKET)?).ok()?;
    let ticket = Ticket(ticket.try_into().ok()?);
    let place = shared.cluster.get()?.halves.take(ticket, subject)?;
    shared.table.leave(subject, place)
}

/// Checks whether it is a call of gRPC at all, and returns the caller's own deadline.
fn check_head(head: &Parts) -> Result<Option<Duration>, Refusal> {
    if !headers::is_grpc(&head.headers) {
        return Err(Refusal::NotGrpc);
    }
    let timeout = headers::timeout(&head.headers)?;
    if head.method != Method::POST {
        return Err(Refusal::Method);
    }
    Ok(timeout)
}

/// Checks how many calls and bad tokens have come from this address lately.
fn check_rates(peer: &Origin, settings: &Settings) -> Result<(), Refusal> {
    if let Some(limit) = settings.streams.new_per_second_per_address
        && !peer.address.arrivals.take_one(limit)
    {
        return Err(Refusal::StreamRate(limit));
    }
    // A token that is good costs nothing, so an address gets in again as soon as it has earned one more check.
    if let Some(limit) = settings.refused_tokens_per_second
        && !peer.address.refusals.has_one(limit)
    {
        return Err(Refusal::TokenRate(limit));
    }
    Ok(())
}

/// Checks the token. `limit`: refused tokens a second.
fn check_token(
    caller: &Caller<'_>,
    headers: &HeaderMap,
    limit: Option<u32>,
) -> Result<(Admission, Option<Signer>), Refusal> {
    let (shared, peer) = (caller.shared, caller.peer);
    let (rules, now) = (shared.rules.load_full(), SystemTime::now());
    let admission = rules.check(headers, now).map_err(|refusal| {
        if let Some(limit) = limit {
            peer.address.refusals.take_one(limit);
        }
        let error = rules.explain(&refusal, headers);
        tracing::info!(%peer, cause = refusal.cause(), %error, "router authentication failed");
        Refusal::Token(refusal)
    })?;
    let key = &rules.keys.keys()[admission.key];
    shared.metrics.token_keys.accepted(key.name(), now);
    let signer = shared.cluster.get().map(|_| Signer {
        rules: rules.clone(),
        key: admission.key,
    });
    Ok((admission, signer))
}

/// Checks whether a call that `process` forwards can be served here: a stream is forwarded once, and not to the process
/// it comes from. Both may change while the other one tries again.
fn check_forwarded(shared: &Shared, process: &HeaderValue) -> Result<(), NoPlace> {
    if *process == shared.forwarding.process {
        Err(NoPlace::ForwardedToItself)
    } else if shared.life.phase().is_leaving() {
        Err(NoPlace::Leaving)
    } else {
        Ok(())
    }
}

/// Makes what proves to the peer, which says that it is a router, that so is this one. `None` if it does not prove it:
/// then it is a peer like any other, whatever it says.
fn voucher(caller: &Caller<'_>, subject: &str, headers: &HeaderMap) -> Option<HeaderValue> {
    let (shared, peer) = (caller.shared, caller.peer);
    let authorization = headers.get(AUTHORIZATION)?;
    let answer = voucher::answer(
        &shared.rules.load(),
        headers,
        authorization,
        SystemTime::now(),
    );
    shared.metrics.router_proofs.inc(match answer {
        Ok(_) => RouterProof::CallerGood,
        Err(Unproven::Missing) => RouterProof::CallerMissing,
        Err(Unproven::Wrong) => RouterProof::CallerWrong,
        Err(Unproven::Stale) => RouterProof::CallerStale,
    });
    if let Err(error) = answer {
        tracing::info!(
            %peer,
            stream = subject,
            %error,
            "a peer says that it is a router, and is served as a peer"
        );
    }
    answer.ok()
}

/// Makes what a call that has to wait leaves for its partner, and what it keeps. `limit`: streams at once.
fn offer(
    shared: &Shared,
    entry: &Arc<StreamEntry>,
    encodings: &Encodings,
    limit: Option<usize>,
) -> Result<(Offer, Waiting), NoPlace> {
    let seats = shared.limits.seats.take(limit);
    let [seat, partner_seat] = seats.ok_or(NoPlace::TooManyStreams(limit.unwrap_or_default()))?;
    let (tx, partner_rx) = counted_lane(shared.memory.lanes());
    let (partner_tx, rx) = counted_lane(shared.memory.lanes());
    let (joined, on_joined) = oneshot::channel();
    let offer = Offer {
        lanes: SyncWrapper::new((partner_tx, partner_rx)),
        seat: partner_seat,
        joined,
        entry: entry.clone(),
        encodings: encodings.clone(),
    };
    let kept = Waiting {
        lanes: (tx, rx),
        seat,
        joined: on_joined,
    };
    Ok((offer, kept))
}

/// Sets the stream's deadlines. `caller`: when the caller's own passes.
fn deadlines(settings: &Settings, caller: Option<Instant>) -> Deadlines {
    Deadlines {
        pairing: settings.pairing.timeout,
        idle: settings.streams.idle_timeout,
        stall: settings.streams.stall_timeout,
        lifetime: settings.streams.max_duration,
        caller,
        linger: settings.streams.linger,
    }
}
