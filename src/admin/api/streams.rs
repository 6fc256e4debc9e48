//! The list of live streams.

mod column;

use std::{borrow::Cow, collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

pub(crate) use self::column::Column;
use crate::{
    observe::names::Names,
    splice::control::State,
    transport::streams::{OtherRouter, StreamEntry, Streams},
};

/// How many are listed unless more are asked for.
const USUAL: usize = 500;

/// How many are listed at most.
const MOST: usize = 20_000;

/// Which streams are listed, and in which order.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Query {
    /// How many at most; 500 unless said otherwise, and never more than 20,000.
    pub limit: Option<usize>,
    /// Only those with this number, or with this text in the subject, a peer's address or certificate, a name, or another
    /// router's name or address. Upper and lower case are the same.
    pub q: String,
    /// By what they are sorted.
    pub sort: Column,
    /// The largest first.
    pub descending: bool,
}

/// The body of `GET /api/streams`.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Listing {
    /// How many there are: pairs, and streams without a partner.
    pub total: usize,
    /// How many of them match the query.
    pub matching: usize,
    /// Those listed.
    pub streams: Vec<Row>,
}

/// A pair, or a stream without a partner.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    /// Its number in this process; the log has it, too.
    pub id: u64,
    /// The subject of the tokens. Chosen by whoever signs tokens, so it may hold anything.
    pub subject: String,
    /// Who takes part, if that was told.
    pub names: Option<Names>,
    /// When the first of the two arrived, milliseconds since the epoch.
    #[serde(default)]
    pub began_unix_ms: u64,
    /// When the second arrived, likewise; `None` while the first waits for it.
    pub paired_unix_ms: Option<u64>,
    /// `waiting`, `paired` or `ending`.
    pub state: Cow<'static, str>,
    /// Since the first of the two arrived, seconds.
    pub age_seconds: f64,
    /// How long the first waited for the second, seconds; `None` while it does.
    pub waited_seconds: Option<f64>,
    /// Those still there, in the order of arrival.
    pub peers: Vec<Peer>,
}

/// One side of a pair.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Peer {
    /// Where it is.
    pub address: IpAddr,
    /// The subject of its certificate; `None` if it has shown none.
    pub certificate: Option<String>,
    /// Which router it is; `None` if it is a peer. The peer of a pair that lies apart is at that router.
    pub router: Option<Router>,
    /// Bytes of messages received from it.
    pub bytes_in: u64,
    /// Bytes of messages handed to its connection.
    pub bytes_out: u64,
    /// Messages received from it.
    pub messages_in: u64,
    /// Messages handed to its connection.
    pub messages_out: u64,
    /// Bytes a second received, over the last second.
    pub rate_in: u64,
    /// Bytes a second handed to its connection, over the last second.
    pub rate_out: u64,
    /// Bytes that wait for this peer to take them; of a stream without a partner, those it has sent.
    pub held_bytes: u64,
    /// How long it has taken none of them, seconds; `None` if it takes them.
    pub stalled_seconds: Option<f64>,
    /// What it may send before its partner takes anything, bytes.
    pub window_bytes: u32,
}

/// Another router.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Router {
    /// Its name, as its own log and status have it.
    pub name: String,
    /// host:port where this router called it; if it called, its address alone.
    pub address: String,
}

impl Router {
    pub(super) fn of(router: &OtherRouter) -> Self {
        Self {
            name: router.id.to_string(),
            address: router.address.clone(),
        }
    }
}

/// The streams that `query` asks for.
pub(crate) fn list(streams: &Streams, query: &Query) -> Listing {
    let mut all = Vec::new();
    streams.for_each(|entry| all.push(entry.clone()));
    let mut rows = rows(all);
    let total = rows.len();
    let wanted = query.q.to_lowercase();
    rows.retain(|row| row.matches(&wanted));
    let matching = rows.len();
    rows.sort_by(|one, other| {
        let order = query.sort.compare(one, other);
        let order = if query.descending {
            order.reverse()
        } else {
            order
        };
        order.then(one.id.cmp(&other.id))
    });
    rows.truncate(query.limit.unwrap_or(USUAL).min(MOST));
    Listing {
        total,
        matching,
        streams: rows,
    }
}

/// The pair of that number, or the stream that waits alone.
pub(crate) fn one(streams: &Streams, id: u64) -> Option<Row> {
    rows(streams.of_pair(id)).pop()
}

/// Puts both sides of each pair together.
fn rows(mut all: Vec<Arc<StreamEntry>>) -> Vec<Row> {
    // The order of arrival, so that the first of a pair makes its row.
    all.sort_unstable_by_key(|entry| entry.id);
    let mut rows: Vec<Row> = Vec::new();
    let mut places: HashMap<u64, usize> = HashMap::new();
    for entry in all {
        let place = *places.entry(entry.pair()).or_insert(rows.len());
        match rows.get_mut(place) {
            Some(row) => row.add(&entry),
            None => rows.push(Row::new(&entry)),
        }
    }
    rows
}

impl Row {
    fn new(entry: &StreamEntry) -> Self {
        Self {
            id: entry.pair(),
            subject: entry.subject.to_string(),
            names: entry.names().map(|names| Names::clone(&names)),
            began_unix_ms: entry.began,
            paired_unix_ms: None,
            state: name(entry.control.state()).into(),
            age_seconds: seconds(entry.arrived.elapsed()),
            waited_seconds: None,
            peers: vec![Peer::new(entry)],
        }
    }

    /// The second of the pair.
    fn add(&mut self, entry: &StreamEntry) {
        let state = entry.control.state();
        // Either tells that both end; and the second is paired a moment before the first.
        if state == State::Ending || self.state != name(State::Ending) {
            self.state = name(state).into();
        }
        let age = seconds(entry.arrived.elapsed());
        self.waited_seconds = Some((self.age_seconds - age).max(0.0));
        self.paired_unix_ms = Some(entry.began.max(self.began_unix_ms));
        self.peers.push(Peer::new(entry));
    }

    fn matches(&self, wanted: &str) -> bool {
        let has = |text: &str| text.to_lowercase().contains(wanted);
        let router = |router: &Router| has(&router.name) || has(&router.address);
        let mut peers = self.peers.iter();
        wanted.is_empty()
            || wanted.parse() == Ok(self.id)
            || has(&self.subject)
            || self.names.iter().flat_map(Names::all).any(has)
            || peers.any(|peer| {
                has(&peer.address.to_string())
                    || peer.certificate.as_deref().is_some_and(has)
                    || peer.router.as_ref().is_some_and(router)
            })
    }

    fn sum(&self, figure: impl Fn(&Peer) -> u64) -> u64 {
        self.peers.iter().map(figure).sum()
    }

    fn stalled(&self) -> f64 {
        let times = self.peers.iter().filter_map(|peer| peer.stalled_seconds);
        times.fold(0.0, f64::max)
    }
}

impl Peer {
    fn new(entry: &StreamEntry) -> Self {
        let totals = entry.control.carried();
        let (rate_in, rate_out) = entry.rates();
        Self {
            address: entry.peer.to_canonical(),
            certificate: entry.certificate.as_deref().map(ToOwned::to_owned),
            router: entry.router().map(Router::of),
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
            messages_in: totals.messages_in,
            messages_out: totals.messages_out,
            rate_in,
            rate_out,
            held_bytes: entry.control.held(),
            // Whoever waits for a partner reads nothing because there is nothing.
            stalled_seconds: entry
                .stalled()
                .filter(|_| entry.control.is_paired())
                .map(seconds),
            window_bytes: entry.window(),
        }
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Paired => "paired",
        State::Ending => "ending",
    }
}

/// To the millisecond.
pub(super) fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}
