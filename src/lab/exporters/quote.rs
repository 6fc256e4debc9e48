//! What a program said at last, from its log, for one line of another log.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// So much of the log is looked at.
const MOST: u64 = 8 * 1024;

/// So many lines are quoted.
const LINES: usize = 5;

/// No more of each.
const WIDTH: usize = 240;

/// Gives the last lines that were written to the log from this place on, joined by bars; nothing if there are none.
pub(super) fn last_lines(log: &Path, from: u64) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(MOST))))?;
        file.take(MOST).read_to_end(&mut text)?;
        std::io::Result::Ok(text)
    };
    let text = read().unwrap_or_default();
    let text = without_colours(&String::from_utf8_lossy(&text));
    let lines: Vec<_> = text.lines().filter_map(content).collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    last.join(" | ")
}

/// Gives a line without the frame that stock programs draw around their errors; nothing if that is all. Of a line of JSON, as newer
/// ones write to their log, it is the message.
fn content(line: &str) -> Option<String> {
    let json: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let line = json
        .as_ref()
        .and_then(|json| json.get("msg")?.as_str())
        .unwrap_or(line);
    let frame = |c: char| c.is_whitespace() || ('\u{2500}'..='\u{257f}').contains(&c);
    let line: String = line.trim_matches(frame).chars().take(WIDTH).collect();
    Some(line).filter(|line| !line.is_empty())
}

/// Leaves out the sequences that colour text in a terminal.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic());
        plain.push_str(end.map_or("", |end| &part[end + 1..]));
    }
    plain
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_end_is_quoted_and_nothing_of_an_earlier_run() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        let earlier = "of an earlier run\n";
        let text = format!(
            "{earlier}1\n2\n\n╭─── Error ───╮\n│ \u{1b}[31mno such\u{1b}[0m driver │\n╰────╯\n3\r\n\
             {{\"level\": \"info\", \"msg\": \"4\"}}\n5 \u{fffd}"
        );
        std::fs::write(&log, text).unwrap();
        let from = earlier.len() as u64;
        let said = last_lines(&log, from);
        assert_eq!(said, "Error | no such driver | 3 | 4 | 5 \u{fffd}");
        std::fs::write(&log, format!("{earlier}\n \n")).unwrap();
        assert_eq!(last_lines(&log, from), "");
        std::fs::write(&log, "long ".repeat(100_000)).unwrap();
        assert_eq!(last_lines(&log, 0).chars().count(), WIDTH);
        assert_eq!(last_lines(&dir.path().join("none"), 0), "");
    }
}
