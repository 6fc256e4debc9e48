//! The configuration file: strict TOML in which every problem is reported with its place.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::loading::Loading;
use super::problem::{Origin, mismatch, printable};
use super::registry::nearest;
use super::sections::Section;
use super::setting::{describe, excerpt};
use super::{CONFIG_FILE_ENV, SECTIONS, files};

/// A file is no longer than this, which is far more than every key takes.
const MOST: u64 = 1024 * 1024;

/// Reads the file and applies it. Afterwards `loading.unreadable` says whether nothing was learnt
/// from it, so that what may be in there is not reported as missing.
pub(super) fn apply_file(path: &Path, loading: &mut Loading) {
    let name = path.display().to_string();
    let (origin, why) = match files::read(path, MOST).map(String::from_utf8) {
        Ok(Ok(text)) => return apply_text(&text, &name, loading),
        Ok(Err(error)) => {
            let at = error.utf8_error().valid_up_to();
            (
                place(error.as_bytes(), at, &name),
                "not UTF-8 text".to_owned(),
            )
        }
        Err(error) => {
            let text = format!(
                "{}: cannot read the configuration file: {error}; name a readable file with \
                 --config or {CONFIG_FILE_ENV}",
                printable(&name)
            );
            (Origin::Default, text)
        }
    };
    loading.unreadable = true;
    loading.problem(origin, None, why);
}

/// Applies the text of a file called `name`.
pub(super) fn apply_text(text: &str, name: &str, loading: &mut Loading) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut walk = Walk {
        text,
        name,
        found: Vec::new(),
    };
    if errors.is_empty() {
        walk.document(document.get_ref(), loading);
    } else {
        // What follows a syntax error cannot be trusted, so the document is not looked at.
        loading.unreadable = true;
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            let text = format!("not valid TOML: {}", printable(error.message()));
            walk.found.push((at, None, text));
        }
        // One mistake often upsets the rest of its line too.
        walk.found.sort_by_key(|(at, ..)| *at);
        walk.found
            .dedup_by_key(|(at, ..)| position(text.as_bytes(), *at).0);
    }
    walk.finish(loading);
}

/// Problems are collected with their offsets, since tables are not walked in the file's order.
struct Walk<'f> {
    text: &'f str,
    name: &'f str,
    found: Vec<(usize, Option<&'static str>, String)>,
}

impl Walk<'_> {
    fn document(&mut self, document: &DeTable<'_>, loading: &mut Loading) {
        for (name, item) in document {
            let known = SECTIONS
                .iter()
                .find(|section| section.name == name.get_ref());
            match (known, item.get_ref()) {
                (Some(section), DeValue::Table(table)) => self.section(section, table, loading),
                (Some(section), other) => {
                    let found = describe(other, true);
                    let expected = format!("[{}]: found {found}, expected a table", section.name);
                    self.found.push((item.span().start, None, expected));
                }
                (None, other) => self.unknown_section(name.get_ref(), name.span().start, other),
            }
        }
    }

    fn unknown_section(&mut self, name: &str, at: usize, value: &DeValue<'_>) {
        let names: Vec<_> = SECTIONS.iter().map(|section| section.name).collect();
        let (kind, hint) = if matches!(value, DeValue::Table(_)) {
            let near = nearest(name, names.iter().copied());
            (
                "section",
                near.map(|near| format!(" (did you mean [{near}]?)")),
            )
        } else {
            let hint = owners(name).map(|owners| format!(" (it belongs in {owners})"));
            ("key outside of any section", hint)
        };
        let text = format!(
            "unknown {kind} {}{}; the sections are {}",
            excerpt(name),
            hint.unwrap_or_default(),
            names.join(", ")
        );
        self.found.push((at, None, text));
    }

    fn section(&mut self, section: &'static Section, table: &DeTable<'_>, loading: &mut Loading) {
        for (name, item) in table {
            let Some(key) = section.keys.iter().find(|key| key.name == name.get_ref()) else {
                self.unknown_key(section, name.get_ref(), name.span().start);
                continue;
            };
            match (key.set_toml)(&mut loading.config, item) {
                Ok(()) => {
                    let place = place(self.text.as_bytes(), item.span().start, self.name);
                    loading.origins.set(key.path, place);
                }
                Err(invalid) => {
                    let text = mismatch(&invalid.found, key.expects, &invalid.why);
                    self.found.push((invalid.at, Some(key.path), text));
                }
            }
        }
    }

    fn unknown_key(&mut self, section: &Section, name: &str, at: usize) {
        let names: Vec<_> = section.keys.iter().map(|key| key.name).collect();
        let hint = match nearest(name, names.iter().copied()) {
            Some(near) => format!(" (did you mean {near:?}?)"),
            None => owners(name).map_or_else(String::new, |o| format!(" (it belongs in {o})")),
        };
        let text = format!(
            "unknown key {} in [{}]{hint}; the keys are {}",
            excerpt(name),
            section.name,
            names.join(", ")
        );
        self.found.push((at, None, text));
    }

    fn finish(mut self, loading: &mut Loading) {
        self.found.sort_by_key(|(at, ..)| *at);
        for (at, key, text) in self.found {
            let place = place(self.text.as_bytes(), at, self.name);
            loading.problem(place, key, text);
        }
    }
}

/// Names the sections that have a key called `name`.
fn owners(name: &str) -> Option<String> {
    let owners: Vec<_> = SECTIONS
        .iter()
        .filter(|section| section.keys.iter().any(|key| key.name == name))
        .map(|section| format!("[{}]", section.name))
        .collect();
    Some(owners.join(" or ")).filter(|owners| !owners.is_empty())
}

fn place(text: &[u8], at: usize, name: &str) -> Origin {
    let (line, column) = position(text, at);
    Origin::File {
        name: name.to_owned(),
        line,
        column,
    }
}

/// Finds line and column, both from 1, of a byte offset.
fn position(text: &[u8], at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let line = before.split(|byte| *byte == b'\n').count();
    (
        line,
        String::from_utf8_lossy(&before[start..]).chars().count() + 1,
    )
}
