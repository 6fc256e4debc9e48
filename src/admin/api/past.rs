//! The list of streams that have ended or were refused.

use std::{borrow::Cow, collections::HashMap, net::IpAddr, sync::Arc};

use axum::{
    extract::{Query as Asked, State, rejection::QueryRejection},
    response::Response,
};
use serde::{Deserialize, Serialize};

use super::{
    Admin, aside,
    streams::{Router, seconds},
    unasked,
};
use crate::{
    grpc::status,
    observe::names::Names,
    splice::{ending::By, side::Totals},
    transport::{
        call::UNTOLD,
        past::{Ended, Place, Refused, Side},
        shared::Shared,
        streams::StreamEntry,
    },
};

/// How many are listed unless more are asked for.
const USUAL: usize = 100;

/// How many are listed at most, which is all that are kept.
const MOST: usize = 2 * crate::transport::past::MOST;

/// Which are listed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Query {
    /// How many at most, of the newest; 100 unless said otherwise, and never more than 2,000.
    limit: Option<usize>,
    /// Only those with this number, or with this text in anything that is text. Upper and lower case are the same.
    q: String,
    /// Only those of this kind.
    kind: Option<Kind>,
}

/// Tells what has ended from what was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It was let in, and has ended.
    Ended,
    /// It was not let in.
    Refused,
}

/// The body of `GET /api/past`.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Listing {
    /// How many are kept.
    pub total: usize,
    /// How many of them match the query.
    pub matching: usize,
    /// Those listed, the newest first.
    pub streams: Vec<Row>,
}

/// A pair that has ended, a stream that never had a partner, or streams that were refused for the same.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    /// Whether it was let in.
    pub kind: Kind,
    /// The number that it had; the log has it, too. `None` if it was refused before it had one.
    pub id: Option<u64>,
    /// The subject of the tokens; `None` if the token was not believed.
    pub subject: Option<String>,
    /// Who took part, if that was told.
    pub names: Option<Names>,
    /// When the first stream arrived, milliseconds since the epoch.
    pub began_unix_ms: u64,
    /// When the last stream ended or was refused, likewise.
    pub ended_unix_ms: u64,
    /// How long the first waited for the second, seconds; `None` if that never came.
    pub waited_seconds: Option<f64>,
    /// From the arrival of the first to the end of the last, waiting included, seconds.
    pub duration_seconds: f64,
    /// Who it was, in the order of arrival.
    pub peers: Vec<Peer>,
    /// Which of them ended it: `first`, `second`, or `router`; `None` if both did.
    pub ended_by: Option<Cow<'static, str>>,
    /// Why, as the log names it.
    pub cause: Cow<'static, str>,
    /// The name of the gRPC status code that was told.
    pub status: Cow<'static, str>,
    /// The sentence that was told. It is empty if all went well.
    pub reason: String,
    /// How many streams from there were refused for that; 1 for what has ended.
    pub count: u64,
}

/// One side of a pair.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Peer {
    /// Where it was.
    pub address: IpAddr,
    /// The subject of its certificate; `None` if it has shown none.
    pub certificate: Option<String>,
    /// Which router it was; `None` if it was a peer.
    pub router: Option<Router>,
    /// Bytes of messages received from it.
    pub bytes_in: u64,
    /// Bytes of messages handed to its connection.
    pub bytes_out: u64,
    /// Messages received from it.
    pub messages_in: u64,
    /// Messages handed to its connection.
    pub messages_out: u64,
}

pub(super) async fn show(
    State(admin): State<Admin>,
    query: Result<Asked<Query>, QueryRejection>,
) -> Response {
    match query {
        Ok(Asked(query)) => aside(move || list(&admin.shared, &query)).await,
        Err(error) => unasked(&error),
    }
}

fn list(shared: &Shared, query: &Query) -> Listing {
    let mut ended = shared.past.ended();
    complete(shared, &mut ended);
    let mut rows: Vec<_> = ended.iter().map(Row::of_ended).collect();
    rows.extend(shared.past.refused().iter().map(Row::of_refused));
    let total = rows.len();
    let wanted = query.q.to_lowercase();
    rows.retain(|row| query.kind.is_none_or(|kind| row.kind == kind) && row.matches(&wanted));
    let matching = rows.len();
    // Of the same millisecond the one that came last is the first.
    rows.reverse();
    rows.sort_by_key(|row| std::cmp::Reverse(row.ended_unix_ms));
    rows.truncate(query.limit.unwrap_or(USUAL).min(MOST));
    Listing {
        total,
        matching,
        streams: rows,
    }
}

/// Adds what is known of partners that are still being told.
fn complete(shared: &Shared, ended: &mut [Ended]) {
    let is_half = |ended: &Ended| ended.paired && ended.sides.iter().any(Option::is_none);
    let halves = ended.iter().filter(|ended| is_half(ended));
    let mut partners: HashMap<u64, Vec<Arc<StreamEntry>>> =
        halves.map(|ended| (ended.id, Vec::new())).collect();
    if partners.is_empty() {
        return;
    }
    shared.streams.for_each(|entry| {
        if let Some(partners) = partners.get_mut(&entry.pair()) {
            partners.push(entry.clone());
        }
    });
    for ended in ended {
        for partner in partners.remove(&ended.id).unwrap_or_default() {
            let side = &mut ended.sides[usize::from(partner.id != ended.id)];
            side.get_or_insert_with(|| Side::of(&partner, partner.control.carried()));
        }
    }
}

impl Row {
    fn of_ended(ended: &Ended) -> Self {
        let mut reason = ended.ending.message().into_owned();
        if ended.ending.can_be_told() && !ended.told {
            reason.push_str(UNTOLD);
        }
        let by = match (ended.ended_by(), ended.ending.by()) {
            (Some(Place::First), _) => Some("first"),
            (Some(Place::Second), _) => Some("second"),
            (None, By::Both) => None,
            (None, _) => Some("router"),
        };
        Self {
            kind: Kind::Ended,
            id: Some(ended.id),
            subject: Some(ended.subject.to_string()),
            names: ended.names.as_deref().cloned(),
            began_unix_ms: ended.since,
            ended_unix_ms: ended.until,
            waited_seconds: ended.waited.map(seconds),
            duration_seconds: seconds(ended.duration),
            peers: ended.sides.iter().flatten().map(Peer::of).collect(),
            ended_by: by.map(Cow::from),
            cause: ended.ending.reason().into(),
            status: status::name(ended.ending.code()).into(),
            reason,
            count: 1,
        }
    }

    fn of_refused(refused: &Refused) -> Self {
        let peer = Peer {
            address: refused.address.to_canonical(),
            certificate: refused.certificate.as_deref().map(ToOwned::to_owned),
            router: None,
            bytes_in: 0,
            bytes_out: 0,
            messages_in: 0,
            messages_out: 0,
        };
        Self {
            kind: Kind::Refused,
            id: None,
            subject: refused.subject.as_deref().map(ToOwned::to_owned),
            names: refused.names.as_deref().cloned(),
            began_unix_ms: refused.since,
            ended_unix_ms: refused.until,
            waited_seconds: None,
            duration_seconds: 0.0,
            peers: vec![peer],
            ended_by: Some("router".into()),
            cause: refused.cause.into(),
            status: status::name(refused.code).into(),
            reason: refused.reason.to_string(),
            count: refused.count,
        }
    }

    fn matches(&self, wanted: &str) -> bool {
        let has = |text: &str| text.to_lowercase().contains(wanted);
        let router = |router: &Router| has(&router.name) || has(&router.address);
        let mut peers = self.peers.iter();
        wanted.is_empty()
            || self.id.is_some_and(|id| wanted.parse() == Ok(id))
            || self.subject.as_deref().is_some_and(has)
            || self.names.iter().flat_map(Names::all).any(has)
            || peers.any(|peer| {
                has(&peer.address.to_string())
                    || peer.certificate.as_deref().is_some_and(has)
                    || peer.router.as_ref().is_some_and(router)
            })
            || [&*self.cause, &*self.status, &*self.reason]
                .into_iter()
                .any(has)
    }
}

impl Peer {
    fn of(side: &Side) -> Self {
        let Totals {
            bytes_in,
            messages_in,
            bytes_out,
            messages_out,
        } = side.totals;
        Self {
            address: side.address.to_canonical(),
            certificate: side.certificate.as_deref().map(ToOwned::to_owned),
            router: side.router.as_deref().map(Router::of),
            bytes_in,
            bytes_out,
            messages_in,
            messages_out,
        }
    }
}
