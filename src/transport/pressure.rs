//! Ends what stands still when memory runs out, and shows how high memory is.
//!
//! As [`memory`](crate::transport::memory::level) fills, in this order: windows stop growing; streams that stand still are ended, those
//! first that keep most and have stood longest; new streams are refused, and connections whose streams hold much are not
//! read. A pair that moves holds next to nothing, so ending what stands is enough.

mod eviction;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use jumpstarter_router_system::heap;
use tokio::time::Instant;

use self::eviction::evict;
use crate::transport::{
    memory::{
        level::Level,
        resident::{Gaps, Resident},
    },
    shared::Shared,
    streams::STALLED,
};
use crate::{observe::metrics::ConnectionEnd, splice::control::Control};

/// Time between looks. Nothing depends on it but how long others wait when memory is full.
const LOOK: Duration = Duration::from_millis(10);

/// Without a limit: there may be one later.
const LOOK_FOR_A_LIMIT: Duration = Duration::from_millis(500);

/// A look takes about 50 ns for each stream; it shall not take more than a fortieth of a processor.
const PAUSE_PER_STREAM: Duration = Duration::from_micros(2);

/// As [`STALLED`] when all have to wait: longer than a round trip on a short path.
const STALLED_IN_NEED: Duration = Duration::from_millis(100);

/// What streams carry is noted so often, and half of it forgotten. A bulk pair counts as moving well for some 9 s after it
/// stopped: machines with 9,000 besiegers have held up such a pair for 4 s.
const NOTE: Duration = Duration::from_millis(1500);

/// Memory that was freed is asked back from the allocator so seldom, and only if more than this part of what is in use is
/// not allocated: it takes 3 to 280 ms in which no thread can allocate.
const TRIM: (Duration, u64) = (Duration::from_secs(1), 4);

/// Watches until the router is gone. To be called before it serves.
///
/// `resident` is asked what the system holds. On a thread of its own: when it matters most, the runtime's threads are
/// busy, and a task would be late by 100 ms.
pub(crate) fn watch(router: &Arc<Shared>, mut resident: Resident) -> std::io::Result<()> {
    if resident.held().is_none() {
        tracing::warn!(
            "cannot read the memory in use; memory.limit does not include what the program itself needs"
        );
    }
    let mut watcher = Watcher {
        resident,
        gaps: Gaps::default(),
        trimmed: Instant::now(),
        noted: Instant::now(),
        level: Level::Normal,
    };
    watcher.measure(router);
    let router = Arc::downgrade(router);
    let thread = std::thread::Builder::new().name("memory".to_owned());
    thread.spawn(move || watcher.look_on(&router)).map(drop)
}

struct Watcher {
    resident: Resident,
    gaps: Gaps,
    trimmed: Instant,
    noted: Instant,
    level: Level,
}

impl Watcher {
    fn look_on(mut self, router: &Weak<Shared>) {
        while let Some(router) = router.upgrade() {
            self.measure(&router);
            let pause = self.look(&router);
            drop(router);
            std::thread::sleep(pause);
        }
    }

    /// Asks what there is beyond the heap.
    fn measure(&mut self, router: &Shared) {
        let memory = &router.memory;
        if let Some(held) = self.resident.held() {
            let gaps = self.gaps.look(held.process, memory.heap());
            memory.set_beyond(gaps + held.others);
        }
    }

    /// Frees what has to be freed. Returns for how long that will do.
    fn look(&mut self, router: &Arc<Shared>) -> Duration {
        let memory = &router.memory;
        let level = memory.level();
        if level != self.level {
            tracing::info!(used = memory.used(), pressure = ?level, "memory pressure changed");
            self.level = level;
            if level >= Level::Evict {
                // Those without streams close.
                memory.wake_all();
            }
        }
        let least = match level {
            Level::Normal | Level::NoGrowth => None,
            Level::Evict | Level::NoStreams => Some(STALLED),
            Level::Full => Some(STALLED_IN_NEED),
        };
        if let Some(least) = least {
            router.limits.calls.give_way();
            let (pause, part) = TRIM;
            let beyond = memory.used().saturating_sub(memory.heap());
            if self.trimmed.elapsed() >= pause && beyond > memory.used() / part {
                // What is resident then is in use, or lies in gaps.
                heap::trim();
                self.trimmed = Instant::now();
                self.measure(router);
            }
            let ended = evict(memory, &router.streams, least);
            if ended > 0 {
                tracing::warn!(
                    used = memory.used(),
                    streams = ended,
                    "out of memory: ended streams that stood still"
                );
            }
            take_back(router);
        }
        memory.wake_paused();
        if self.noted.elapsed() >= NOTE {
            self.noted = Instant::now();
            router.streams.for_each(|entry| entry.note());
        }
        let limited = memory.limit().is_some();
        let pause = if limited { LOOK } else { LOOK_FOR_A_LIMIT };
        let streams = u32::try_from(router.streams.count()).unwrap_or(u32::MAX);
        match least {
            Some(_) => pause.max(PAUSE_PER_STREAM * streams),
            None => pause,
        }
    }
}

/// Connections without a stream that are taken back in one look. Each frees some 30 KiB.
const SPARES: usize = 64;

fn take_back(router: &Shared) {
    let told = (0..SPARES).filter(|_| router.limits.spares.take_back(ConnectionEnd::Memory));
    if told.count() > 0 {
        tracing::debug!("memory is short: connections without a stream are taken back");
    }
}

/// Shows once a second what is held and granted.
pub(crate) async fn survey(router: Arc<Shared>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let mut stalled = 0;
        router.streams.for_each(|entry| {
            // The peer of a pair that lies apart is counted at its own router.
            stalled += i64::from(entry.router().is_none() && is_stalled(&entry.control));
        });
        let metrics = &router.metrics;
        let memory = &router.memory;
        metrics.held_bytes.set(memory.lanes().bytes().cast_signed());
        metrics.streams_stalled.set(stalled);
        let granted = router.limits.windows.granted();
        metrics.windows_granted_bytes.set(granted.cast_signed());
        metrics.memory_pressure.set(memory.level() as i64);
        metrics.memory_used.set(memory.used().cast_signed());
        let limit = memory.limit().unwrap_or_default();
        metrics.memory_limit.set(limit.cast_signed());
    }
}

/// Whether the peer has left bytes waiting for long, or a message unfinished. Whoever waits for a partner reads nothing
/// because there is nothing.
fn is_stalled(control: &Control) -> bool {
    control.is_paired()
        && (control.stalled_for(STALLED).is_some() || control.unfinished_for(STALLED).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::splice::side::Totals;

    #[tokio::test(start_paused = true)]
    async fn who_waits_alone_is_not_stalled() {
        let control = Control::default();
        // Sent early, for a partner that has not come.
        control.report(0, 1000);
        tokio::time::advance(2 * STALLED).await;
        assert!(!is_stalled(&control));
        control.set_paired();
        control.report(1000, 0);
        assert!(!is_stalled(&control), "its partner has just come");
        tokio::time::advance(2 * STALLED).await;
        assert!(is_stalled(&control));
        control.count(&Totals {
            bytes_out: 1000,
            ..Totals::default()
        });
        control.report(1000, 0);
        assert!(!is_stalled(&control));
    }
}
