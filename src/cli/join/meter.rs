//! One line on a terminal that says how much was carried.

use std::{
    convert::Infallible,
    future::pending,
    io::{IsTerminal as _, stdin, stdout},
    time::Instant,
};

use super::carry::Carried;
use crate::{cli::status_line::each_second, common::text::bytes};

/// Shows each second what was carried, for as long as it is polled: if somebody looks, and neither types the data nor
/// looks at it.
pub(crate) async fn show(carried: &Carried, reads_stdin: bool) -> Infallible {
    let typed = reads_stdin && stdin().is_terminal();
    if stdout().is_terminal() || typed {
        return pending().await;
    }
    let start = Instant::now();
    let mut last = (start, 0);
    each_second(|| {
        let (sent, received) = carried.totals();
        let now = Instant::now();
        let passed = (now - last.0).as_millis().max(1) as u64;
        let rate = (sent + received - last.1) * 1000 / passed;
        last = (now, sent + received);
        format!(
            "{} sent, {} received, {}/s, {} s",
            bytes(sent),
            bytes(received),
            bytes(rate),
            start.elapsed().as_secs(),
        )
    })
    .await
}
