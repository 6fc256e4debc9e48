//! The report: aligned lines, plain unless it goes to a terminal.

use std::io::{self, IsTerminal, Stdout, Write};

use anyhow::{Context, Result};

const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// Where the report goes.
pub struct Report<W = Stdout> {
    out: W,
    styled: bool,
}

impl Report {
    /// To stdout, with bold labels on a terminal unless `NO_COLOR` is set and not empty.
    pub fn on_stdout() -> Self {
        let out = io::stdout();
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let styled = out.is_terminal() && !unwanted;
        Self { out, styled }
    }
}

impl<W: Write> Report<W> {
    /// The first line, and an empty one.
    pub fn title(&mut self, text: &str) -> Result<()> {
        self.write(&format!("{text}\n\n"))
    }

    /// A label and what there is to say. An empty label goes on with the one before.
    pub fn line(&mut self, label: &str, text: &str) -> Result<()> {
        let (bold, plain) = if self.styled { (BOLD, PLAIN) } else { ("", "") };
        self.write(&format!("{bold}{label:<8}{plain} {text}\n"))
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush())
            .context("cannot write the report")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn written(styled: bool) -> String {
        let mut report = Report {
            out: Vec::new(),
            styled,
        };
        report.line("peers", "two").unwrap();
        report.line("", "more").unwrap();
        String::from_utf8(report.out).unwrap()
    }

    #[test]
    fn lines_are_aligned_and_plain_away_from_a_terminal() {
        assert_eq!(written(false), "peers    two\n         more\n");
    }

    #[test]
    fn styles_do_not_disturb_the_alignment() {
        let bare = written(true).replace(BOLD, "").replace(PLAIN, "");
        assert_eq!(bare, written(false));
    }
}
