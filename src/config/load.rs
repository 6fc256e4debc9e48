//! Puts a configuration together: file, then environment over it, then flags over both.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::problem::{Origin, Origins, Problem, Problems};
use super::registry::{Key, find, keys, nearest};
use super::setting::excerpt;
use super::{Config, env, file, key_files, validate};

/// Where to look for values.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file; no file is looked for when none is named.
    pub file: Option<PathBuf>,
    /// The environment, passed in so that tests need not change the process.
    pub env: Vec<(String, OsString)>,
    /// Values from the command line; a later one wins.
    pub overrides: Vec<Override>,
    /// Remarks on the command line, handed on as warnings.
    pub notes: Vec<String>,
}

/// A value from the command line.
#[derive(Clone, PartialEq, Eq)]
pub struct Override {
    /// "section.key".
    pub key: String,
    /// The value as text.
    pub value: String,
    /// The flag it came from.
    pub flag: String,
}

// Both hold secrets among other things, so `Debug` shows names only.
impl fmt::Debug for Sources {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Sources")
            .field("file", &self.file)
            .field("overrides", &self.overrides)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Override {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Override")
            .field("key", &self.key)
            .field("flag", &self.flag)
            .finish_non_exhaustive()
    }
}

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

/// Loads and validates a configuration.
///
/// # Errors
///
/// Everything that is wrong with it, at once.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut loading = gather(sources);
    key_files::read(&mut loading);
    validate::validate(&mut loading);
    loading.finish()
}

/// The values as they were written, however wrong: those that cannot be understood keep their defaults. Files with keys
/// are not read. For questions about a router in operation, which must be answered whatever is wrong elsewhere.
pub fn glance(sources: &Sources) -> Config {
    gather(sources).config
}

fn gather(sources: &Sources) -> Loading {
    let mut loading = Loading {
        warnings: sources.notes.clone(),
        ..Loading::default()
    };
    if let Some(path) = &sources.file {
        file::apply_file(path, &mut loading);
    }
    env::apply(&sources.env, &mut loading);
    for setting in &sources.overrides {
        let origin = Origin::Flag(setting.flag.clone());
        match find(&setting.key) {
            Some(key) => loading.text(key, &setting.value, origin),
            None => loading.problem(origin, None, unknown(&setting.key)),
        }
    }
    loading
}

fn unknown(path: &str) -> String {
    let near = nearest(path, keys().map(|key| key.path));
    let hint = near.map_or_else(
        || "`check --example` lists all keys".to_owned(),
        |near| format!("did you mean {near:?}?"),
    );
    format!("unknown key {}; {hint}", excerpt(path))
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

impl Loading {
    pub fn problem(&mut self, origin: Origin, key: Option<&'static str>, text: impl Into<String>) {
        let text = text.into();
        self.problems.push(Problem { origin, key, text });
    }

    /// Whether `path` already has a problem, so that nothing more can be said about its value.
    pub fn is_bad(&self, path: &str) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.key == Some(path))
    }

    /// Sets a key from text.
    pub fn text(&mut self, key: &'static Key, value: &str, origin: Origin) {
        match (key.set_text)(&mut self.config, value) {
            Ok(()) => self.origins.set(key.path, origin),
            Err(why) => {
                let found = if key.secret {
                    "a value".to_owned()
                } else {
                    excerpt(value)
                };
                let text = file::mismatch(&found, key.expects, &why);
                self.problem(origin, Some(key.path), text);
            }
        }
    }

    fn finish(self) -> Result<Loaded, Problems> {
        if !self.problems.is_empty() {
            return Err(Problems::new(self.problems));
        }
        let Self {
            config,
            origins,
            warnings,
            ..
        } = self;
        Ok(Loaded {
            config,
            origins,
            warnings,
        })
    }
}
