//! Whether a call may become a stream: its head, its address's limits, its token, and what is left of memory.
//!
//! Cheap checks come first: an address that sends too many calls, or too many bad tokens, is turned away before any
//! signature is looked at.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Response, header::AUTHORIZATION, request::Parts};
use tonic::Code;

use crate::transport::{
    call::{
        peer::Passage,
        voucher::{self, Unproven},
    },
    limits::addresses::Origin,
    memory::level::Level,
    shared::Router,
};
use crate::{
    auth::Admission,
    grpc::{headers, status},
    observe::metrics::RouterProof,
    pairing::table::Refused,
};

/// Causes of refusal that are not the token's, for metrics.
pub const REFUSALS: &[&str] = &[
    "draining",
    "too_many_waiting",
    "too_many_streams",
    "too_many_per_address",
    "stream_rate",
    "refused_token_rate",
    "memory",
    "token_spent",
    "forwarded_to_itself",
    "not_grpc",
    "malformed_timeout",
    "method",
];

/// A call that may become a stream.
pub(crate) struct Admitted {
    /// What its token says.
    pub admission: Admission,
    /// The caller's own deadline.
    pub timeout: Option<Duration>,
}

/// Checks everything that the request's head says. On refusal: the response.
pub(crate) fn admit(
    router: &Router,
    peer: &Origin,
    passage: &Passage,
    head: &Parts,
) -> Result<Admitted, Response<()>> {
    let headers = &head.headers;
    if passage.streams() > 0 && router.memory.level() >= Level::Evict {
        return Err(short_of_memory(router, peer));
    }
    if !headers::is_grpc(headers) {
        router.metrics.stream_refusals.inc("not_grpc");
        return Err(status::unsupported_media_type());
    }
    let timeout = headers::timeout(headers).map_err(|error| {
        let text = error.to_string();
        note(router, peer, None, "malformed_timeout", &text);
        status::bad_request(&text)
    })?;
    if head.method != Method::POST {
        router.metrics.stream_refusals.inc("method");
        return Err(status::trailers_only(
            Code::Unimplemented,
            "gRPC calls use the method POST",
        ));
    }
    let settings = router.settings.load();
    let (arrivals, refusals) = (
        settings.streams.new_per_second_per_address,
        settings.refused_tokens_per_second,
    );
    if let Some(limit) = arrivals
        && !peer.address.arrivals.take_one(limit)
    {
        let text = format!(
            "more than {limit} new streams a second from this address \
             (streams.new_per_second_per_address); try again later"
        );
        return Err(over_limit(router, peer, "stream_rate", &text));
    }
    // A token that is good costs nothing, so an address gets in again as soon as it has earned one more check.
    if let Some(limit) = refusals
        && !peer.address.refusals.has_one(limit)
    {
        let text = format!(
            "more than {limit} refused tokens a second from this address \
             (auth.refused_per_second_per_address); try again later, with a valid token"
        );
        return Err(over_limit(router, peer, "refused_token_rate", &text));
    }
    let (rules, now) = (router.rules.load(), SystemTime::now());
    let admission = rules.check(headers, now).map_err(|refusal| {
        if let Some(limit) = refusals {
            peer.address.refusals.take_one(limit);
        }
        router.metrics.stream_refusals.inc(refusal.cause());
        let error = rules.explain(&refusal, headers);
        tracing::info!(%peer, cause = refusal.cause(), %error, "router authentication failed");
        status::trailers_only(Code::Unauthenticated, refusal.message())
    })?;
    let key = &rules.keys.keys()[admission.key];
    router.metrics.token_keys.accepted(key.name(), now);
    if router.memory.level() >= Level::NoStreams {
        return Err(short_of_memory(router, peer));
    }
    Ok(Admitted { admission, timeout })
}

/// The response to a call that `process` forwards, if it cannot be served here: a stream is forwarded once, and not to
/// the process it comes from. Both may change while the other one tries again.
pub(crate) fn forwarded(
    router: &Router,
    peer: &Origin,
    subject: &str,
    process: &HeaderValue,
) -> Option<Response<()>> {
    let (cause, text) = if *process == router.process {
        let text = "this stream comes from this very process, which is shutting down";
        ("forwarded_to_itself", text)
    } else if router.leaving.is_cancelled() {
        let text = "the router is shutting down, too; forward to its successor";
        ("draining", text)
    } else {
        return None;
    };
    let code = Code::Unavailable;
    Some(turn_away(router, peer, Some(subject), cause, code, text))
}

/// The response to a call for which there is no memory.
pub(crate) fn short_of_memory(router: &Router, peer: &Origin) -> Response<()> {
    let text = "the router is short of memory (memory.limit); try again later";
    over_limit(router, peer, "memory", text)
}

/// What proves to the peer, which says that it is a router, that so is this one. `None` if it does not prove it: then it
/// is a peer like any other, whatever it says.
pub(crate) fn voucher(
    router: &Router,
    peer: &Origin,
    subject: &str,
    headers: &HeaderMap,
) -> Option<HeaderValue> {
    let authorization = headers.get(AUTHORIZATION)?;
    let answer = voucher::answer(
        &router.rules.load(),
        headers,
        authorization,
        SystemTime::now(),
    );
    router.metrics.router_proofs.inc(match answer {
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

/// The response to a call from an address that has too many streams.
pub(crate) fn too_many_per_address(router: &Router, peer: &Origin, limit: usize) -> Response<()> {
    let text = format!(
        "{limit} streams are open from this address already, the limit (streams.max_per_address); \
         end some, or try again later"
    );
    over_limit(router, peer, "too_many_per_address", &text)
}

fn over_limit(router: &Router, peer: &Origin, cause: &'static str, text: &str) -> Response<()> {
    turn_away(router, peer, None, cause, Code::ResourceExhausted, text)
}

/// The response to a call for which there is no place in the table.
pub(crate) fn no_place(
    router: &Router,
    peer: &Origin,
    subject: &str,
    refused: Refused,
) -> Response<()> {
    let (cause, code) = match refused {
        Refused::Draining => ("draining", Code::Unavailable),
        Refused::TooManyWaiting { .. } => ("too_many_waiting", Code::ResourceExhausted),
        Refused::TooManyStreams { .. } => ("too_many_streams", Code::ResourceExhausted),
        Refused::Spent => ("token_spent", Code::Unauthenticated),
    };
    turn_away(
        router,
        peer,
        Some(subject),
        cause,
        code,
        &refused.to_string(),
    )
}

fn turn_away(
    router: &Router,
    peer: &Origin,
    subject: Option<&str>,
    cause: &'static str,
    code: Code,
    text: &str,
) -> Response<()> {
    note(router, peer, subject, cause, text);
    status::trailers_only(code, text)
}

/// Counts a refusal, and logs it if there were not too many.
fn note(router: &Router, peer: &Origin, subject: Option<&str>, cause: &'static str, text: &str) {
    router.metrics.stream_refusals.inc(cause);
    tracing::info!(%peer, stream = subject, cause, error = text, "stream refused");
}
