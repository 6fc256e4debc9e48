//! A configuration in the making: the values so far, where they came from, and what is wrong with them.

use super::Config;
use super::problem::{Origin, Origins, Problem, Problems, mismatch};
use super::sections::Key;
use super::setting::excerpt;

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Where each came from.
    pub origins: Origins,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
}

/// A configuration in the making.
#[derive(Default)]
pub(super) struct Loading {
    pub config: Config,
    pub origins: Origins,
    pub warnings: Vec<String>,
    /// Whether a file was named but could not be understood at all.
    pub unreadable: bool,
    problems: Vec<Problem>,
}

impl From<&Config> for Loaded {
    /// A configuration that was made by a program.
    fn from(config: &Config) -> Self {
        Self {
            config: config.clone(),
            origins: Origins::default(),
            warnings: Vec::new(),
        }
    }
}

/// Only the values count: a comment that moves others to another line changes nothing.
impl PartialEq for Loaded {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
    }
}

impl Loading {
    pub(super) fn problem(
        &mut self,
        origin: Origin,
        key: Option<&'static str>,
        text: impl Into<String>,
    ) {
        let text = text.into();
        self.problems.push(Problem { origin, key, text });
    }

    /// Reports a problem about a key, placed where its value came from.
    pub(super) fn problem_at(&mut self, path: &'static str, text: impl Into<String>) {
        let origin = self.origins.of(path).clone();
        self.problem(origin, Some(path), text);
    }

    /// Whether `path` already has a problem, so that nothing more can be said about its value.
    pub(super) fn is_bad(&self, path: &str) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.key == Some(path))
    }

    /// Reports a problem about `keys`, placed at the first of them that was set anywhere, unless one of them has one.
    pub(super) fn fail(&mut self, keys: &[&'static str], text: impl Into<String>) {
        if keys.iter().any(|key| self.is_bad(key)) {
            return;
        }
        let set = |key: &&&'static str| *self.origins.of(key) != Origin::Default;
        let key = keys.iter().find(set).unwrap_or(&keys[0]);
        self.problem_at(key, text);
    }

    /// Sets a key from text.
    pub(super) fn text(&mut self, key: &'static Key, value: &str, origin: Origin) {
        match (key.set_text)(&mut self.config, value) {
            Ok(()) => self.origins.set(key.path, origin),
            Err(why) => {
                let found = if key.secret {
                    "a value".to_owned()
                } else {
                    excerpt(value)
                };
                let text = mismatch(&found, key.expects, &why);
                self.problem(origin, Some(key.path), text);
            }
        }
    }

    /// Warns of what is allowed.
    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    pub(super) fn finish(self) -> Result<Loaded, Problems> {
        if !self.problems.is_empty() {
            return Err(Problems(self.problems));
        }
        Ok(Loaded {
            config: self.config,
            origins: self.origins,
            warnings: self.warnings,
        })
    }
}
