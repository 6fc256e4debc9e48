//! Finds out whether standard error goes to systemd's journal, which takes a line's priority from its beginning.

use std::{env, ffi::OsStr, os::fd::AsFd};

use rustix::fs::fstat;
use tracing::Level;

/// Names the journal's stream as `device:inode` (systemd.exec(5)). Children inherit it even if their output goes
/// elsewhere, so it is compared.
const ENV: &str = "JOURNAL_STREAM";

/// Tells whether `file` is the journal's stream.
pub(super) fn is_behind(file: impl AsFd) -> bool {
    env::var_os(ENV).is_some_and(|named| is_named(file, &named))
}

fn is_named(file: impl AsFd, named: &OsStr) -> bool {
    fstat(file).is_ok_and(|stat| *named == *format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Gives what a line of this level begins with in the journal (sd-daemon(3)).
pub(super) fn prefix(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_the_named_stream_is_the_journal() {
        let (journal, other) = UnixStream::pair().unwrap();
        let stat = fstat(&journal).unwrap();
        let named = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_named(&journal, OsStr::new(&named)));
        assert!(!is_named(&other, OsStr::new(&named)));
        for wrong in ["", ":", "1:2:3", "x"] {
            assert!(!is_named(&journal, OsStr::new(wrong)), "{wrong:?}");
        }
    }
}
