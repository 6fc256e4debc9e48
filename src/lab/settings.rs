//! `lab.toml`: who takes part in the lab.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use thiserror::Error;

use super::{
    names,
    selector::Labels,
    tokens::{Holder, Kind},
};

/// What is written where there is no file yet.
pub(crate) const EXAMPLE: &str = r#"# Who takes part in this lab. It is read when the lab starts.

# A client asks for leases. clients/me.yaml is its configuration file.
[clients.me]

# An exporter offers hardware. exporters/mock.yaml is its configuration file; its drivers are set there.
[exporters.mock]
# What clients select it by.
labels = { board = "mock" }
# Start `jmp run` for it along with the lab, if jmp is installed.
run = true
# Whether it may be leased by its labels; by name it may with --allow-disabled.
#enabled = false

# Each may have a token of your own choice; without it one is made. A client's must be a JWT, as jmp looks into it.
#token = "..."
"#;

// No `Debug`, here and below: there may be tokens.
/// The file's contents.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Clients by name.
    #[serde(default)]
    pub clients: BTreeMap<String, Client>,
    /// Exporters by name.
    #[serde(default)]
    pub exporters: BTreeMap<String, Exporter>,
}

/// A client.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its token, instead of one that is made.
    pub token: Option<String>,
}

/// An exporter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exporter {
    /// Its token, instead of one that is made.
    pub token: Option<String>,
    /// What clients select it by.
    #[serde(default)]
    pub labels: Labels,
    /// Whether it may be leased by its labels.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether the lab starts it.
    #[serde(default)]
    pub run: bool,
}

fn yes() -> bool {
    true
}

/// What is wrong with the file.
#[derive(Debug, Error)]
#[error("{path}: {text}")]
pub struct SettingsError {
    path: String,
    text: String,
}

impl Settings {
    /// Reads the file's text; `path` is for messages.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in the file's terms.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        let error = |text: String| SettingsError {
            path: path.display().to_string(),
            text,
        };
        let settings: Self = toml::from_str(text).map_err(|e| error(told(text, &e)))?;
        settings.check().map_err(error)?;
        Ok(settings)
    }

    /// Lists everybody who takes part, with the token that the file gives.
    pub fn holders(&self) -> impl Iterator<Item = (Holder, Option<&str>)> {
        let clients = self.clients.iter();
        let clients = clients.map(|(name, it)| (Holder::new(Kind::Client, name), &it.token));
        let exporters = self.exporters.iter();
        let exporters = exporters.map(|(name, it)| (Holder::new(Kind::Exporter, name), &it.token));
        let all = clients.chain(exporters);
        all.map(|(holder, token)| (holder, token.as_deref()))
    }

    fn check(&self) -> Result<(), String> {
        let mut seen = BTreeMap::new();
        for (Holder { kind, name }, token) in self.holders() {
            let place = format!("[{}.{name}]", kind.plural());
            names::object(&name).map_err(|why| format!("{place}: {why}"))?;
            let Some(token) = token else { continue };
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!(
                    "{place} token: expected printable characters without spaces"
                ));
            }
            if kind == Kind::Client && token.split('.').count() != 3 {
                return Err(format!(
                    "{place} token: expected a JWT, three parts joined by dots, as jmp reads its claims; leave it out to \
                     have one made"
                ));
            }
            if let Some(other) = seen.insert(token, place.clone()) {
                return Err(format!("{place} token: the same as {other} token"));
            }
        }
        for (name, exporter) in &self.exporters {
            for (key, value) in &exporter.labels {
                names::label_key(key)
                    .and_then(|()| names::label_value(value))
                    .map_err(|why| format!("[exporters.{name}] labels: {why}"))?;
            }
        }
        Ok(())
    }
}

/// Says what the parser does, with the line it is about. Its own rendering quotes the line, which may hold a token.
fn told(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or(text);
            format!("line {}: {message}", before.matches('\n').count() + 1)
        }
        None => message,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, Path::new("lab.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_is_good() {
        let settings = parse(EXAMPLE).unwrap();
        assert_eq!(settings.clients.len(), 1);
        let mock = &settings.exporters["mock"];
        assert!(mock.run && mock.enabled && mock.token.is_none());
        assert_eq!(mock.labels["board"], "mock");
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let settings = parse("[exporters.x]\n[clients.c]\ntoken = \"a.b.c\"").unwrap();
        let x = &settings.exporters["x"];
        assert!(x.enabled && !x.run && x.labels.is_empty());
        assert!(parse("").unwrap().clients.is_empty());
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, parts) in [
            ("x = 1", ["lab.toml: line 1: ", "unknown field `x`"]),
            (
                "\n[clients.a]\nlabels = {}",
                ["line 3: ", "unknown field `labels`"],
            ),
            ("[clients.a", ["line 1: ", ""]),
            ("[exporters.a]\nlabels = 3", ["line 2: ", "invalid type"]),
            ("[exporters.a]\nlabels = { b = 3 }", ["line 2: ", ""]),
            ("[exporters.A]", ["[exporters.A]: ", "cannot be a name"]),
            (
                "[exporters.a.labels]\n\"b c\" = \"d\"",
                ["[exporters.a] labels: ", "cannot be the key of a label"],
            ),
            (
                "[exporters.a.labels]\nb = \"c d\"",
                ["[exporters.a] labels: ", "cannot be the value of a label"],
            ),
            (
                "[exporters.a]\ntoken = \"\"",
                ["[exporters.a] token: ", "expected"],
            ),
            (
                "[exporters.a]\ntoken = \"a b\"",
                ["[exporters.a] token: ", "spaces"],
            ),
            (
                "[clients.a]\ntoken = \"ab\"",
                ["[clients.a] token: ", "JWT"],
            ),
            (
                "[exporters.a]\ntoken = \"t\"\n[exporters.b]\ntoken = \"t\"",
                ["[exporters.b] token: ", "the same as [exporters.a] token"],
            ),
        ] {
            let error = parse(text).err().unwrap();
            for part in parts {
                assert!(error.contains(part), "{text:?}: {error}");
            }
            assert!(!error.contains('\n'), "{error}");
        }
        let error = parse("[clients.a]\ntoken = s3cr3t").err().unwrap();
        assert!(!error.contains("s3cr3t"), "{error}");
    }
}
