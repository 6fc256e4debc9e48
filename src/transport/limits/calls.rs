//! How many calls without a token are open at once, in all.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;

use crate::transport::{
    limits::refusal::Refusal,
    memory::{budget::Budget, level::Level},
};

/// The most at once, however much memory there is.
const MOST: usize = 1_000;

/// When memory is short, so many have a place still: probes must get an answer.
const FEW: usize = 32;

/// What one call may keep, bytes. Resident memory for each of 992 on 62 connections with TLS: a `Watch` 10 KiB, a `Check`
/// that is not whole 23 KiB, and reflection whose answers nobody reads 45 KiB.
pub const CALL: u64 = 48 * 1024;

/// All of them may keep this part of the memory.
const PART: u64 = 16;

/// What the messages that are not whole yet, or wait for their service, may take together, bytes.
const MESSAGES: u64 = 8 * 1024 * 1024;

/// All calls without a token.
#[derive(Debug)]
pub(crate) struct Calls {
    open: Mutex<Open>,
    messages: Arc<Budget>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// In the order they came.
    calls: BTreeMap<u64, oneshot::Sender<Refusal>>,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            messages: Budget::new(MESSAGES),
        }
    }
}

impl Calls {
    /// A place for a call, or why there is none.
    ///
    /// `lasts`: it may stay as long as it likes. Such a call is refused if there is no place, and when memory begins to
    /// be short. Others take the place of the oldest call: they are over at once, unless their caller holds them up, so
    /// who holds many places cannot keep probes out.
    pub(crate) fn enter(
        self: &Arc<Self>,
        lasts: bool,
        level: Level,
        memory: Option<u64>,
    ) -> Result<Place, Refusal> {
        let short = level >= Level::NoGrowth;
        if lasts && short {
            return Err(Refusal::Memory);
        }
        let limit = if short { FEW } else { most(memory) };
        let mut open = self.lock();
        while open.calls.len() >= limit {
            if lasts {
                return Err(Refusal::TooMany { limit });
            }
            if let Some((_, oldest)) = open.calls.pop_first() {
                // Fails only if that call is over anyway.
                let _ = oldest.send(Refusal::MadeRoom);
            }
        }
        let (sender, lost) = oneshot::channel();
        let id = open.next;
        open.next += 1;
        open.calls.insert(id, sender);
        Ok(Place {
            calls: self.clone(),
            id,
            lost,
        })
    }

    /// Ends all, as memory has run out.
    pub(crate) fn give_way(&self) {
        let calls = std::mem::take(&mut self.lock().calls);
        for call in calls.into_values() {
            let _ = call.send(Refusal::Memory);
        }
    }

    /// What their messages may take.
    pub(crate) fn messages(&self) -> &Arc<Budget> {
        &self.messages
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn most(memory: Option<u64>) -> usize {
    let affordable = memory.map_or(usize::MAX, |limit| (limit / PART / CALL) as usize);
    affordable.clamp(FEW, MOST)
}

/// One call's place; given back on drop.
#[derive(Debug)]
pub(crate) struct Place {
    calls: Arc<Calls>,
    id: u64,
    lost: oneshot::Receiver<Refusal>,
}

impl Place {
    /// Ready when another got it. Not to be called again then.
    pub(crate) fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<Refusal> {
        let lost = ready!(Pin::new(&mut self.lost).poll(cx));
        Poll::Ready(lost.unwrap_or(Refusal::MadeRoom))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.calls.lock().calls.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn open(calls: &Calls) -> usize {
        calls.lock().calls.len()
    }

    /// What a call hears.
    fn heard(place: &mut Place) -> Option<Refusal> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match place.poll_lost(&mut cx) {
            Poll::Ready(refusal) => Some(refusal),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_short_call_takes_the_oldest_ones_place_and_a_lasting_one_is_refused() {
        let calls = Arc::new(Calls::default());
        let enter = |lasts| calls.enter(lasts, Level::Normal, None);
        let mut places: Vec<_> = (0..MOST).map(|_| enter(true).unwrap()).collect();
        let refused = enter(true).unwrap_err();
        assert_eq!(refused, Refusal::TooMany { limit: MOST });
        let short = enter(false).unwrap();
        assert_eq!(open(&calls), MOST);
        assert_eq!(heard(&mut places[0]), Some(Refusal::MadeRoom));
        assert_eq!(heard(&mut places[1]), None);
        drop(short);
        places.push(enter(true).unwrap());
        drop(places);
        assert_eq!(open(&calls), 0);
    }

    #[test]
    fn few_have_a_place_when_memory_is_short() {
        let calls = Arc::new(Calls::default());
        let mut places: Vec<_> = (0..100)
            .map(|_| calls.enter(true, Level::Normal, None).unwrap())
            .collect();
        let lasting = calls.enter(true, Level::NoGrowth, None);
        assert_eq!(lasting.unwrap_err(), Refusal::Memory);
        let mut probe = calls.enter(false, Level::Full, None).unwrap();
        assert_eq!(open(&calls), FEW);
        calls.give_way();
        assert_eq!(open(&calls), 0);
        assert_eq!(heard(places.last_mut().unwrap()), Some(Refusal::Memory));
        assert_eq!(heard(&mut probe), Some(Refusal::Memory));
    }

    #[test]
    fn the_number_goes_with_the_memory() {
        for (memory, number) in [
            (None, MOST),
            (Some(16 << 20), FEW),
            (Some(128 << 20), 170),
            (Some(512 << 20), 682),
            (Some(8 << 30), MOST),
        ] {
            assert_eq!(most(memory), number, "{memory:?}");
        }
    }
}
