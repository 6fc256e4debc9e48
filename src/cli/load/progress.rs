//! One line on a terminal while a run is on.

use std::convert::Infallible;

use super::run::Run;
use crate::cli::status_line::each_second;

/// Shows each second what is going on, for as long as it is polled.
pub(crate) async fn show(run: &Run) -> Infallible {
    let mut last = run.moment();
    each_second(|| {
        let now = run.moment();
        let seconds = (now.at - last.at).as_secs_f64();
        let messages = (now.messages - last.messages) as f64 / seconds;
        let megabytes = (now.bytes - last.bytes) as f64 / seconds / 1e6;
        let phase = match (run.stop.is_cancelled(), run.measuring()) {
            (true, _) => "ending",
            (false, true) => "measuring",
            (false, false) => "warming up",
        };
        last = now;
        format!(
            "{phase}: {} pairs made, {messages:.0} messages/s, {megabytes:.1} MB/s",
            run.pairs()
        )
    })
    .await
}
