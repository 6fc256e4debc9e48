//! Makes text for people: foreign text made harmless, errors with their causes, lists, amounts of bytes.

use std::{error::Error, fmt::Write as _};

/// Makes foreign text harmless where it is shown: it stays on its line, obeys no terminal and reorders nothing.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut out, c));
    out
}

/// Appends what [`printable`] makes of `text`, with quotes and backslashes escaped as well, so that it is the inside of
/// a JSON string.
pub(crate) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        push(out, c);
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn quote(out: &mut String, text: &str) {
    out.push('"');
    escape(out, text);
    out.push('"');
}

fn push(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c.is_control() || misleads(c) => {
            // All of these lie below U+10000, so one escape of four digits holds them.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
        c => out.push(c),
    }
}

/// Tells line separators and the marks that change the direction of text.
fn misleads(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// Gives an error's message with its causes, each of which is named once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Writes items one after the other.
pub(crate) fn joined(items: impl IntoIterator<Item: ToString>, separator: &str) -> String {
    let texts: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    texts.join(separator)
}

/// Writes an amount of bytes with a decimal unit, in about three digits.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut figure, mut unit) = (count as f64, 0);
    while figure >= 999.5 && unit + 1 < UNITS.len() {
        figure /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && figure < 99.95);
    format!("{figure:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;

    use super::*;

    /// Holds one of each kind that does harm: controls of ASCII and beyond, separators of lines and paragraphs, marks
    /// that change the direction of text.
    pub(crate) const HOSTILE: &str = "a\n\r\t\u{0}\u{1b}[2J\u{7f}\u{9b}2J\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}z";

    /// Checks what was made of [`HOSTILE`].
    pub(crate) fn assert_harmless(shown: &str) {
        let harmful = |c: &char| c.is_control() || (!c.is_ascii() && HOSTILE.contains(*c));
        assert_eq!(shown.chars().find(harmful), None, "{shown:?}");
        assert!(shown.contains('a') && shown.contains("[2J"), "{shown:?}");
    }

    #[test]
    fn foreign_text_becomes_harmless_and_all_else_stays() {
        assert_harmless(&printable(HOSTILE));
        assert_eq!(printable("\n\u{1b}[m\u{202e}"), "\\n\\u001b[m\\u202e");
        assert_eq!(printable("\"é\" \\ 漢"), "\"é\" \\ 漢");
        let mut quoted = String::new();
        quote(&mut quoted, HOSTILE);
        assert_harmless(&quoted);
        assert_eq!(
            serde_json::from_str::<String>(&quoted).ok().as_deref(),
            Some(HOSTILE)
        );
    }

    #[test]
    fn causes_are_named_once() {
        let inner = anyhow::Error::msg("inner").context("outer");
        assert_eq!(chain(&io::Error::other(inner)), "outer: inner");
    }

    #[test]
    fn amounts_are_short() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (99_960, "100 kB"),
            (999_600, "1.0 MB"),
            (12_345_678, "12.3 MB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
