//! What streams can be sorted by.

use std::cmp::Ordering;

use serde::Deserialize;

use super::{Peer, Row};

/// What streams can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Column {
    /// The number, that is, the order of arrival.
    #[default]
    Id,
    /// The subject.
    Subject,
    /// Waiting, paired, ending.
    State,
    /// How long it is there.
    Age,
    /// Bytes passed on so far.
    Bytes,
    /// Bytes a second now.
    Rate,
    /// Bytes that wait to be taken.
    Held,
    /// How long a peer has taken none.
    Stalled,
}

impl Column {
    /// As queries have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Subject => "subject",
            Self::State => "state",
            Self::Age => "age",
            Self::Bytes => "bytes",
            Self::Rate => "rate",
            Self::Held => "held",
            Self::Stalled => "stalled",
        }
    }

    pub(super) fn compare(self, one: &Row, other: &Row) -> Ordering {
        let by = |figure: fn(&Peer) -> u64| one.sum(figure).cmp(&other.sum(figure));
        match self {
            Self::Id => one.id.cmp(&other.id),
            Self::Subject => one.subject.cmp(&other.subject),
            Self::State => one.state.cmp(&other.state),
            Self::Age => one.age_seconds.total_cmp(&other.age_seconds),
            Self::Bytes => by(|peer| peer.bytes_out),
            Self::Rate => by(|peer| peer.rate_out),
            Self::Held => by(|peer| peer.held_bytes),
            Self::Stalled => one.stalled().total_cmp(&other.stalled()),
        }
    }
}
