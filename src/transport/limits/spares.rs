//! Connections without a stream: who they are, and which has to go when there is need of its place.
//!
//! Stock peers keep a connection to every address of a name, of which one carries their stream. The others are spare:
//! they stay while there is room, and are taken back longest idle first. A connection that has just been opened, or
//! whose stream has just ended, is not spare yet: mostly the next call is on its way.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::observe::metrics::ConnectionEnd;
use crate::transport::{
    limits::count::{Count, Counted},
    wake_flag::WakeFlag,
};

/// How long a connection has no stream before it is spare: long enough for a call that follows a handshake.
pub const SPARE_AFTER: Duration = Duration::from_secs(1);

/// Calls that are served on one connection.
#[derive(Debug, Default)]
pub(crate) struct OpenCalls {
    /// Admitted streams.
    pub streams: Count,
    /// Calls of other services.
    pub others: Count,
    any_stream: AtomicBool,
}

impl OpenCalls {
    /// Counts an admitted stream until the guard is dropped.
    pub(crate) fn stream(&self) -> Counted {
        self.any_stream.store(true, Ordering::Relaxed);
        self.streams.add()
    }

    /// Whether a stream was ever admitted.
    pub(crate) fn any_stream(&self) -> bool {
        self.any_stream.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    id: u64,
    /// Why it has to go, once it was told; `None` in it: it is spare no longer.
    told: OnceLock<Option<ConnectionEnd>>,
    flag: Arc<WakeFlag>,
    /// All, and those of its address.
    places: [Arc<Spares>; 2],
}

impl Entry {
    /// Asks it to go. False if it was asked before, or is spare no longer.
    fn tell(&self, why: ConnectionEnd) -> bool {
        // Counted before it is told, as it takes that back when it has gone.
        for spares in &self.places {
            spares.leaving.fetch_add(1, Ordering::SeqCst);
        }
        let told = self.told.set(Some(why)).is_ok();
        if told {
            self.flag.set();
        } else {
            self.left();
        }
        told
    }

    fn left(&self) {
        for spares in &self.places {
            spares.leaving.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Spare connections: all of them, or those of one address.
#[derive(Debug, Default)]
pub struct Spares {
    /// By the time since they have no stream, and a number.
    waiting: Mutex<BTreeMap<(Instant, u64), Arc<Entry>>>,
    /// Told to go, and not gone yet.
    leaving: AtomicUsize,
    next: AtomicU64,
}

impl Spares {
    /// A connection that has no stream since then, known here and among those of its address until the guard is dropped;
    /// `flag` is set when it has to go.
    pub fn enter(
        self: &Arc<Self>,
        of_address: &Arc<Spares>,
        since: Instant,
        flag: Arc<WakeFlag>,
    ) -> Spare {
        let entry = Arc::new(Entry {
            since,
            id: self.next.fetch_add(1, Ordering::Relaxed),
            told: OnceLock::new(),
            flag,
            places: [self.clone(), of_address.clone()],
        });
        for spares in &entry.places {
            spares.lock().insert((since, entry.id), entry.clone());
        }
        Spare(entry)
    }

    /// Of `open` connections those that may be counted on to stay.
    pub fn staying(&self, open: usize) -> usize {
        open.saturating_sub(self.leaving.load(Ordering::SeqCst))
    }

    /// Makes room for one more among `open` connections of which `limit` may be open, if spare ones can be taken back
    /// for it. They are open for a moment beyond the limit, so only a few leave at once.
    pub fn make_room(&self, open: usize, limit: usize) -> bool {
        let most = (limit / 16).max(16);
        while self.staying(open) >= limit {
            if self.leaving.load(Ordering::SeqCst) >= most
                || !self.take_back(ConnectionEnd::MadeRoom)
            {
                return false;
            }
        }
        true
    }

    /// Asks the one to go that is idle longest. False if there is none.
    pub fn take_back(&self, why: ConnectionEnd) -> bool {
        loop {
            // Let go of the lock first: whoever drops an entry may need it.
            let Some((_, entry)) = self.lock().pop_first() else {
                return false;
            };
            if entry.tell(why) {
                return true;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Instant, u64), Arc<Entry>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A spare connection; spare no longer once dropped.
#[derive(Debug)]
pub struct Spare(Arc<Entry>);

impl Spare {
    /// Why it has to go, once it has.
    pub fn told(&self) -> Option<ConnectionEnd> {
        self.0.told.get().copied().flatten()
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        let entry = &self.0;
        for spares in &entry.places {
            let gone = spares.lock().remove(&(entry.since, entry.id));
            // After the lock.
            drop(gone);
        }
        if entry.told.set(None).is_err() {
            entry.left();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Three {
        all: Arc<Spares>,
        addresses: [Arc<Spares>; 2],
        spares: Vec<Spare>,
        flags: Vec<Arc<WakeFlag>>,
    }

    /// Three connections, idle for 3, 2 and 1 s, of which the second is from another address.
    fn three() -> Three {
        let all = Arc::new(Spares::default());
        let addresses = [(); 2].map(|()| Arc::new(Spares::default()));
        let start = Instant::now();
        let flags: Vec<_> = (0..3).map(|_| WakeFlag::new()).collect();
        let enter = |(number, flag): (usize, &Arc<WakeFlag>)| {
            flag.take();
            let since = start + Duration::from_secs(number as u64);
            all.enter(&addresses[number % 2], since, flag.clone())
        };
        let spares = flags.iter().enumerate().map(enter).collect();
        Three {
            all,
            addresses,
            spares,
            flags,
        }
    }

    fn told(spares: &[Spare]) -> Vec<Option<ConnectionEnd>> {
        spares.iter().map(Spare::told).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_goes_first_and_is_woken() {
        let Three {
            all, spares, flags, ..
        } = three();
        let (room, memory) = (Some(ConnectionEnd::MadeRoom), Some(ConnectionEnd::Memory));
        assert!(all.take_back(ConnectionEnd::MadeRoom));
        assert_eq!(told(&spares), [room, None, None]);
        assert!(all.take_back(ConnectionEnd::Memory));
        assert_eq!(told(&spares), [room, memory, None]);
        let set: Vec<_> = flags.iter().map(|flag| flag.is_set()).collect();
        assert_eq!(set, [true, true, false]);
        assert!(all.take_back(ConnectionEnd::MadeRoom));
        assert!(!all.take_back(ConnectionEnd::MadeRoom), "nobody is left");
        assert_eq!(all.staying(3), 0);
        drop(spares);
        assert_eq!(all.staying(3), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_takes_back_its_own() {
        let Three {
            all,
            addresses: [one, other],
            spares,
            ..
        } = three();
        assert!(other.take_back(ConnectionEnd::MadeRoom));
        assert!(!other.take_back(ConnectionEnd::MadeRoom));
        assert!(spares[1].told().is_some());
        assert_eq!(other.staying(1), 0);
        assert_eq!((one.staying(2), all.staying(3)), (2, 2));
        // All take the others, and skip the one that was told.
        assert!(all.take_back(ConnectionEnd::MadeRoom) && all.take_back(ConnectionEnd::MadeRoom));
        assert!(!all.take_back(ConnectionEnd::MadeRoom));
        assert_eq!(one.staying(2), 0);
        drop(spares);
        assert_eq!((one.staying(2), all.staying(3)), (2, 3));
        assert!(all.lock().is_empty() && one.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_a_stream_again_is_not_taken_back() {
        let Three {
            all, mut spares, ..
        } = three();
        drop(spares.remove(0));
        assert!(all.take_back(ConnectionEnd::MadeRoom));
        assert!(spares[0].told().is_some());
        assert!(spares[1].told().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_made_until_there_is_some_or_none_is_left() {
        let Three { all, spares, .. } = three();
        assert!(all.make_room(4, 5), "there is some");
        assert_eq!(told(&spares), [None; 3]);
        assert!(all.make_room(5, 5));
        assert!(all.make_room(5, 5), "one is about to go");
        assert_eq!(all.staying(5), 4);
        // After the limit was lowered.
        assert!(all.make_room(5, 3));
        assert_eq!(all.staying(5), 2);
        assert!(!all.make_room(6, 3));
        assert_eq!(told(&spares), [Some(ConnectionEnd::MadeRoom); 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn few_leave_at_once() {
        let all = Arc::new(Spares::default());
        let address = Arc::new(Spares::default());
        let enter = |_| all.enter(&address, Instant::now(), WakeFlag::new());
        let spares: Vec<_> = (0..100).map(enter).collect();
        let made = (0..100).filter(|more| all.make_room(100 + more, 100));
        assert_eq!(made.count(), 16);
        drop(spares);
    }

    #[test]
    fn calls_are_counted_while_they_are_served() {
        let calls = OpenCalls::default();
        let seen = || {
            (
                calls.streams.open(),
                calls.others.open(),
                calls.any_stream(),
            )
        };
        let health = calls.others.add();
        assert_eq!(seen(), (0, 1, false));
        let stream = calls.stream();
        assert_eq!(seen(), (1, 1, true));
        drop((health, stream));
        assert_eq!(seen(), (0, 0, true));
    }
}
