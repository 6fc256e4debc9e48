//! Ends what stands still when memory runs out, and shows how high memory is.
//!
//! As [`memory`](super::memory) fills, in this order: windows stop growing, new streams are refused, connections whose
//! streams hold much are not read, and the pairs whose readers have stood still longest are ended. A pair that moves
//! holds next to nothing, so ending stalled ones is enough.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    memory::{Level, Memory},
    router::Router,
    spares::Need,
};
use crate::splice::{control::Control, ending::Cause};

/// Time between looks. Nothing depends on it but how long others wait when memory is full.
const LOOK: Duration = Duration::from_millis(10);

/// Without a limit: there may be one later.
const LOOK_FOR_A_LIMIT: Duration = Duration::from_millis(500);

/// A look takes about 50 ns for each stream; it shall not take more than a fortieth of a processor.
const PAUSE_PER_STREAM: Duration = Duration::from_micros(2);

/// A reader that took something in this time has not stalled.
pub(super) const STALLED: Duration = Duration::from_millis(500);

/// And as it counts when all have to wait: longer than a round trip on a short path.
const STALLED_IN_NEED: Duration = Duration::from_millis(100);

/// A reader that has stood still for so long makes room for newcomers.
const STALLED_LONG: Duration = Duration::from_secs(10);

/// Watches until the router is gone. To be called before it serves.
///
/// On a thread of its own: when it matters most, the runtime's threads are busy, and a task would be late by 100 ms.
pub fn watch(router: &Arc<Router>) -> std::io::Result<()> {
    match resident() {
        Some(base) => router.memory.set_base(base),
        None => tracing::warn!(
            "cannot read the memory in use; memory.limit does not include what the program itself needs"
        ),
    }
    let router = Arc::downgrade(router);
    let thread = std::thread::Builder::new().name("memory".to_owned());
    thread.spawn(move || look_on(&router)).map(drop)
}

fn look_on(router: &Weak<Router>) {
    let mut before = Level::Normal;
    while let Some(router) = router.upgrade() {
        let level = router.memory.level();
        if level != before {
            let used = router.memory.used();
            tracing::info!(used, pressure = ?level, "memory pressure changed");
            if level >= Level::Evict {
                router.memory.wake_all();
            }
            before = level;
        }
        let limited = router.memory.limit().is_some();
        let mut pause = if limited { LOOK } else { LOOK_FOR_A_LIMIT };
        let stalled = match level {
            Level::Normal | Level::NoGrowth => None,
            Level::NoStreams => Some(STALLED_LONG),
            Level::Evict => Some(STALLED),
            Level::Full => Some(STALLED_IN_NEED),
        };
        if let Some(stalled) = stalled {
            let ended = evict(&router, stalled);
            if ended > 0 {
                tracing::warn!(
                    used = router.memory.used(),
                    pairs = ended,
                    "out of memory: ended the pairs that stalled longest"
                );
            }
            pause = pause.max(PAUSE_PER_STREAM * router.streams() as u32);
        }
        if level >= Level::Evict {
            take_back(&router);
        }
        router.memory.wake_paused();
        drop(router);
        std::thread::sleep(pause);
    }
}

/// Connections without a stream that are taken back in one look. Each frees some 30 KiB.
const SPARES: usize = 64;

fn take_back(router: &Router) {
    let told = (0..SPARES).filter(|_| router.spares.take_back(Need::Memory));
    if told.count() > 0 {
        tracing::debug!("memory is short: connections without a stream are taken back");
    }
}

/// Shows once a second what is held and granted.
pub async fn survey(router: Arc<Router>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let mut stalled = 0;
        router.for_each_stream(|control| stalled += i64::from(is_stalled(control)));
        let metrics = &router.metrics;
        let memory = &router.memory;
        metrics.held_bytes.set(memory.lanes().bytes().cast_signed());
        metrics.streams_stalled.set(stalled);
        let granted = router.windows.granted();
        metrics.windows_granted_bytes.set(granted.cast_signed());
        metrics.memory_pressure.set(memory.level() as i64);
        metrics.memory_used.set(memory.used().cast_signed());
        let limit = memory.limit().unwrap_or_default();
        metrics.memory_limit.set(limit.cast_signed());
    }
}

/// Whether the peer has left bytes waiting for long. Whoever waits for a partner reads nothing because there is nothing.
fn is_stalled(control: &Control) -> bool {
    control.is_paired() && control.stalled_for(STALLED).is_some()
}

/// Ends pairs that have stalled for `least`, longest first, until they held what is too much. Returns how many.
fn evict(router: &Router, least: Duration) -> usize {
    let mut stalled: Vec<(Duration, Arc<Control>)> = Vec::new();
    let mut excess = router.memory.excess();
    router.for_each_stream(|control| {
        // What is being ended will be free soon.
        if control.is_ending() {
            excess = excess.saturating_sub(Memory::needed_for(control.held()));
        } else if let Some(long) = control.stalled_for(least) {
            stalled.push((long, control.clone()));
        }
    });
    stalled.sort_by(|(one, _), (other, _)| other.cmp(one));
    let mut ended = 0;
    for (_, control) in stalled {
        if excess == 0 {
            break;
        }
        excess = excess.saturating_sub(Memory::needed_for(control.held()));
        control.end(Cause::Memory);
        ended += 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_alone_is_not_stalled() {
        let control = Control::default();
        // Sent early, for a partner that has not come.
        control.report(1000, true);
        tokio::time::advance(2 * STALLED).await;
        assert!(!is_stalled(&control));
        control.set_paired();
        assert!(is_stalled(&control));
        control.report(1000, true);
        assert!(!is_stalled(&control));
    }

    #[test]
    fn resident_memory_can_be_read() {
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
