//! Configuration: file, environment and flags become one validated value.
//!
//! One table ([`SECTIONS`], written in `sections.rs`) lists every key with its type, default and
//! documentation. Parsing, environment names, the example file and the print-out follow from it,
//! so they cannot disagree.

mod choice;
mod env;
mod file;
mod key_files;
mod list;
mod load;
mod print;
mod problem;
mod registry;
mod sections;
mod setting;
#[cfg(test)]
mod tests;
mod types;
mod validate;

pub use choice::{LogFormat, TlsProvider};
pub use env::process_env;
pub use load::{Loaded, Override, Sources, glance, load};
pub use print::{effective, example};
pub use problem::{Origin, Origins, Problem, Problems};
pub use registry::{CONFIG_FILE_ENV, ENV_PREFIX, Key, Section, UPSTREAM_ENV, find, keys};
pub use sections::{
    Auth, Config, Connections, Drain, Listen, Log, Memory, Pairing, Runtime, SECTIONS, Streams, Tls,
};
pub use types::{Endpoint, KeyFile, LogFilter, Secret, Size};

impl Config {
    /// Every accepted key with a name for the log: `key` first, then `extra_keys`, then
    /// `key_files`.
    pub fn signing_keys(&self) -> Vec<(String, &[u8])> {
        let auth = &self.auth;
        let first = auth.key.iter().map(|key| ("key".to_owned(), key.expose()));
        let extra = auth.extra_keys.iter().enumerate();
        let extra = extra.map(|(index, key)| (format!("extra_keys[{index}]"), key.expose()));
        let files = auth.key_files.iter();
        let files = files.map(|file| (file.path.display().to_string(), file.key.expose()));
        first.chain(extra).chain(files).collect()
    }
}
