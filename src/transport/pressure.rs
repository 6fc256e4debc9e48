//! Aims to keep the process inside its memory limit. A flood over thousands of pairs at once can still pass it.
//!
//! What is in use is reckoned, not asked of the system: an allocator keeps what was freed for the next need, so
//! resident memory stays high after a flood, and would have everything refused for ever. The reckoning is what the
//! process needed at its start, a share for each connection, and what waits for peers that do not read.
//!
//! As it rises, in this order: windows stop growing (grown ones are paid for from [`memory`](super::memory)), new
//! streams are refused, and the pairs whose readers have stood still longest are ended. A pair that moves holds
//! next to nothing, so ending stalled ones is enough.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    memory::{Level, NO_STREAMS},
    router::Router,
};
use crate::splice::{control::Control, ending::Cause};

/// Time between looks while little is in use, and the least time otherwise: at 1 GB/s, 5 ms are 5 MB.
const CALM: Duration = Duration::from_millis(50);
const TENSE: Duration = Duration::from_millis(5);

/// A look takes about 50 ns for each stream; it shall not take more than a fortieth of a processor.
const PAUSE_PER_STREAM: Duration = Duration::from_micros(2);

/// What an open connection with a stream needs, bytes: measured with 1,000 idle pairs (`load --workload idle`).
const CONNECTION: u64 = if cfg!(debug_assertions) { 64 } else { 44 } * 1024;

/// What a byte that waits needs: chunks keep the blocks they were read into, and HTTP/2 keeps room for small frames.
/// Measured with stalled pairs: 1.4 for messages of 32 KiB, 2.0 for 20 bytes (`load --workload stall`).
const HELD: u64 = 2;

/// A reader that took something in this time has not stalled, as metrics have it.
pub(super) const STALLED: Duration = Duration::from_millis(500);

/// And as it counts when memory runs out: a flood fills all windows in less than half a second.
const STALLED_IN_NEED: Duration = Duration::from_millis(50);

/// Watches until the router is gone. `limit` in bytes.
///
/// On a thread of its own: when it matters most, the runtime's threads are busy, and a task would be late by 100 ms.
pub fn watch(router: &Arc<Router>, limit: u64) -> std::io::Result<()> {
    let router = Arc::downgrade(router);
    let thread = std::thread::Builder::new().name("memory".to_owned());
    thread.spawn(move || look_on(&router, limit)).map(drop)
}

fn look_on(router: &Weak<Router>, limit: u64) {
    let Some(base) = resident() else {
        tracing::warn!("cannot read the memory in use; memory.limit has no effect");
        return;
    };
    while let Some(router) = router.upgrade() {
        let connections = router.metrics.connections_open.get().max(0).cast_unsigned();
        let (mut used, mut streams) = (base + connections * CONNECTION, 0);
        router.for_each_stream(|control| {
            streams += 1;
            // Those that have been told to end are as good as gone.
            if !control.is_ending() {
                used += control.held() * HELD;
            }
        });
        let level = Level::of(used, limit);
        if router.set_pressure(level) {
            tracing::info!(used, limit, pressure = ?level, "memory pressure changed");
        }
        if level == Level::Evict {
            let ended = evict(&router, used - limit / 100 * NO_STREAMS);
            if ended > 0 {
                tracing::warn!(
                    used,
                    limit,
                    pairs = ended,
                    "out of memory: ended the pairs that stalled longest"
                );
            }
        }
        let calm = used < limit / 3;
        drop(router);
        std::thread::sleep(if calm { CALM } else { TENSE }.max(PAUSE_PER_STREAM * streams));
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
        if !control.is_ending()
            && let Some(long) = control.stalled_for(STALLED_IN_NEED)
        {
            stalled.push((long, control.clone()));
        }
    });
    stalled.sort_by(|(one, _), (other, _)| other.cmp(one));
    let mut ended = 0;
    for (_, control) in stalled {
        let held = control.held();
        control.end(Cause::Memory);
        ended += 1;
        bytes = bytes.saturating_sub(held.max(1) * HELD);
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
    fn resident_memory_can_be_read() {
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
