//! Figures of the last minutes.

use std::time::SystemTime;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::Response,
};
use serde::{Deserialize, Serialize};

use super::{Admin, aside, unasked};
use crate::{
    common::since_epoch,
    transport::history::{SECONDS, Sample},
};

/// How much is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Only the last seconds; all that are kept unless said otherwise.
    seconds: Option<usize>,
}

/// The body of `GET /api/history`.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct History {
    /// The second of the last figure, since the epoch.
    pub end_unix_s: u64,
    /// From one figure to the next.
    pub interval_seconds: u64,
    /// The figures, the oldest first.
    pub series: Series,
}

/// Figures of as many seconds each.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Series {
    /// Bytes of messages received from peers in that second.
    pub bytes_in: Vec<u64>,
    /// Bytes of messages handed to peers' connections in that second.
    pub bytes_out: Vec<u64>,
    /// Pairs at its end.
    pub pairs: Vec<u64>,
    /// Streams without a partner at its end.
    pub waiting: Vec<u64>,
    /// Streams refused in that second.
    pub refusals: Vec<u64>,
    /// Memory in use at its end, bytes.
    pub memory_bytes: Vec<u64>,
}

pub(super) async fn show(
    State(admin): State<Admin>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    match wanted {
        Ok(Query(wanted)) => aside(move || History::of(&admin, &wanted)).await,
        Err(error) => unasked(&error),
    }
}

impl History {
    fn of(admin: &Admin, wanted: &Wanted) -> Self {
        let (end, samples) = admin.shared.history.last(wanted.seconds.unwrap_or(SECONDS));
        let all = |figure: fn(&Sample) -> u64| samples.iter().map(figure).collect();
        let now = || since_epoch(SystemTime::now()).as_secs();
        Self {
            end_unix_s: if samples.is_empty() { now() } else { end },
            interval_seconds: 1,
            series: Series {
                bytes_in: all(|sample| sample.bytes_in),
                bytes_out: all(|sample| sample.bytes_out),
                pairs: all(|sample| sample.pairs),
                waiting: all(|sample| sample.waiting),
                refusals: all(|sample| sample.refusals),
                memory_bytes: all(|sample| sample.memory),
            },
        }
    }
}
