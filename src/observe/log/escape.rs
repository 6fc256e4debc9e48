//! Makes foreign text harmless in a log line.

use std::fmt::Write as _;

/// Appends `text` with JSON's escapes, without the enclosing quotes.
///
/// Escapes more than JSON asks for: also the controls above ASCII and the characters that reorder
/// text, because log lines are read on terminals.
pub fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
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
}

/// Appends `text` as a JSON string.
pub fn quote(out: &mut String, text: &str) {
    out.push('"');
    escape(out, text);
    out.push('"');
}

/// Line separators and the marks that change the direction of text.
fn misleads(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}
