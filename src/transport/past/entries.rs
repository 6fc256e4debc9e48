//! What is kept of a stream that has ended or was refused.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tonic::Code;

use super::{End, Refusal};
use crate::transport::streams::{OtherRouter, StreamEntry};
use crate::{
    common::recent::Weigh,
    observe::names::Names,
    splice::{
        ending::{By, Cause, Ending},
        side::Totals,
    },
};

/// Tells of a pair that has ended, or of a stream that never had a partner.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// The number of the pair.
    pub id: u64,
    pub subject: Arc<str>,
    pub names: Option<Arc<Names>>,
    /// When the first of the two arrived, milliseconds since the epoch.
    pub since: u64,
    /// When the last of the two ended, likewise.
    pub until: u64,
    /// How long the first waited for the second; `None` if that never came.
    pub waited: Option<Duration>,
    /// From the arrival of the first to the end of the last.
    pub duration: Duration,
    /// The one that came first, and its partner; each once it has ended.
    pub sides: [Option<Side>; 2],
    /// Whether the second has come, so that an entry without it is not whole yet.
    pub paired: bool,
    /// Why, as one of the two was told.
    pub ending: Ending,
    /// Which of them.
    pub of: Place,
    /// Whether it could be told.
    pub told: bool,
}

/// Names one of the two sides of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    First,
    Second,
}

impl Place {
    fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// Tells of one side of a pair.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub address: IpAddr,
    pub certificate: Option<Arc<str>>,
    pub router: Option<Arc<OtherRouter>>,
    pub totals: Totals,
}

/// Tells of a stream that was not let in, and of others like it from the same address.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// `None` if its token was not believed.
    pub subject: Option<Arc<str>>,
    pub names: Option<Arc<Names>>,
    pub address: IpAddr,
    pub certificate: Option<Arc<str>>,
    /// When the first of them came, milliseconds since the epoch.
    pub since: u64,
    /// When the last of them came, likewise.
    pub until: u64,
    pub count: u64,
    pub cause: &'static str,
    pub code: Code,
    pub reason: Box<str>,
}

impl Ended {
    pub(super) fn new(end: &End<'_>, now: u64) -> Self {
        let entry = end.entry;
        let (of, side) = (place(entry), Side::new(end));
        let (waited, sides) = match of {
            Place::First => (end.waited, [Some(side), None]),
            // Until the first says more.
            Place::Second => (Some(Duration::ZERO), [None, Some(side)]),
        };
        Self {
            id: entry.pair(),
            subject: entry.subject.clone(),
            names: entry.names(),
            since: entry.began,
            until: now,
            waited,
            duration: end.duration,
            sides,
            paired: end.waited.is_some(),
            ending: end.ending,
            of,
            told: end.told,
        }
    }

    /// The other side of the pair has ended, too.
    pub(super) fn join(&mut self, end: &End<'_>, now: u64) {
        let entry = end.entry;
        let place = place(entry);
        let side = Some(Side::new(end));
        match place {
            Place::First => {
                // The second came that much later.
                let waited = end.waited.unwrap_or_default();
                self.waited = Some(waited);
                self.duration = end.duration.max(waited + self.duration);
                self.sides[0] = side;
            }
            Place::Second => {
                let waited = self.waited.unwrap_or_default();
                self.duration = self.duration.max(waited + end.duration);
                self.sides[1] = side;
            }
        }
        self.since = self.since.min(entry.began);
        self.until = now;
        self.names = entry.names().or(self.names.take());
        // What is said is best said by whom it happened to; that one failed matters more than that the other did not.
        let better = self.ending.other && !end.ending.other;
        let worse = self.ending.cause == Cause::Completed && end.ending.cause != Cause::Completed;
        if better || worse {
            (self.ending, self.of, self.told) = (end.ending, place, end.told);
        }
    }

    /// Says which of the two ended it; `None` if that was the router, or both.
    pub(crate) fn ended_by(&self) -> Option<Place> {
        match self.ending.by() {
            By::ThisSide => Some(self.of),
            By::OtherSide => Some(self.of.other()),
            By::Both | By::Router => None,
        }
    }
}

impl Refused {
    /// One more, after so many.
    pub(super) fn new(refusal: &Refusal<'_>, since: u64, now: u64, count: u64) -> Self {
        Self {
            subject: refusal.subject.cloned(),
            names: refusal.names.clone(),
            address: refusal.address,
            certificate: refusal.certificate.cloned(),
            since,
            until: now,
            count: count + 1,
            cause: refusal.cause,
            code: refusal.code,
            reason: refusal.reason.into(),
        }
    }
}

fn place(entry: &StreamEntry) -> Place {
    if entry.pair() == entry.id {
        Place::First
    } else {
        Place::Second
    }
}

impl Side {
    fn new(end: &End<'_>) -> Self {
        Self::of(end.entry, end.totals)
    }

    /// Tells of a side that has carried this.
    pub(crate) fn of(entry: &StreamEntry, totals: Totals) -> Self {
        Self {
            address: entry.peer,
            certificate: entry.certificate.clone(),
            router: entry.router_shared(),
            totals,
        }
    }

    fn weight(&self) -> usize {
        let router = self.router.as_ref();
        text(self.certificate.as_ref()) + router.map_or(0, |router| 64 + router.address.len())
    }
}

fn text(text: Option<&Arc<str>>) -> usize {
    text.map_or(0, |text| text.len())
}

fn names(names: Option<&Arc<Names>>) -> usize {
    names.map_or(0, |names| names.weight())
}

impl Weigh for Box<Ended> {
    fn weight(&self) -> usize {
        let sides = self.sides.iter().flatten().map(Side::weight);
        size_of::<Ended>() + self.subject.len() + names(self.names.as_ref()) + sides.sum::<usize>()
    }
}

impl Weigh for Box<Refused> {
    fn weight(&self) -> usize {
        let texts = text(self.subject.as_ref()) + text(self.certificate.as_ref());
        size_of::<Refused>() + texts + names(self.names.as_ref()) + self.reason.len()
    }
}
