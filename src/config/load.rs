//! Puts a configuration together: file, then environment over it, then flags over both; what the operator's file says
//! comes before all of them.

use std::ffi::OsString;
use std::path::PathBuf;

use super::loading::Loading;
use super::problem::{Origin, Problems};
use super::reading;
use super::registry::nearest;
use super::sections::{find, keys};
use super::setting::excerpt;
use super::{Config, Loaded, env, file, operator, validate};

// No `Debug`: both hold secrets among other things.
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

/// Loads and validates a configuration.
///
/// # Errors
///
/// Everything that is wrong with it, at once.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut loading = gather(sources);
    operator::apply(&mut loading);
    reading::read_all(&mut loading);
    validate::validate(&mut loading);
    loading.finish()
}

impl Config {
    /// Loads a configuration as the program does: this TOML file, and the environment over it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, at once.
    pub fn load(file: impl Into<PathBuf>) -> Result<Self, Problems> {
        let sources = Sources {
            file: Some(file.into()),
            env: env::process_env(),
            ..Sources::default()
        };
        load(&sources).map(|loaded| loaded.config)
    }
}

/// Gives the values as they were written, however wrong: those that cannot be understood keep their defaults. Files with keys
/// are not read. For questions about a router in operation, which must be answered whatever is wrong elsewhere.
pub(crate) fn glance(sources: &Sources) -> Config {
    gather(sources).config
}

fn gather(sources: &Sources) -> Loading {
    let mut loading = Loading::default();
    loading.warnings.clone_from(&sources.notes);
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
