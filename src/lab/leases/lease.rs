//! A lease: what was asked for, and what has become of it.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::lab::{
    names,
    selector::{Labels, Operator, Selector},
};

/// Time since the Unix epoch.
pub(crate) type Time = Duration;

/// A lease may have so many tags, as in upstream's controller.
const MOST_TAGS: usize = 10;

/// The last moment that a lease may name: the year 9999, the end of the protocol's calendar.
pub(crate) const LATEST: Time = Duration::from_secs(253_402_300_799);

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// Labels the exporter must have.
    pub selector: Selector,
    /// The exporter must be this one.
    pub exporter: Option<String>,
    /// How long the lease holds from its begin.
    pub duration: Duration,
    /// When it is wanted, if not at once.
    pub begin: Option<Time>,
    /// When it has to end, if this was asked for.
    pub end: Option<Time>,
    /// The client's own notes.
    pub tags: BTreeMap<String, String>,
    /// An exporter that is disabled will do, if it is named.
    pub allow_disabled: bool,
    /// What the exporter is told about the lease.
    pub context: BTreeMap<String, String>,
}

/// Checks that tags may be set on a lease.
///
/// # Errors
///
/// What is wrong with them.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), String> {
    if tags.len() > MOST_TAGS {
        return Err(format!(
            "too many tags: {} (maximum {MOST_TAGS})",
            tags.len()
        ));
    }
    for (key, value) in tags {
        if key.contains('/') {
            return Err(format!(
                "tag key {key:?} must not contain '/' (use simple names without prefix)"
            ));
        }
        names::label_key(key)?;
        names::label_value(value)?;
    }
    Ok(())
}

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// Its name, unique in the lab.
    pub name: String,
    /// The client it belongs to.
    pub client: String,
    /// What was asked for.
    pub terms: Terms,
    /// Its place among all requests; an earlier one has a lower number.
    pub order: u64,
    /// When it was asked for.
    pub created: Time,
    /// When its phase began.
    pub changed: Time,
    /// What has become of it.
    pub phase: Phase,
    /// Somebody wanted it to end, perhaps when it had already.
    #[serde(default)]
    pub released: bool,
}

/// What has become of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// It has no exporter yet.
    Waiting,
    /// It has this exporter.
    Held {
        /// The exporter.
        exporter: String,
        /// Since when.
        since: Time,
    },
    /// It is over.
    Ended {
        /// The exporter it had and since when, if it had one.
        held: Option<(String, Time)>,
        /// When it ended.
        at: Time,
        /// Why.
        why: End,
    },
}

/// Why a lease is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    /// The client, the exporter, or a change of lab.toml ended it.
    Released,
    /// Its time was up.
    Expired,
    /// No exporter will ever do.
    Unsatisfiable {
        /// In one word.
        reason: String,
        /// In a sentence.
        message: String,
    },
}

impl Lease {
    /// Says when its time is up, if that is known already.
    pub(crate) fn expires(&self) -> Option<Time> {
        let terms = &self.terms;
        let from_begin = terms.begin.map(|begin| begin + terms.duration);
        match &self.phase {
            Phase::Waiting => terms.end.or(from_begin),
            Phase::Held { since, .. } => {
                Some(terms.end.or(from_begin).unwrap_or(*since + terms.duration))
            }
            Phase::Ended { .. } => None,
        }
    }

    /// Tells whether somebody wanted it to end.
    pub(crate) fn is_released(&self) -> bool {
        let ended = matches!(
            self.phase,
            Phase::Ended {
                why: End::Released,
                ..
            }
        );
        self.released || ended
    }

    /// Checks that with these terms it would not be over already.
    ///
    /// # Errors
    ///
    /// What has passed.
    pub(super) fn ends_later(&self, terms: &Terms, now: Time) -> Result<(), String> {
        let changed = Self {
            terms: terms.clone(),
            ..self.clone()
        };
        let Some(over) = changed.expires().filter(|expires| *expires <= now) else {
            return Ok(());
        };
        let whole =
            |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs()));
        let (name, ago) = (&self.name, whole(now.saturating_sub(over)));
        let Phase::Held { since, .. } = self.phase else {
            return Err(format!(
                "cannot update lease: {name} would have ended {ago} ago"
            ));
        };
        let since = terms.begin.unwrap_or(since);
        Err(format!(
            "cannot shorten lease {name} to {}: {} of it have passed; to end it now, delete it",
            whole(over.saturating_sub(since)),
            whole(now.saturating_sub(since)),
        ))
    }

    /// Says when it first wants an exporter.
    pub(crate) fn due(&self) -> Time {
        self.terms.begin.unwrap_or_default().max(self.created)
    }

    /// Tells whether it is over.
    pub(crate) fn ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    /// Names the exporter it has now.
    pub(crate) fn holds(&self) -> Option<&str> {
        match &self.phase {
            Phase::Held { exporter, .. } => Some(exporter),
            _ => None,
        }
    }

    /// Names the exporter it has or had.
    pub(crate) fn held(&self) -> Option<&str> {
        match &self.phase {
            Phase::Waiting => None,
            Phase::Held { exporter, .. } => Some(exporter),
            Phase::Ended { held, .. } => held.as_ref().map(|(exporter, _)| exporter.as_str()),
        }
    }

    /// Says when it got its exporter, and when it ended.
    pub(crate) fn ran(&self) -> (Option<Time>, Option<Time>) {
        match &self.phase {
            Phase::Waiting => (None, None),
            Phase::Held { since, .. } => (Some(*since), None),
            Phase::Ended { held, at, .. } => (held.as_ref().map(|(_, since)| *since), Some(*at)),
        }
    }

    /// Gives what lists of leases are filtered by: the equalities of the selector, and the tags behind their prefix.
    pub(crate) fn labels(&self) -> Labels {
        let requirements = self.terms.selector.requirements().iter();
        let equal = requirements.filter(|requirement| requirement.operator == Operator::Equals);
        let mut labels: Labels = equal
            .filter(|requirement| !requirement.key.starts_with(TAG_PREFIX))
            .map(|requirement| (requirement.key.clone(), requirement.values.concat()))
            .collect();
        let tags = self.terms.tags.iter();
        labels.extend(tags.map(|(key, value)| (format!("{TAG_PREFIX}{key}"), value.clone())));
        labels
    }
}

/// Keys of tags begin with this where tags stand among labels.
const TAG_PREFIX: &str = "metadata.jumpstarter.dev/";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn tags() {
        let tags = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        assert_eq!(check_tags(&tags(&[("build", "1234")])), Ok(()));
        let many: Vec<_> = (0..11).map(|n| (format!("t{n}"), String::new())).collect();
        assert!(check_tags(&many.into_iter().collect()).is_err());
        for bad in [("a/b", "c"), ("", "c"), ("a", "b c")] {
            assert!(check_tags(&tags(&[bad])).is_err(), "{bad:?}");
        }
    }
}
