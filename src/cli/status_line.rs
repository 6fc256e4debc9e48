//! One line on a terminal that is written over again and again, and taken away in the end.

use std::{
    fmt::Display,
    io::{IsTerminal as _, Write as _, stderr},
};

/// The line. Dropping it takes away what it has written.
#[derive(Debug)]
pub(crate) struct StatusLine {
    shown: bool,
    written: bool,
}

impl StatusLine {
    /// A line on standard error, if that is a terminal.
    pub(crate) fn new() -> Self {
        Self {
            shown: stderr().is_terminal(),
            written: false,
        }
    }

    /// Whether anybody can see it.
    pub(crate) fn is_shown(&self) -> bool {
        self.shown
    }

    /// Writes `text` over what the line said before.
    pub(crate) fn show(&mut self, text: impl Display) {
        if self.shown {
            self.written = true;
            // An error means that nobody looks.
            let _ = write!(stderr(), "\r\x1b[K{text}");
        }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        if self.written {
            self.show("");
        }
    }
}
