//! The options that say where the configuration comes from.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::{
    exit::{Exit, Failure},
    variable_os,
};
use crate::config::{self, CONFIG_FILE_ENV, Override, Sources};

// No `Debug`: `--set auth.key=...` is among these.
/// Where the configuration comes from.
#[derive(Args, Default)]
pub struct ConfigArgs {
    /// Configuration file [env: JUMPSTARTER_ROUTER_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set any key, such as pairing.timeout=60s; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Listen address
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Public host:port of the router
    #[arg(long, value_name = "HOST:PORT")]
    pub endpoint: Option<String>,
    /// PEM file with the certificate chain
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<String>,
    /// PEM file with the certificate's private key
    #[arg(long, value_name = "FILE")]
    pub key: Option<String>,
    /// Listen without TLS
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub plaintext: Option<String>,
    /// Address for health probes, 0 for none
    #[arg(long, value_name = "ADDRESS")]
    pub health_address: Option<String>,
    /// Address for metrics, 0 for none
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_address: Option<String>,
    /// Address for the admin page and API, 0 for none
    #[arg(long, value_name = "ADDRESS")]
    pub admin_address: Option<String>,
    /// Log format
    #[arg(long, value_name = "FORMAT", value_parser = ["auto", "json", "text"])]
    pub log_format: Option<String>,
    /// Which log lines to write
    #[arg(long, value_name = "DIRECTIVES")]
    pub log_filter: Option<String>,
    /// What upstream's flags said.
    #[arg(skip)]
    pub upstream: GoFlags,
}

impl ConfigArgs {
    /// The sources these options name. `env` is the environment; it also names the file when
    /// `--config` does not.
    ///
    /// # Errors
    ///
    /// A `--set` that has no `=`.
    pub fn sources(&self, env: Vec<(String, OsString)>) -> Result<Sources, Failure> {
        let mut overrides = self.upstream.overrides.clone();
        overrides.extend(self::overrides(&self.set)?);
        let direct = [
            ("listen.address", "--listen", &self.listen),
            ("listen.endpoint", "--endpoint", &self.endpoint),
            ("tls.certificate", "--certificate", &self.certificate),
            ("tls.key", "--key", &self.key),
            ("tls.plaintext", "--plaintext", &self.plaintext),
            (
                "listen.health_address",
                "--health-address",
                &self.health_address,
            ),
            (
                "listen.metrics_address",
                "--metrics-address",
                &self.metrics_address,
            ),
            (
                "listen.admin_address",
                "--admin-address",
                &self.admin_address,
            ),
            ("log.format", "--log-format", &self.log_format),
            ("log.filter", "--log-filter", &self.log_filter),
        ];
        for (key, name, value) in direct {
            overrides.extend(value.as_deref().map(|value| flag(key, value, name)));
        }
        let named = || variable_os(CONFIG_FILE_ENV, &env).map(PathBuf::from);
        let file = self.config.clone().or_else(named);
        let mut notes = self.upstream.notes.clone();
        notes.extend(self.set.iter().filter_map(|set| secret(set)));
        Ok(Sources {
            file,
            env,
            overrides,
            notes,
        })
    }
}

/// Reads what `--set` says.
pub(crate) fn overrides(set: &[String]) -> Result<Vec<Override>, Failure> {
    // The text is not repeated, as it may be a secret.
    let no_value = || Failure::new(Exit::Usage, "--set needs section.key=value");
    let overrides = set.iter().map(|setting| {
        let (key, value) = setting.split_once('=').ok_or_else(no_value)?;
        Ok(flag(key.trim(), value, "--set"))
    });
    overrides.collect()
}

/// Makes an override of what a flag says.
pub(crate) fn flag(key: &str, value: &str, flag: &str) -> Override {
    Override {
        key: key.to_owned(),
        value: value.to_owned(),
        flag: flag.to_owned(),
    }
}

/// What upstream's flags said.
#[derive(Clone, Default, PartialEq)]
pub struct GoFlags {
    /// Values of keys.
    pub overrides: Vec<Override>,
    /// Flags that have no effect here, a remark each.
    pub notes: Vec<String>,
}

/// Warns of a setting on the command line that is a secret.
pub(crate) fn secret(set: &str) -> Option<String> {
    let key = set.split('=').next().unwrap_or_default().trim();
    let instead = "a file, or a variable of the environment";
    let is_secret = config::find(key).is_some_and(|key| key.secret);
    is_secret.then(|| in_the_open(&format!("--set {key}"), instead))
}

/// Says that a secret is where others can see it.
pub(super) fn in_the_open(option: &str, instead: &str) -> String {
    format!(
        "{option}: all users of this machine can see what is on a command line; better use {instead}"
    )
}
