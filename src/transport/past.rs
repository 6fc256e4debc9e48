//! Keeps the streams that have ended and those that were refused, for who asks later why.
//!
//! They are kept apart, so that a flood of refusals pushes out nothing that has ended. All of it is bounded by number and
//! by bytes, as subjects and certificates come from peers, and most of it is given up when memory is short. Nothing is
//! kept in a router that shows nobody.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use tonic::Code;

use crate::transport::{
    memory::level::Level,
    streams::{OtherRouter, StreamEntry},
};
use crate::{
    common::{
        lock,
        recent::{Bounds, Recent, Weigh},
        since_epoch,
    },
    observe::{log::network, names::Names},
    splice::{
        ending::{By, Cause, Ending},
        side::Totals,
    },
};

/// How many are kept of each kind: pairs that have ended, and refusals.
pub(crate) const MOST: usize = 1_000;

/// How much is kept of each kind.
const USUAL: Bounds = Bounds {
    count: MOST,
    bytes: 2 << 20,
};

/// As much of it as may stay when memory is short: what is asked for then is what has just been ended for it.
const SHORT: Bounds = Bounds {
    count: MOST / 10,
    bytes: 64 << 10,
};

/// Keeps what has ended.
#[derive(Debug, Default)]
pub(crate) struct Past {
    kept: AtomicBool,
    ended: Mutex<Recent<u64, Box<Ended>>>,
    refused: Mutex<Recent<(IpAddr, &'static str), Box<Refused>>>,
}

/// Tells of a pair that has ended, or of a stream that never had a partner.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// The number of the pair.
    pub id: u64,
    pub subject: Arc<str>,
    pub names: Option<Arc<Names>>,
    /// When the first of the two arrived, milliseconds since the epoch.
    pub began: u64,
    /// When the last of the two ended, likewise.
    pub ended: u64,
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
    pub began: u64,
    /// When the last of them came, likewise.
    pub ended: u64,
    pub count: u64,
    pub cause: &'static str,
    pub code: Code,
    pub reason: Box<str>,
}

/// Says how one side of a pair has ended, or a stream without a partner.
#[derive(Debug)]
pub(crate) struct End<'e> {
    pub entry: &'e StreamEntry,
    pub totals: Totals,
    pub ending: Ending,
    pub told: bool,
    /// How long it waited for the partner that it has met.
    pub waited: Option<Duration>,
    pub duration: Duration,
}

/// Says what was refused.
#[derive(Debug)]
pub(crate) struct Refusal<'r> {
    pub subject: Option<&'r Arc<str>>,
    pub names: Option<Arc<Names>>,
    pub address: IpAddr,
    pub certificate: Option<&'r Arc<str>>,
    pub cause: &'static str,
    pub code: Code,
    pub reason: &'r str,
}

impl Past {
    /// Keeps what ends from now on.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// Tells whether it is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    /// Takes in that a stream has ended. The two of a pair become one.
    pub(crate) fn end(&self, end: &End<'_>, level: Level) {
        if !self.is_kept() {
            return;
        }
        let now = since_epoch(SystemTime::now()).as_millis() as u64;
        lock(&self.ended).put(
            end.entry.pair(),
            bounds(level),
            |known| known.join(end, now),
            || Box::new(Ended::new(end, now)),
        );
    }

    /// Takes in that a stream was refused.
    pub(crate) fn refuse(&self, refusal: &Refusal<'_>, level: Level) {
        if !self.is_kept() {
            return;
        }
        let now = since_epoch(SystemTime::now()).as_millis() as u64;
        let key = (network(refusal.address), refusal.cause);
        lock(&self.refused).put(
            key,
            bounds(level),
            |known| **known = Refused::new(refusal, known.began, now, known.count),
            || Box::new(Refused::new(refusal, now, now, 0)),
        );
    }

    /// Names what has ended already.
    pub(crate) fn name(&self, subject: &str, names: Option<&Arc<Names>>) {
        lock(&self.ended).change_all(|ended| {
            if *ended.subject == *subject {
                ended.names = names.cloned();
            }
        });
        lock(&self.refused).change_all(|refused| {
            if refused.subject.as_deref() == Some(subject) {
                refused.names = names.cloned();
            }
        });
    }

    /// Gives up most of it.
    pub(crate) fn give_way(&self) {
        lock(&self.ended).fit(SHORT);
        lock(&self.refused).fit(SHORT);
    }

    /// Gives all that has ended, the oldest first.
    pub(crate) fn ended(&self) -> Vec<Ended> {
        let ended = lock(&self.ended);
        ended.iter().map(|ended| (**ended).clone()).collect()
    }

    /// Gives all that were refused, the oldest first.
    pub(crate) fn refused(&self) -> Vec<Refused> {
        let refused = lock(&self.refused);
        refused.iter().map(|refused| (**refused).clone()).collect()
    }
}

fn bounds(level: Level) -> Bounds {
    if level >= Level::NoGrowth {
        SHORT
    } else {
        USUAL
    }
}

impl Ended {
    fn new(end: &End<'_>, now: u64) -> Self {
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
            began: entry.began,
            ended: now,
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
    fn join(&mut self, end: &End<'_>, now: u64) {
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
        self.began = self.began.min(entry.began);
        self.ended = now;
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
    fn new(refusal: &Refusal<'_>, began: u64, now: u64, count: u64) -> Self {
        Self {
            subject: refusal.subject.cloned(),
            names: refusal.names.clone(),
            address: refusal.address,
            certificate: refusal.certificate.cloned(),
            began,
            ended: now,
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

#[cfg(test)]
mod tests;
