//! One line on a terminal that says how much was carried.

use std::{
    convert::Infallible,
    future::pending,
    io::{IsTerminal as _, stdin, stdout},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::carry::Carried;
use crate::{cli::status_line::StatusLine, common::text::bytes};

/// Shows each second what was carried, for as long as it is polled: if somebody looks, and neither types the data nor
/// looks at it.
pub(crate) async fn show(carried: &Carried, reads_stdin: bool) -> Infallible {
    let mut line = StatusLine::new();
    let typed = reads_stdin && stdin().is_terminal();
    if !line.is_shown() || stdout().is_terminal() || typed {
        return pending().await;
    }
    let start = Instant::now();
    let mut last = (start, 0);
    loop {
        sleep(Duration::from_secs(1)).await;
        let (sent, received) = carried.totals();
        let now = Instant::now();
        let passed = (now - last.0).as_millis().max(1) as u64;
        let rate = (sent + received - last.1) * 1000 / passed;
        last = (now, sent + received);
        line.show(format_args!(
            "{} sent, {} received, {}/s, {} s",
            bytes(sent),
            bytes(received),
            bytes(rate),
            start.elapsed().as_secs(),
        ));
    }
}
