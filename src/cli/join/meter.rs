//! One line on a terminal that says how much was carried.

use std::{
    convert::Infallible,
    future::pending,
    io::{IsTerminal as _, stdin, stdout},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::carry::Carried;
use crate::cli::status_line::StatusLine;

/// Shows each second what was carried, for as long as it is polled: if somebody looks, and neither types the data nor
/// looks at it.
pub async fn show(carried: &Carried, reads_stdin: bool) -> Infallible {
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
        let rate = (sent + received - last.1) as f64 / (now - last.0).as_secs_f64();
        last = (now, sent + received);
        line.show(format_args!(
            "{} sent, {} received, {}/s, {} s",
            size(sent as f64),
            size(received as f64),
            size(rate),
            start.elapsed().as_secs(),
        ));
    }
}

/// Bytes as people read them.
pub fn size(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut value = bytes;
    let mut unit = "B";
    for next in UNITS {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if unit == "B" {
        format!("{value:.0} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_three_digits_or_so() {
        let sizes = [0.0, 999.0, 1000.0, 1_234_567.0, 5e15].map(size);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "1.2 MB", "5000.0 TB"]);
    }
}
