//! `lab.toml`: who takes part in the lab.

mod read;

use std::{collections::BTreeMap, path::Path};

use thiserror::Error;

use super::{
    selector::Labels,
    tokens::{Holder, Kind},
};
use crate::common::text::joined;

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
#[derive(Default)]
pub struct Settings {
    /// Clients by name.
    pub clients: BTreeMap<String, Client>,
    /// The client that is named first.
    pub first_client: Option<String>,
    /// Exporters by name.
    pub exporters: BTreeMap<String, Exporter>,
}

/// A client.
pub struct Client {
    /// Its token, instead of one that is made.
    pub token: Option<String>,
}

/// An exporter.
pub struct Exporter {
    /// Its token, instead of one that is made.
    pub token: Option<String>,
    /// What clients select it by.
    pub labels: Labels,
    /// Whether it may be leased by its labels.
    pub enabled: bool,
    /// Whether the lab starts it.
    pub run: bool,
}

/// One thing that is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what was expected. It does not repeat what may be a token.
    pub text: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "line {}: {}", self.line, self.text)
    }
}

/// All that is wrong with the file, in its order.
#[derive(Debug, Error)]
#[error("{path}: {}", listed(problems))]
pub struct SettingsError {
    path: String,
    problems: Vec<Problem>,
}

fn listed(problems: &[Problem]) -> String {
    match problems {
        [only] => only.to_string(),
        several => format!(
            "{} things are wrong:\n  {}",
            several.len(),
            joined(several, "\n  ")
        ),
    }
}

impl Settings {
    /// Reads the file's text; `path` is for messages.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, in the file's terms.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        read::read(text).map_err(|problems| SettingsError {
            path: path.display().to_string(),
            problems,
        })
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
            (
                "x = 1",
                [
                    "lab.toml: line 1: ",
                    "unknown key `x`; the file has the tables clients and exporters",
                ],
            ),
            (
                "clients = 1",
                ["line 1: ", "found a number, expected a table"],
            ),
            (
                "[clients]\na = 1",
                ["line 2: clients.a: ", "expected a table"],
            ),
            (
                "\n[clients.a]\nlabels = {}",
                [
                    "line 3: ",
                    "unknown key `labels` in [clients.a]; it may have token",
                ],
            ),
            ("[clients.a", ["line 1: this is no TOML: ", ""]),
            (
                "[exporters.a]\nlabels = 3",
                [
                    "line 2: [exporters.a] labels: found a number, ",
                    "expected a table",
                ],
            ),
            (
                "[exporters.a]\nlabels = { b = 3 }",
                [
                    "line 2: [exporters.a] labels.b: found a number, ",
                    "expected a text in quotes",
                ],
            ),
            (
                "[exporters.a]\nrun = \"yes\"",
                [
                    "line 2: [exporters.a] run: found a text, ",
                    "expected true or false",
                ],
            ),
            (
                "[exporters.A]",
                ["line 1: [exporters.A]: ", "cannot be a name"],
            ),
            (
                "[exporters.a.labels]\n\"b c\" = \"d\"",
                ["[exporters.a] labels: ", "cannot be the key of a label"],
            ),
            (
                "[exporters.a.labels]\nb = \"c d\"",
                ["[exporters.a] labels.b: ", "cannot be the value of a label"],
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
        for hidden in [
            "token = s3cr3t",
            "token = [\"s3cr3t\"]",
            "token = \"s3cr 3t\"",
        ] {
            let error = parse(&format!("[clients.a]\n{hidden}")).err().unwrap();
            assert!(!error.contains("s3cr"), "{error}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
        let text = "[exporters.b]\nlabel = {}\nrun = 1\n[clients.A]\ntoken = \"x\"\n[exporters.a]\n\
                    labels = { \"b c\" = \"d\", e = \"f g\" }\n[client.x]\n";
        let error = parse(text).err().unwrap();
        let lines: Vec<_> = error.lines().collect();
        assert_eq!(lines[0], "lab.toml: 7 things are wrong:", "{error}");
        let places: Vec<_> = lines[1..]
            .iter()
            .map(|line| line.trim().split(": ").next().unwrap())
            .collect();
        let expected = [2, 3, 4, 5, 7, 7, 8].map(|line| format!("line {line}"));
        assert_eq!(places, expected, "{error}");
        // What follows a mistake of form may be no mistake.
        let error = parse("[clients.a\n[exporters.x]\nlabels = {\n")
            .err()
            .unwrap();
        assert!(
            error.contains("line 1: ") && !error.contains("label`"),
            "{error}"
        );
    }

    #[test]
    fn the_first_client_is_the_one_named_first() {
        let settings = parse("[clients.zoe]\n[exporters.x]\n[clients.amy]").unwrap();
        assert_eq!(settings.first_client.as_deref(), Some("zoe"));
        assert_eq!(parse("").unwrap().first_client, None);
    }
}
