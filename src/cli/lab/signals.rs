//! What ends a lab: SIGTERM, SIGINT, and SIGHUP, which a terminal sends when it is closed.

use std::{fs, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::stop::Stop;

/// Listens for them. Without it they end the process at once.
pub(super) struct Signals {
    stop: Stop,
    /// `None` if whoever has started this wants it to go on without its terminal.
    hangup: Option<Signal>,
}

impl Signals {
    /// Begins to listen.
    pub(super) fn new() -> io::Result<Self> {
        let hangup = if is_hangup_ignored() {
            None
        } else {
            Some(signal(SignalKind::hangup())?)
        };
        Ok(Self {
            stop: Stop::new()?,
            hangup,
        })
    }

    /// Waits for the next one, and tells its name.
    pub(super) async fn wait(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            name = self.stop.wait() => name,
            _ = hangup => "SIGHUP: the terminal was closed",
        }
    }
}

/// Tells whether this process was started to ignore SIGHUP, as `nohup` does. Where the system does not say so, SIGHUP is left
/// to end the process as usual.
fn is_hangup_ignored() -> bool {
    fs::read_to_string("/proc/self/status").map_or(true, |status| ignores_hangup(&status))
}

fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signal 1 is the lowest bit.
    mask.is_none_or(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_seen() {
        assert!(ignores_hangup("Name:\tx\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hangup(
            "SigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n"
        ));
        assert!(ignores_hangup(""));
    }
}
