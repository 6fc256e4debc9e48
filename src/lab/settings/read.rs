//! Reads `lab.toml`, and finds all that is wrong with it at once.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Client, Exporter, Problem, Settings};
use crate::{
    common::text::printable,
    lab::{names, selector::Labels, tokens::Kind},
};

type Item<'i> = Spanned<DeValue<'i>>;
type Name<'i> = Spanned<std::borrow::Cow<'i, str>>;

/// Reads the file's text.
///
/// # Errors
///
/// All that is wrong, in the order of the file.
pub(super) fn read(text: &str) -> Result<Settings, Vec<Problem>> {
    let mut reader = Reader::default();
    let mut settings = Settings::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        // Its own rendering quotes the line, which may hold a token.
        let text = format!("this is no TOML: {}", printable(error.message()));
        reader.problem(at, text);
    }
    // What follows an error of form cannot be trusted.
    if errors.is_empty() {
        reader.document(document.get_ref(), &mut settings);
        reader.same_tokens();
    }
    let mut found = reader.problems;
    if found.is_empty() {
        return Ok(settings);
    }
    found.sort_by_key(|(at, _)| *at);
    let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    let problems = found.into_iter().map(|(at, text)| Problem {
        line: line(at),
        text,
    });
    let mut problems: Vec<_> = problems.collect();
    if !errors.is_empty() {
        // One mistake often upsets the rest of its line, too.
        problems.dedup_by_key(|problem| problem.line);
    }
    Err(problems)
}

#[derive(Default)]
struct Reader {
    /// With their offsets, since tables are not in the file's order.
    problems: Vec<(usize, String)>,
    /// All tokens, each with its offset and its place.
    tokens: Vec<(usize, String, String)>,
}

impl Reader {
    fn problem(&mut self, at: usize, text: String) {
        self.problems.push((at, text));
    }

    fn document(&mut self, document: &DeTable<'_>, settings: &mut Settings) {
        let mut first = usize::MAX;
        for (kind, item) in document {
            let known = [Kind::Client, Kind::Exporter];
            let Some(known) = known
                .into_iter()
                .find(|known| known.plural() == kind.get_ref())
            else {
                let text = format!(
                    "unknown key `{}`; the file has the tables clients and exporters, as in [clients.me]",
                    printable(kind.get_ref())
                );
                self.problem(kind.span().start, text);
                continue;
            };
            let Some(table) = self.table(known.plural(), item) else {
                continue;
            };
            for (name, item) in table {
                let at = name.span().start;
                let place = self.name(known, name);
                let Some(table) = self.table(
                    &format!("{}.{}", known.plural(), printable(name.get_ref())),
                    item,
                ) else {
                    continue;
                };
                let name = name.get_ref().clone().into_owned();
                match known {
                    Kind::Client => {
                        if at < first {
                            first = at;
                            settings.first_client = Some(name.clone());
                        }
                        settings.clients.insert(name, self.client(&place, table));
                    }
                    Kind::Exporter => {
                        settings
                            .exporters
                            .insert(name, self.exporter(&place, table));
                    }
                }
            }
        }
    }

    /// Checks somebody's name, and gives their place in the file for messages.
    fn name(&mut self, kind: Kind, name: &Name<'_>) -> String {
        let place = format!("[{}.{}]", kind.plural(), printable(name.get_ref()));
        if let Err(why) = names::object(name.get_ref()) {
            self.problem(name.span().start, format!("{place}: {why}"));
        }
        place
    }

    fn client(&mut self, place: &str, table: &DeTable<'_>) -> Client {
        let mut client = Client { token: None };
        for (key, item) in table {
            match &**key.get_ref() {
                "token" => client.token = self.token(place, item, true),
                _ => self.unknown(place, key, "token"),
            }
        }
        client
    }

    fn exporter(&mut self, place: &str, table: &DeTable<'_>) -> Exporter {
        let mut exporter = Exporter {
            token: None,
            labels: Labels::new(),
            enabled: true,
            run: false,
        };
        for (key, item) in table {
            match &**key.get_ref() {
                "token" => exporter.token = self.token(place, item, false),
                "labels" => exporter.labels = self.labels(place, item),
                "enabled" => exporter.enabled = self.switch(place, "enabled", item).unwrap_or(true),
                "run" => exporter.run = self.switch(place, "run", item).unwrap_or(false),
                _ => self.unknown(place, key, "labels, run, enabled and token"),
            }
        }
        exporter
    }

    fn token(&mut self, place: &str, item: &Item<'_>, is_client: bool) -> Option<String> {
        let place = format!("{place} token");
        let token = self.text(&place, item)?;
        let at = item.span().start;
        let mut wrong = |why: &str| {
            self.problems.push((at, format!("{place}: {why}")));
            None
        };
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong("expected printable characters without spaces");
        }
        if is_client && token.split('.').count() != 3 {
            return wrong(
                "expected a JWT, three parts joined by dots, as jmp reads its claims; leave it out to have one made",
            );
        }
        self.tokens.push((at, place, token.clone()));
        Some(token)
    }

    fn labels(&mut self, place: &str, item: &Item<'_>) -> Labels {
        let mut labels = Labels::new();
        let place = format!("{place} labels");
        let Some(table) = self.table(&place, item) else {
            return labels;
        };
        for (key, item) in table {
            if let Err(why) = names::label_key(key.get_ref()) {
                self.problem(key.span().start, format!("{place}: {why}"));
            }
            let place = format!("{place}.{}", printable(key.get_ref()));
            let Some(value) = self.text(&place, item) else {
                continue;
            };
            if let Err(why) = names::label_value(&value) {
                self.problem(item.span().start, format!("{place}: {why}"));
            }
            labels.insert(key.get_ref().clone().into_owned(), value);
        }
        labels
    }

    fn table<'i>(&mut self, place: &str, item: &'i Item<'i>) -> Option<&'i DeTable<'i>> {
        match item.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => self.mismatch(
                place,
                item,
                "a table, such as { board = \"x\" } or [exporters.x]",
            ),
        }
    }

    fn text(&mut self, place: &str, item: &Item<'_>) -> Option<String> {
        match item.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            _ => self.mismatch(place, item, "a text in quotes"),
        }
    }

    fn switch(&mut self, place: &str, key: &str, item: &Item<'_>) -> Option<bool> {
        match item.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => self.mismatch(
                &format!("{place} {key}"),
                item,
                "true or false, without quotes",
            ),
        }
    }

    fn mismatch<T>(&mut self, place: &str, item: &Item<'_>, expected: &str) -> Option<T> {
        let found = match item.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let text = format!("{place}: found {found}, expected {expected}");
        self.problem(item.span().start, text);
        None
    }

    fn unknown(&mut self, place: &str, key: &Name<'_>, known: &str) {
        let text = format!(
            "unknown key `{}` in {place}; it may have {known}",
            printable(key.get_ref())
        );
        self.problem(key.span().start, text);
    }

    /// Two with one token could not be told apart.
    fn same_tokens(&mut self) {
        self.tokens.sort_by_key(|(at, ..)| *at);
        for (index, (at, place, token)) in self.tokens.iter().enumerate() {
            let earlier = self.tokens[..index]
                .iter()
                .find(|(_, _, other)| other == token);
            if let Some((_, other, _)) = earlier {
                let text = format!("{place}: the same as {other}; each needs one of its own");
                self.problems.push((*at, text));
            }
        }
    }
}
