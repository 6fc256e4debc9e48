//! One line on a terminal that says how much was carried.

use std::{
    convert::Infallible,
    io::{IsTerminal as _, Write as _, stderr, stdin, stdout},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::carry::Carried;
use crate::common::text::bytes;

/// Whether somebody looks, and neither types the data nor looks at it.
pub fn is_wanted(reads_stdin: bool) -> bool {
    let typed = reads_stdin && stdin().is_terminal();
    stderr().is_terminal() && !stdout().is_terminal() && !typed
}

/// Shows each second what was carried, for ever, if `wanted`.
pub async fn show(carried: &Carried, wanted: bool) -> Infallible {
    if !wanted {
        return std::future::pending().await;
    }
    let start = Instant::now();
    let mut last = (start, 0);
    loop {
        sleep(Duration::from_secs(1)).await;
        let (sent, received) = carried.totals();
        let now = Instant::now();
        let rate = (sent + received - last.1) as f64 / (now - last.0).as_secs_f64();
        last = (now, sent + received);
        // An error means that nobody looks.
        let _ = write!(
            stderr(),
            "\r\x1b[K{} sent, {} received, {}/s, {} s",
            bytes(sent),
            bytes(received),
            bytes(rate as u64),
            start.elapsed().as_secs(),
        );
    }
}

/// Takes the line away.
pub fn clear(wanted: bool) {
    if wanted {
        let _ = write!(stderr(), "\r\x1b[K");
    }
}
