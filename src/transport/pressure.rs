//! Keeps the process inside its memory limit, whatever peers do.
//!
//! Resident memory is looked at every [`CALM`], and every [`TENSE`] once it is high. In this order, as it rises:
//! windows stop growing (grown ones are paid for from [`memory`](super::memory)), new streams are refused, and the
//! pairs whose readers have stood still longest are ended. A pair that moves holds next to nothing and is never
//! ended; ending the stalled ones frees what is held.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::router::Router;
use crate::splice::{control::Control, ending::Cause};

/// Time between looks.
const CALM: Duration = Duration::from_millis(100);

/// Time between looks while memory is high: at 1 GB/s, 10 ms are 10 MB.
const TENSE: Duration = Duration::from_millis(5);

/// Shares of the limit, in percent: no more growth; no new streams; stalled pairs end, down to the share before.
const NO_GROWTH: u64 = 60;
const NO_STREAMS: u64 = 80;
const EVICT: u64 = 88;

/// A reader that took something in this time has not stalled.
const STALLED: Duration = Duration::from_millis(500);

/// After pairs were ended, their memory has this long to come back before more are.
const RECOVERY: Duration = Duration::from_millis(100);

/// How high memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    Normal,
    /// Windows do not grow.
    NoGrowth,
    /// And new streams are refused.
    NoStreams,
    /// And stalled pairs are ended.
    Evict,
}

impl Level {
    /// From resident bytes and the limit.
    pub fn of(resident: u64, limit: u64) -> Self {
        let share = |percent| limit / 100 * percent;
        match resident {
            bytes if bytes >= share(EVICT) => Self::Evict,
            bytes if bytes >= share(NO_STREAMS) => Self::NoStreams,
            bytes if bytes >= share(NO_GROWTH) => Self::NoGrowth,
            _ => Self::Normal,
        }
    }

    pub(super) fn from_u8(value: u8) -> Self {
        [Self::Normal, Self::NoGrowth, Self::NoStreams, Self::Evict][usize::from(value.min(3))]
    }
}

/// Watches for ever. `limit` in bytes.
pub async fn watch(router: Arc<Router>, limit: u64) {
    let mut evicted = None;
    loop {
        let Some(resident) = resident() else {
            tracing::warn!("cannot read the memory in use; memory.limit has no effect");
            return;
        };
        let level = Level::of(resident, limit);
        if router.set_pressure(level) {
            tracing::info!(resident, limit, level = ?level, "memory pressure changed");
        }
        let now = Instant::now();
        let recovering = evicted.is_some_and(|at| now.duration_since(at) < RECOVERY);
        if level == Level::Evict && !recovering {
            let excess = resident - limit / 100 * NO_STREAMS;
            let ended = evict(&router, excess);
            if ended > 0 {
                evicted = Some(now);
                tracing::warn!(
                    resident,
                    limit,
                    pairs = ended,
                    "out of memory: ended the pairs that stalled longest"
                );
            }
        }
        sleep(if level >= Level::NoStreams {
            TENSE
        } else {
            CALM
        })
        .await;
    }
}

/// Shows once a second what is held and granted.
pub async fn survey(router: Arc<Router>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let (mut held, mut stalled) = (0, 0);
        router.for_each_stream(|control| {
            held += control.held();
            stalled += i64::from(control.stalled_for(STALLED).is_some());
        });
        let metrics = &router.metrics;
        metrics.held_bytes.set(held.cast_signed());
        metrics.streams_stalled.set(stalled);
        let granted = router.memory.granted();
        metrics.windows_granted_bytes.set(granted.cast_signed());
        metrics.memory_pressure.set(router.pressure() as i64);
    }
}

/// Ends stalled pairs, longest first, until they held `bytes`. Returns how many.
fn evict(router: &Router, mut bytes: u64) -> usize {
    let mut stalled: Vec<(Duration, Arc<Control>)> = Vec::new();
    router.for_each_stream(|control| {
        if let Some(long) = control.stalled_for(STALLED) {
            stalled.push((long, control.clone()));
        }
    });
    stalled.sort_by(|(one, _), (other, _)| other.cmp(one));
    let mut ended = 0;
    for (_, control) in stalled {
        let held = control.held();
        control.end(Cause::Memory);
        ended += 1;
        bytes = bytes.saturating_sub(held.max(1));
        if bytes == 0 {
            break;
        }
    }
    ended
}

/// Bytes of this process in memory.
fn resident() -> Option<u64> {
    const PAGE: u64 = 4096;
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE)
}

/// The limit that the control group sets, if any: version 2, then 1.
pub fn cgroup_limit() -> Option<u64> {
    let files = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    files.iter().find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        let limit: u64 = text.trim().parse().ok()?;
        // Version 1 says "no limit" with a huge number.
        (limit < 1 << 60).then_some(limit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_rise_with_memory() {
        for (resident, level) in [
            (0, Level::Normal),
            (599, Level::Normal),
            (600, Level::NoGrowth),
            (800, Level::NoStreams),
            (880, Level::Evict),
            (5_000, Level::Evict),
        ] {
            assert_eq!(Level::of(resident, 1_000), level, "{resident}");
            assert_eq!(Level::from_u8(level as u8), level);
        }
    }

    #[test]
    fn resident_memory_can_be_read() {
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
