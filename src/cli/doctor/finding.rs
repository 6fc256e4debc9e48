//! What was found, and what to do about it.

use std::{fmt::Display, io, io::Write as _};

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use crate::{
    cli::{
        exit::{Exit, Failure},
        out::{GOOD, STYLES, is_coloured, quietly},
    },
    common::text::printable,
};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Failed,
    Skipped,
}

/// One line of the report.
#[derive(Serialize)]
struct Finding<'f> {
    check: &'f str,
    level: Level,
    text: &'f str,
    #[serde(skip_serializing_if = "str::is_empty")]
    advice: &'f str,
}

/// Prints each finding as it comes, and remembers how it must end.
pub(super) struct Report {
    json: bool,
    warnings: usize,
    failures: usize,
    first: Option<Exit>,
    written: io::Result<()>,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            warnings: 0,
            failures: 0,
            first: None,
            written: Ok(()),
        }
    }

    /// Says what is as it should be.
    pub(super) fn good(&mut self, check: &str, text: impl Display) {
        self.add(check, Level::Ok, &text, &"");
    }

    /// Says what works and may not for others, or for long.
    pub(super) fn warning(&mut self, check: &str, text: impl Display, advice: impl Display) {
        self.warnings += 1;
        self.add(check, Level::Warning, &text, &advice);
    }

    /// Says what does not work. The first one decides the exit code.
    pub(super) fn failed(
        &mut self,
        check: &str,
        exit: Exit,
        text: impl Display,
        advice: impl Display,
    ) {
        self.failures += 1;
        self.first.get_or_insert(exit);
        self.add(check, Level::Failed, &text, &advice);
    }

    /// Says what was not looked at.
    pub(super) fn skipped(&mut self, check: &str, text: impl Display, advice: impl Display) {
        self.add(check, Level::Skipped, &text, &advice);
    }

    fn add(&mut self, check: &str, level: Level, text: &dyn Display, advice: &dyn Display) {
        // Certificates and answers hold what strangers wrote.
        let (text, advice) = (printable(&text.to_string()), printable(&advice.to_string()));
        let finding = Finding {
            check,
            level,
            text: &text,
            advice: &advice,
        };
        let line = if self.json {
            serde_json::to_string(&finding).unwrap_or_default()
        } else {
            finding.line()
        };
        if self.written.is_ok() {
            self.written = writeln!(io::stdout().lock(), "{line}");
        }
    }

    /// Sums up, and gives the outcome.
    pub(super) fn finish(self) -> Result<(), Failure> {
        quietly(self.written)?;
        if let Some(exit) = self.first {
            let (failures, warnings) = (self.failures, self.warnings);
            let text = format!(
                "{failures} {} failed, with {warnings} {}",
                plural(failures, "check"),
                plural(warnings, "warning")
            );
            return Err(Failure::new(exit, text));
        }
        Ok(())
    }
}

fn plural(count: usize, word: &str) -> String {
    format!("{word}{}", if count == 1 { "" } else { "s" })
}

impl Finding<'_> {
    fn line(&self) -> String {
        let (level, style) = match self.level {
            Level::Ok => ("ok", GOOD),
            Level::Warning => ("warning", AnsiColor::Yellow.on_default()),
            Level::Failed => ("FAILED", *STYLES.get_error()),
            Level::Skipped => ("skipped", Style::new()),
        };
        let level = if is_coloured(&io::stdout()) {
            format!("{style}{level:<8}{style:#}")
        } else {
            format!("{level:<8}")
        };
        let line = format!("{level} {:<8} {}", self.check, self.text);
        match self.advice {
            "" => line,
            advice => format!("{line}\n{:18}-> {advice}", ""),
        }
    }
}
