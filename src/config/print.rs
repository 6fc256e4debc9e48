//! Writes configurations: the documented example, and the values in effect.

use super::problem::Origin;
use super::registry::{ENV_PREFIX, UPSTREAM_ENV};
use super::sections::{Key, keys};
use super::{Config, Loaded, SECTIONS};
use crate::admin::api::settings::Setting;

/// Writes the example file: every key with its documentation and default. Keys without a default stand
/// commented out.
pub fn example() -> String {
    let mut lines = vec![
        "# Configuration of jumpstarter-router: every key with its default.".to_owned(),
        "#".to_owned(),
        format!("# Environment variables, {ENV_PREFIX}<SECTION>_<KEY>, override this file, and"),
        "# command line flags override both. A change of this file takes effect while the router runs,".to_owned(),
        "# except where a key says that it needs a restart.".to_owned(),
        "#".to_owned(),
        "# These names of variables are understood as well:".to_owned(),
    ];
    let alias = |(name, path): &(&str, &str)| format!("#   {name} for {path}");
    lines.extend(UPSTREAM_ENV.iter().map(alias));
    for section in SECTIONS {
        lines.push(String::new());
        lines.extend(section.doc.iter().map(|line| format!("#{line}")));
        lines.push(format!("[{}]", section.name));
        for key in section.keys {
            lines.push(String::new());
            lines.extend(key.doc.iter().map(|line| format!("#{line}")));
            lines.push(format!("# Expects {}.", key.expects));
            if !key.live {
                lines.push("# A change needs a restart.".to_owned());
            }
            lines.push(match key.default() {
                Some(default) => format!("{} = {default}", key.name),
                None => format!("# {} = \"...\"", key.name),
            });
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Writes the values in effect as TOML, each with its origin. Secrets are not shown.
pub fn effective(loaded: &Loaded) -> String {
    let mut lines = Vec::new();
    for section in SECTIONS {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(format!("[{}]", section.name));
        lines.extend(section.keys.iter().map(|key| line(key, loaded)));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Lists the values in effect, each with its origin, for the API. Secrets are not shown. What needs a restart is still as
/// at the start.
pub(crate) fn settings(started: &Loaded, now: &Loaded) -> Vec<Setting> {
    let setting = |key: &Key| {
        let loaded = if key.live { now } else { started };
        let origin = loaded.origins.of(key.path);
        let is_default = (key.same)(&loaded.config, &Config::default());
        Setting {
            key: key.path.to_owned(),
            value: (key.show)(&loaded.config),
            source: match origin {
                Origin::Default if !is_default => "the program".to_owned(),
                origin => origin.to_string(),
            },
            restart: !key.live,
        }
    };
    keys().map(setting).collect()
}

fn line(key: &Key, loaded: &Loaded) -> String {
    let mut origin = loaded.origins.of(key.path).to_string();
    if !key.live {
        origin.push_str("; a change needs a restart");
    }
    match (key.show)(&loaded.config) {
        Some(value) => format!("{} = {value} # {origin}", key.name),
        None => format!("# {} is not set # {origin}", key.name),
    }
}
