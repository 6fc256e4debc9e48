//! Says on a terminal how much was carried: in a line that is written over each second, and in one that stays.

use std::{
    convert::Infallible,
    future::pending,
    io::{IsTerminal as _, stdin, stdout},
    time::{Duration, Instant},
};

use super::carry::Carried;
use crate::{
    cli::{
        out::say,
        status_line::{each_second, is_watched},
    },
    common::text::bytes,
};

/// Measures one stream.
#[derive(Debug)]
pub(crate) struct Meter {
    start: Instant,
    is_shown: bool,
}

impl Meter {
    /// Begins to measure. It is shown if somebody looks, and neither types the data nor looks at it. `reads` and `writes`
    /// say whether standard input and output are among that.
    pub(crate) fn new(reads: bool, writes: bool) -> Self {
        let seen = reads && stdin().is_terminal() || writes && stdout().is_terminal();
        Self {
            start: Instant::now(),
            is_shown: is_watched() && !seen,
        }
    }

    /// Shows each second what was carried, for as long as it is polled.
    pub(crate) async fn show(&self, carried: &Carried) -> Infallible {
        if !self.is_shown {
            return pending().await;
        }
        let mut last = (self.start, 0);
        each_second(|| {
            let (sent, received) = carried.totals();
            let (now, all) = (Instant::now(), sent + received);
            let rate = rate(all - last.1, now - last.0);
            last = (now, all);
            let seconds = self.start.elapsed().as_secs();
            format!("{}, {rate}, {seconds} s", amounts(sent, received))
        })
        .await
    }

    /// Says in a line that stays what was carried in all.
    pub(crate) fn conclude(&self, carried: &Carried) {
        if self.is_shown {
            let ((sent, received), took) = (carried.totals(), self.start.elapsed());
            let (all, seconds) = (amounts(sent, received), took.as_secs_f64());
            say!(
                "{all} in {seconds:.1} s, {} on average",
                rate(sent + received, took)
            );
        }
    }
}

/// Writes what went each way.
fn amounts(sent: u64, received: u64) -> String {
    match (sent, received) {
        (sent, 0) => format!("{} sent", bytes(sent)),
        (0, received) => format!("{} received", bytes(received)),
        (sent, received) => format!("{} sent, {} received", bytes(sent), bytes(received)),
    }
}

fn rate(count: u64, time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    format!("{}/s", bytes(count.saturating_mul(1000) / millis))
}
