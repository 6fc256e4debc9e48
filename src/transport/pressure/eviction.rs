//! Says which streams end for want of memory.
//!
//! A stream that stands still keeps what waits for its peer, or what its peer sent of a message; many streams cost memory
//! even if nothing waits in them. Who keeps most, has stood longest and carried least goes first.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::splice::{control::Control, ending::Cause};
use crate::transport::{
    memory::level::Memory,
    streams::{StreamEntry, Streams},
};

/// A pair that moved nothing for so long makes room for newcomers, though nothing waits in it.
const QUIET: Duration = Duration::from_secs(10);

/// So many streams with one token or on one connection are a crowd: stock peers have one of each.
const CROWD: usize = 16;

/// Who has [lately](StreamEntry::lately) carried so many times what it keeps moves well.
const MOVES_WELL: u64 = 16;

/// What stands still is what fills the memory if it keeps so large a part of what is in use.
const PART: u64 = 16;

/// Ends what has stood still for `least` until it kept what is too much. Returns how many.
pub(super) fn evict(memory: &Memory, streams: &Streams, least: Duration) -> usize {
    let share = memory.heap() / (streams.count() as u64 + 1);
    // What is being ended will be free soon.
    let mut leaving = 0;
    let mut standing = Vec::new();
    streams.for_each(|entry| {
        let control = &entry.control;
        if entry.is_paused() {
            // The rest of its message is not read, which is not its fault.
            control.excuse_sender();
        }
        if control.is_ending() {
            leaving += control.kept().max(share);
        } else if let Some(stands) = Standing::of(control, entry.lately(), least) {
            standing.push((stands, control.clone()));
        }
    });
    let excess = memory.excess().saturating_sub(leaving);
    let kept = standing.iter().map(|(stands, _)| stands.kept).sum::<u64>();
    if kept < memory.used() / PART {
        // What waits for peers is not what fills the memory.
        let ended = end_quiet(streams, least, (excess / share.max(1)) as usize);
        if ended > 0 {
            return ended;
        }
        keep_who_moves(&mut standing);
    }
    let chosen = heaviest(standing, excess);
    for (stands, control) in &chosen {
        tracing::debug!(?stands, "out of memory: ends a stream");
        control.end(stands.cause);
    }
    chosen.len()
}

/// A stream that stands still, and what it costs.
#[derive(Debug)]
struct Standing {
    kept: u64,
    /// For how long; an hour is no worse than [`QUIET`]: it may be a few bytes for a computer that sleeps.
    long: Duration,
    /// How many times what it keeps it has carried lately.
    carried: u64,
    cause: Cause,
}

impl Standing {
    /// `None` if it has not stood still for `least`, or moves well, and is held up for a moment only.
    fn of(control: &Control, lately: u64, least: Duration) -> Option<Self> {
        let stalled = control.stalled_for(least);
        let unfinished = control.unfinished_for(least);
        let long = stalled.max(unfinished)?.min(QUIET);
        let kept = control.kept();
        let carried = lately / kept.max(1);
        let cause = if stalled >= unfinished {
            Cause::Memory
        } else {
            Cause::MemoryIdle
        };
        (carried < MOVES_WELL).then_some(Self {
            kept,
            long,
            carried,
            cause,
        })
    }

    /// How much it matters to end it.
    fn weight(&self) -> u64 {
        let long = self.long.as_millis().max(1) as u64;
        self.kept.saturating_mul(long) / (1 + self.carried)
    }
}

/// Leaves out who has carried lately what it keeps. A besieged machine is slow itself: a bulk pair that got on by a window a
/// second stood for longer than half a second between two, and was ended for 32 KiB of the 50 MB that idle pairs held.
fn keep_who_moves<T>(standing: &mut Vec<(Standing, T)>) {
    standing.retain(|(stands, _)| stands.carried == 0);
}

/// Those that matter most and together keep `excess`.
fn heaviest<T>(mut standing: Vec<(Standing, T)>, excess: u64) -> Vec<(Standing, T)> {
    standing.sort_unstable_by_key(|(stands, _)| std::cmp::Reverse(stands.weight()));
    let mut left = excess;
    standing
        .into_iter()
        .take_while(|(stands, _)| {
            let wanted = left > 0;
            left = left.saturating_sub(stands.kept);
            wanted
        })
        .collect()
}

/// Ends `count` of the streams that move nothing: of the largest crowds first, and among these the last to come. Streams
/// cost memory even if nothing waits in them, and thousands can be had with one token. Returns how many it ended.
fn end_quiet(streams: &Streams, least: Duration, count: usize) -> usize {
    if count == 0 {
        return 0;
    }
    let mut of_subject: HashMap<Arc<str>, usize> = HashMap::new();
    let mut of_connection: HashMap<usize, usize> = HashMap::new();
    let mut quiet: Vec<(Duration, Arc<StreamEntry>)> = Vec::new();
    streams.for_each(|entry| {
        *of_subject.entry(entry.subject.clone()).or_default() += 1;
        *of_connection.entry(entry.connection()).or_default() += 1;
        let long = entry.quiet_for();
        if long >= least && !entry.control.is_ending() {
            quiet.push((long, entry.clone()));
        }
    });
    let crowd =
        |entry: &StreamEntry| of_subject[&entry.subject].max(of_connection[&entry.connection()]);
    let quiet = quiet
        .into_iter()
        .map(|(long, entry)| (crowd(&entry), long, entry.id, entry));
    let chosen = choose(quiet.collect(), of_connection.values().sum(), count);
    let ended = chosen.len();
    for entry in chosen {
        entry.control.end(Cause::MemoryIdle);
    }
    ended
}

/// Chooses `count` at most among quiet streams: how many are like it, for how long it has been quiet, and its number.
/// Those that are no crowd are left alone if there are few of them: then they are not what fills the memory.
fn choose<T>(
    quiet: Vec<(usize, Duration, u64, T)>,
    streams: usize,
    count: usize,
) -> impl ExactSizeIterator<Item = T> {
    let is_crowd = |crowd: usize| crowd >= CROWD;
    let alone =
        |(crowd, long, ..): &&(usize, Duration, u64, T)| !is_crowd(*crowd) && *long >= QUIET;
    let many_alone = quiet.iter().filter(alone).count() * PART as usize >= streams;
    let mut chosen = quiet;
    chosen.retain(|(crowd, long, ..)| is_crowd(*crowd) || many_alone && *long >= QUIET);
    chosen.sort_unstable_by_key(|(crowd, _, id, _)| std::cmp::Reverse((*crowd, *id)));
    chosen.truncate(count);
    chosen.into_iter().map(|(.., stream)| stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::splice::side::Totals;
    use crate::transport::streams::STALLED;
    use tokio::time::Instant;

    #[test]
    fn crowds_go_first_and_who_is_alone_only_among_many() {
        let chosen = |quiet: &[(usize, u64, u64)], count: usize| -> Vec<u64> {
            let quiet = quiet
                .iter()
                .map(|(crowd, seconds, id)| (*crowd, Duration::from_secs(*seconds), *id, *id));
            choose(quiet.collect(), 64, count).collect()
        };
        let crowds = [(1, 3_600, 1), (20, 1, 2), (40, 1, 3), (40, 1, 4)];
        assert_eq!(chosen(&crowds, 9), [4, 3, 2], "a console is left alone");
        assert_eq!(chosen(&crowds, 2), [4, 3]);
        let alone = [(1, 3_600, 1), (1, 11, 2), (2, 12, 3), (1, 13, 4), (1, 1, 5)];
        assert_eq!(chosen(&alone, 2), [3, 4], "the last to come of many");
        assert_eq!(
            chosen(&alone, 9).len(),
            4,
            "one has only just fallen silent"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_keeps_most_and_has_stood_longest_weighs_most() {
        let stands = |control: &Control| Standing::of(control, 0, STALLED);
        let weight = |control: &Control| stands(control).map(|stands| stands.weight());
        let (little, much, inside) = <(Control, Control, Control)>::default();
        little.report(1_000, 0);
        assert_eq!(weight(&little), None, "it has only begun");
        tokio::time::advance(STALLED).await;
        much.report(100_000, 0);
        inside.report(0, 60_000);
        tokio::time::advance(STALLED).await;
        assert!(weight(&little) < weight(&inside) && weight(&inside) < weight(&much));
        let cause = |control: &Control| stands(control).map(|stands| stands.cause);
        assert_eq!(cause(&much), Some(Cause::Memory));
        assert_eq!(cause(&inside), Some(Cause::MemoryIdle));
        // A byte now and then is as good as none.
        much.count(&Totals {
            bytes_out: 10,
            ..Totals::default()
        });
        much.report(100_000, 0);
        assert!(weight(&much).is_some());
        let after = |lately| Standing::of(&much, lately, STALLED).map(|stands| stands.weight());
        assert!(after(200_000) < after(0));
        assert_eq!(after(1_600_000), None, "it moves well");
    }

    #[tokio::test(start_paused = true)]
    async fn who_moves_slowly_does_not_pay_for_what_others_hold() {
        const KEPT: u64 = 32_768;
        let ended = async |carried: u64, heap: fn() -> u64| {
            let memory = Memory::of_heap(heap);
            memory.set_limit(Some(heap()));
            let streams = Arc::<Streams>::default();
            let (subject, peer) = ("slow".into(), [127, 0, 0, 1].into());
            let entry = streams.enter(subject, peer, None, Instant::now(), Arc::default());
            let control = &entry.entry.control;
            control.count(&Totals {
                bytes_in: carried,
                ..Totals::default()
            });
            control.report(0, KEPT);
            tokio::time::advance(STALLED).await;
            evict(&memory, &streams, STALLED)
        };
        let others_hold_most: fn() -> u64 = || 50_000_000;
        assert_eq!(ended(KEPT, others_hold_most).await, 0, "it gets on");
        assert_eq!(ended(KEPT - 1, others_hold_most).await, 1, "it does not");
        assert_eq!(ended(KEPT, || 2 * KEPT).await, 1, "it holds most itself");
    }

    #[test]
    fn no_more_are_ended_than_keep_the_excess() {
        let one = |kept| {
            let stands = Standing {
                kept,
                long: STALLED,
                carried: 0,
                cause: Cause::Memory,
            };
            (stands, ())
        };
        let standing = || vec![one(1_000), one(3_000), one(2_000)];
        let kept = |excess| -> Vec<u64> {
            let chosen = heaviest(standing(), excess).into_iter();
            chosen.map(|(stands, ())| stands.kept).collect()
        };
        assert_eq!(kept(0), [0_u64; 0]);
        assert_eq!(kept(3_000), [3_000]);
        assert_eq!(kept(3_001), [3_000, 2_000]);
        assert_eq!(kept(9_000), [3_000, 2_000, 1_000]);
    }
}
