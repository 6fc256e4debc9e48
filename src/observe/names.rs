//! Names of who takes part in a stream, as the controller's side tells them: tokens have none.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use serde::{Deserialize, Serialize};

use crate::common::{
    lock,
    recent::{Bounds, Recent, Weigh},
};

/// How much is kept for streams that are still to come.
const USUAL: Bounds = Bounds {
    count: 10_000,
    bytes: 8 << 20,
};

/// As much of it as may stay when memory is short.
const SHORT: Bounds = Bounds {
    count: 1_000,
    bytes: 512 << 10,
};

/// The longest name and the longest subject, bytes.
const LONGEST: (usize, usize) = (256, 4096);

/// Names who takes part in a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// The client.
    #[serde(default)]
    pub client: Option<Box<str>>,
    /// The exporter.
    #[serde(default)]
    pub exporter: Option<Box<str>>,
    /// The lease under which they meet.
    #[serde(default)]
    pub lease: Option<Box<str>>,
}

impl Names {
    /// Gives each of them that there is.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        let all = [&self.client, &self.exporter, &self.lease];
        all.into_iter().flatten().map(|name| &**name)
    }

    /// Says why they cannot be the names of a stream with this subject, if they cannot.
    pub(crate) fn fault(&self, subject: &str) -> Option<String> {
        let (name, of_subject) = LONGEST;
        let is_bad = |text: &str| text.is_empty() || text.chars().any(char::is_control);
        if subject.len() > of_subject {
            return Some(format!("expected a subject of at most {of_subject} bytes"));
        }
        let bad = self.all().any(|text| text.len() > name || is_bad(text));
        bad.then(|| {
            format!(
                "expected each name to be null, or a text of 1 to {name} bytes without control characters"
            )
        })
    }
}

impl Weigh for Names {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.all().map(str::len).sum::<usize>()
    }
}

/// Holds a subject, and the names of its streams.
#[derive(Debug)]
struct Told(Arc<str>, Arc<Names>);

impl Weigh for Told {
    fn weight(&self) -> usize {
        self.0.len() + self.1.weight()
    }
}

/// Keeps names by the subject of the tokens that they are about.
#[derive(Debug, Default)]
pub(crate) struct KnownNames {
    known: Mutex<Recent<Arc<str>, Told>>,
    /// Where nobody tells names, nobody has to wait for the lock.
    any: AtomicBool,
}

impl KnownNames {
    /// Takes in the names of all streams with this subject. Without any, what was known is forgotten.
    pub(crate) fn tell(&self, subject: &str, names: Option<&Arc<Names>>) {
        self.any.store(true, Ordering::SeqCst);
        let mut known = lock(&self.known);
        match names {
            Some(names) => {
                let subject = Arc::<str>::from(subject);
                let told = || Told(subject.clone(), names.clone());
                known.put(subject.clone(), USUAL, |known| *known = told(), told);
            }
            None => drop(known.remove(subject)),
        }
    }

    /// Gives the names of streams with this subject, if they were told.
    pub(crate) fn of(&self, subject: &str) -> Option<Arc<Names>> {
        if !self.any.load(Ordering::SeqCst) {
            return None;
        }
        let known = lock(&self.known);
        known.get(subject).map(|told| told.1.clone())
    }

    /// Forgets the oldest, as memory is short.
    pub(crate) fn give_way(&self) {
        lock(&self.known).fit(SHORT);
    }
}
