//! Configuration: file, environment and flags become one validated value.
//!
//! One table ([`SECTIONS`], written in `sections.rs`) lists every key with its type, default and
//! documentation. Parsing, environment names, the example file and the print-out follow from it,
//! so they cannot disagree.

mod admin;
mod choice;
mod env;
mod file;
mod files;
mod key_directory;
mod list;
mod load;
mod loading;
mod network;
mod operator;
mod print;
mod problem;
mod reading;
mod registry;
mod sections;
mod setting;
mod signing_keys;
#[cfg(test)]
mod tests;
mod types;
mod validate;

pub(crate) use env::process_env;
pub(crate) use files::{KeyFile, PemFile};
pub(crate) use load::glance;
pub use load::{Override, Sources, load};
pub(crate) use loading::Loaded;
pub(crate) use print::settings;
pub use print::{effective, example};
pub use problem::Problems;
pub(crate) use registry::{CONFIG_FILE_ENV, TOKEN_ENV};
pub(crate) use sections::Key;
pub(crate) use sections::changed;
pub use sections::{Config, SECTIONS};
pub use types::{Endpoint, LogFilter, Secret};
#[cfg(feature = "internals")]
pub use {
    problem::Origin,
    registry::ENV_PREFIX,
    sections::{find, keys},
};

use crate::transport::settings::Settings;
pub use crate::transport::settings::Size;

/// A key that signs tokens which are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey<'c> {
    /// The key of the configuration that it comes from.
    pub setting: &'static str,
    /// Its name in the log and the metrics, which says where it comes from: `auth.key`, `auth.extra_keys[0]`, or a
    /// file's path.
    pub name: String,
    /// The key material.
    pub secret: &'c Secret,
}

impl Config {
    /// Lists every accepted key, in the order they are tried.
    pub fn signing_keys(&self) -> Vec<SigningKey<'_>> {
        let auth = &self.auth;
        let mut keys = Vec::new();
        let mut add = |setting, name, secret| {
            keys.push(SigningKey {
                setting,
                name,
                secret,
            });
        };
        if let Some(key) = &auth.key {
            add("auth.key", "auth.key".to_owned(), key);
        }
        for (index, key) in auth.extra_keys.iter().enumerate() {
            add("auth.extra_keys", format!("auth.extra_keys[{index}]"), key);
        }
        let path = |file: &KeyFile| problem::printable(&file.path.to_string_lossy());
        for file in &auth.key_files {
            add("auth.key_files", path(file), &file.key);
        }
        for file in auth.key_directory.iter().flat_map(|all| &all.files) {
            add("auth.key_directory", path(file), &file.key);
        }
        keys
    }
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            streams: config.streams.clone(),
            pairing: config.pairing.clone(),
            connections: config.connections.clone(),
            refused_tokens_per_second: config.auth.refused_per_second_per_address,
            proxies: config.listen.proxy_protocol_from.clone(),
            proxy_header_timeout: config.listen.proxy_protocol_timeout,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::from(&Config::default())
    }
}
