//! One line on a terminal that is written over again and again, and taken away in the end.

use std::{
    convert::Infallible,
    fmt::Display,
    future::pending,
    io::{IsTerminal as _, stderr},
    time::Duration,
};

use tokio::time::sleep;

use super::out;

/// Shows each second what `text` makes, for as long as it is polled, if anybody can see it.
pub(crate) async fn each_second(mut text: impl FnMut() -> String) -> Infallible {
    let mut line = StatusLine::new();
    if !line.shown {
        return pending().await;
    }
    loop {
        sleep(Duration::from_secs(1)).await;
        line.show(text());
    }
}

/// Tells whether somebody looks at standard error and wants to see more than errors.
pub(crate) fn is_watched() -> bool {
    stderr().is_terminal() && !out::is_quiet()
}

/// The line. Dropping it takes away what it has written.
#[derive(Debug)]
pub(crate) struct StatusLine {
    shown: bool,
    written: bool,
}

impl StatusLine {
    /// A line on standard error, if that is a terminal, and nothing else is told there all the time.
    pub(crate) fn new() -> Self {
        Self {
            shown: is_watched() && !out::is_verbose(),
            written: false,
        }
    }

    /// Writes `text` over what the line said before.
    pub(crate) fn show(&mut self, text: impl Display) {
        if self.shown {
            self.written = true;
            out::status(text);
        }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        if self.written {
            out::status("");
        }
    }
}
