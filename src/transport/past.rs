//! Keeps the streams that have ended and those that were refused, for who asks later why.
//!
//! They are kept apart, so that a flood of refusals pushes out nothing that has ended. All of it is bounded by number and
//! by bytes, as subjects and certificates come from peers, and most of it is given up when memory is short. Nothing is
//! kept in a router that shows nobody.

mod entries;
#[cfg(test)]
mod tests;

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use tonic::Code;

pub(crate) use self::entries::{Ended, Place, Refused, Side};
use crate::transport::{memory::level::Level, streams::StreamEntry};
use crate::{
    common::{
        lock,
        recent::{Bounds, Recent},
        since_epoch,
    },
    observe::{log::network, names::Names},
    splice::{ending::Ending, side::Totals},
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
            |known| **known = Refused::new(refusal, known.since, now, known.count),
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
