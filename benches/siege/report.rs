//! What a siege has shown, for people and as JSON.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    Options,
    client::Counts,
    group::Seen,
    newcomers::{Newcomer, Newcomers},
};

/// Of the newcomers that come late so many must get in, and of the limit so much may be used; percent.
const ENTER: u64 = 90;
const FILL: u64 = 90;

/// Newcomers that came in one part of the siege.
#[derive(Debug, Serialize)]
pub struct Entered {
    pub came: u64,
    pub got_in: u64,
    pub at_the_first_try: u64,
    pub longest_ms: u64,
}

/// All figures.
#[derive(Debug, Serialize)]
pub struct Figures {
    pub attack: String,
    pub limit: u64,
    pub peak: u64,
    pub most_sockets: u64,
    pub most_resident: u64,
    pub most_used: u64,
    pub most_pressure: u64,
    pub most_windows: u64,
    pub last_pressure: u64,
    pub killed: u64,
    pub metrics_unanswered: u64,
    pub cpu_seconds: f64,
    pub before: Entered,
    pub early: Entered,
    pub late: Entered,
    pub refusals: BTreeMap<String, u64>,
    pub connections_made: u64,
    pub connections_refused: u64,
    pub calls_made: u64,
    pub calls_ended: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
}

impl Entered {
    fn of<'a>(newcomers: impl Iterator<Item = &'a Newcomer>) -> Self {
        let mut entered = Self {
            came: 0,
            got_in: 0,
            at_the_first_try: 0,
            longest_ms: 0,
        };
        for newcomer in newcomers {
            entered.came += 1;
            let Some(took) = newcomer.took else { continue };
            entered.got_in += 1;
            entered.at_the_first_try += u64::from(newcomer.tries == 1);
            entered.longest_ms = entered.longest_ms.max(took.as_millis() as u64);
        }
        entered
    }
}

impl Figures {
    /// The siege began at `begin`.
    pub fn new(
        options: &Options,
        counts: &Counts,
        newcomers: &Newcomers,
        seen: &Seen,
        begin: Instant,
    ) -> Self {
        let part = |from: Option<Duration>, to: Option<Duration>| {
            let from = from.map(|from| begin + from);
            let to = to.map(|to| begin + to);
            Entered::of(newcomers.all.iter().filter(|newcomer| {
                from.is_none_or(|from| newcomer.came >= from)
                    && to.is_none_or(|to| newcomer.came < to)
            }))
        };
        let most = |of: fn(&super::group::Sample) -> u64| {
            seen.samples.iter().map(of).max().unwrap_or_default()
        };
        let names: Vec<String> = options
            .attacks
            .iter()
            .map(|attack| format!("{attack:?}"))
            .collect();
        let mix = options.mix.then(|| "mix".to_owned());
        Self {
            attack: mix.into_iter().chain(names).collect::<Vec<_>>().join(" "),
            limit: seen.limit,
            peak: seen.peak,
            most_sockets: most(|sample| sample.sockets),
            most_resident: most(|sample| sample.resident),
            most_used: most(|sample| sample.used),
            most_pressure: most(|sample| sample.pressure),
            most_windows: most(|sample| sample.windows),
            last_pressure: seen.samples.last().map_or(0, |sample| sample.pressure),
            killed: seen.killed,
            metrics_unanswered: seen.unanswered,
            cpu_seconds: seen.cpu,
            before: part(None, Some(Duration::ZERO)),
            early: part(Some(Duration::ZERO), Some(options.settle)),
            late: part(Some(options.settle), None),
            refusals: newcomers.failures.clone(),
            connections_made: counts.connected.load(Relaxed),
            connections_refused: counts.refused.load(Relaxed),
            calls_made: counts.called.load(Relaxed),
            calls_ended: counts.ended.load(Relaxed),
            bytes_sent: counts.sent.load(Relaxed),
            bytes_received: counts.received.load(Relaxed),
        }
    }

    /// Whether the router has held.
    pub fn held(&self) -> bool {
        let within = self.limit == 0 || self.peak * 100 <= self.limit * FILL;
        let entered = self.late.got_in * 100 >= self.late.came * ENTER;
        self.killed == 0 && within && entered
    }
}

/// Every look, one a line.
pub fn csv(seen: &Seen) -> String {
    let mut text = "ms,charged,sockets,resident,used,pressure,windows\n".to_owned();
    for sample in &seen.samples {
        // A string takes everything.
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{}",
            sample.at.as_millis(),
            sample.charged,
            sample.sockets,
            sample.resident,
            sample.used,
            sample.pressure,
            sample.windows
        );
    }
    text
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

impl fmt::Display for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{} ({} at the first try, longest {} ms)",
            self.got_in, self.came, self.at_the_first_try, self.longest_ms
        )
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = (self.peak * 100).checked_div(self.limit).unwrap_or(0);
        writeln!(
            f,
            "siege {}: {} connections made, {} refused; {} calls made, {} ended; {} MiB sent, {} MiB received",
            self.attack,
            self.connections_made,
            self.connections_refused,
            self.calls_made,
            self.calls_ended,
            mib(self.bytes_sent),
            mib(self.bytes_received),
        )?;
        writeln!(
            f,
            "memory: peak {} MiB of {} ({share} %), of it sockets up to {}; resident up to {}, reckoned up to {}, pressure up to \
             {}, in the end {}; windows grown by up to {}; metrics unanswered {}",
            mib(self.peak),
            mib(self.limit),
            mib(self.most_sockets),
            mib(self.most_resident),
            mib(self.most_used),
            self.most_pressure,
            self.last_pressure,
            mib(self.most_windows),
            self.metrics_unanswered,
        )?;
        writeln!(
            f,
            "newcomers: before {}; at first {}; then {}",
            self.before, self.early, self.late
        )?;
        for (why, times) in &self.refusals {
            writeln!(f, "  {times:>5} x {why}")?;
        }
        writeln!(
            f,
            "killed {}, router's CPU {:.1} s: {}",
            self.killed,
            self.cpu_seconds,
            if self.held() { "held" } else { "FELL" }
        )
    }
}
