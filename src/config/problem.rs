//! What is wrong with a configuration, and where each value came from.

use std::collections::BTreeMap;
use std::fmt;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Origin {
    /// The table of keys.
    #[default]
    Default,
    /// The configuration file.
    File {
        /// Its name as given.
        name: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// The operator's file.
    Operator {
        /// Its name as given.
        name: String,
        /// The key in it, with points.
        key: &'static str,
    },
    /// An environment variable.
    Env(String),
    /// A command line flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            // Without the column, which only matters when something is wrong.
            Self::File { name, line, .. } => write!(out, "{}:{line}", printable(name)),
            Self::Operator { name, key } => write!(out, "{}: {key}", printable(name)),
            Self::Env(name) => write!(out, "environment {}", printable(name)),
            Self::Flag(name) => write!(out, "flag {}", printable(name)),
        }
    }
}

use crate::common::text::joined;
pub(super) use crate::common::text::printable;

/// Says "found ..., expected ... (why)".
pub(super) fn mismatch(found: &str, expects: &str, why: &str) -> String {
    let why = if why.is_empty() {
        String::new()
    } else {
        format!(" ({})", printable(why))
    };
    format!("found {found}, expected {expects}{why}")
}

/// The origin of every value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<&'static str, Origin>);

impl Origins {
    /// Says where the value of "section.key" came from.
    pub fn of(&self, path: &str) -> &Origin {
        self.0.get(path).unwrap_or(&Origin::Default)
    }

    pub(super) fn set(&mut self, path: &'static str, origin: Origin) {
        self.0.insert(path, origin);
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: a place in the file, an environment variable or a flag.
    pub origin: Origin,
    /// The key, when it is about a known one.
    pub key: Option<&'static str>,
    /// What is wrong and what to do.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => {}
            Origin::File { column, .. } => write!(out, "{}:{column}: ", self.origin)?,
            other => write!(out, "{other}: ")?,
        }
        match self.key {
            Some(key) => write!(out, "{key}: {}", self.text),
            None => out.write_str(&self.text),
        }
    }
}

/// Everything that is wrong, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub(super) Vec<Problem>);

impl Problems {
    /// Gives those of the file first, then those of environment, flags and cross-checks.
    pub fn all(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&joined(&self.0, "\n"))
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::text::tests::{HOSTILE, assert_harmless};

    #[test]
    fn names_from_outside_are_harmless() {
        let name = HOSTILE.to_owned();
        let (line, column, key) = (1, 2, "log.format");
        for origin in [
            Origin::File {
                name: name.clone(),
                line,
                column,
            },
            Origin::Operator {
                name: name.clone(),
                key,
            },
            Origin::Env(name.clone()),
            Origin::Flag(name),
        ] {
            assert_harmless(&origin.to_string());
        }
        assert_harmless(&mismatch("x", "y", HOSTILE));
    }
}
