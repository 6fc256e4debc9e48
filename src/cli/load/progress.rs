//! One line on a terminal while a run is on.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use tokio::time::sleep;

use super::run::Run;

/// Shows what is going on each second; for ever. Nothing without a terminal.
pub async fn show(run: &Run) -> std::convert::Infallible {
    if !stderr().is_terminal() {
        return std::future::pending().await;
    }
    let mut last = run.moment();
    loop {
        sleep(Duration::from_secs(1)).await;
        let now = run.moment();
        let seconds = (now.at - last.at).as_secs_f64();
        let messages = (now.messages - last.messages) as f64 / seconds;
        let megabytes = (now.bytes - last.bytes) as f64 / seconds / 1e6;
        let phase = match (run.stop.is_cancelled(), run.measuring()) {
            (true, _) => "ending",
            (false, true) => "measuring",
            (false, false) => "warming up",
        };
        // An error means that nobody looks.
        let _ = write!(
            stderr(),
            "\r\x1b[K{phase}: {} pairs made, {messages:.0} messages/s, {megabytes:.1} MB/s",
            run.pairs()
        );
        last = now;
    }
}

/// Takes the line away.
pub fn clear() {
    if stderr().is_terminal() {
        let _ = write!(stderr(), "\r\x1b[K");
    }
}
