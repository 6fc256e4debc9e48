//! How long a call may take.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::transport::limits::refusal::Refusal;

/// Says what has its time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// The whole call.
    Whole(Duration),
    /// The first message; then it may last.
    First(Duration),
    /// Each time that nothing moves.
    Idle(Duration),
}

/// Watches over one call, and keeps the caller's own deadline.
pub(super) struct Clock {
    sleep: Pin<Box<Sleep>>,
    patience: Patience,
    /// When patience is at its end, unless it has none to lose any more.
    at: Option<Instant>,
    caller: Option<Instant>,
    seen: u64,
}

impl Clock {
    pub(super) fn new(patience: Patience, caller: Option<Instant>) -> Self {
        let (Patience::Whole(long) | Patience::First(long) | Patience::Idle(long)) = patience;
        let at = Instant::now() + long;
        Self {
            sleep: Box::pin(sleep_until(caller.map_or(at, |caller| caller.min(at)))),
            patience,
            at: Some(at),
            caller,
            seen: 0,
        }
    }

    /// `moved` grows with each whole message that came or went. Progress is looked at when the time is up, so an idle
    /// call ends after once to twice the time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, moved: u64) -> Poll<Refusal> {
        while let Some(next) = self.at.into_iter().chain(self.caller).min() {
            if self.sleep.deadline() != next {
                self.sleep.as_mut().reset(next);
            }
            ready!(self.sleep.as_mut().poll(cx));
            if self.caller.is_some_and(|at| at <= next) {
                return Poll::Ready(Refusal::Deadline);
            }
            match self.patience {
                Patience::First(_) if moved > 0 => self.at = None,
                Patience::Idle(long) if moved > self.seen => {
                    self.seen = moved;
                    self.at = Some(Instant::now() + long);
                }
                Patience::Whole(long) | Patience::First(long) | Patience::Idle(long) => {
                    return Poll::Ready(Refusal::TooSlow(long));
                }
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    async fn after(clock: &mut Clock, moved: u64) -> (Refusal, Duration) {
        let began = Instant::now();
        let refusal = poll_fn(|cx| clock.poll(cx, moved)).await;
        (refusal, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_call_has_its_time_whatever_moves() {
        let mut clock = Clock::new(Patience::Whole(LONG), None);
        assert_eq!(after(&mut clock, 7).await, (Refusal::TooSlow(LONG), LONG));
    }

    #[tokio::test(start_paused = true)]
    async fn after_its_first_message_a_call_may_last() {
        let mut clock = Clock::new(Patience::First(LONG), None);
        assert_eq!(after(&mut clock, 0).await, (Refusal::TooSlow(LONG), LONG));
        let mut clock = Clock::new(Patience::First(LONG), None);
        let day = Duration::from_secs(86_400);
        let lasts = tokio::time::timeout(day, after(&mut clock, 1)).await;
        assert!(lasts.is_err(), "{lasts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_call_ends_after_once_to_twice_the_time() {
        let mut clock = Clock::new(Patience::Idle(LONG), None);
        let (refusal, took) = after(&mut clock, 1).await;
        assert_eq!((refusal, took), (Refusal::TooSlow(LONG), 2 * LONG));
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_own_deadline_holds_for_all() {
        let soon = Duration::from_secs(3);
        for patience in [
            Patience::Whole(LONG),
            Patience::First(LONG),
            Patience::Idle(LONG),
        ] {
            let mut clock = Clock::new(patience, Some(Instant::now() + soon));
            assert_eq!(after(&mut clock, 1).await, (Refusal::Deadline, soon));
        }
        // Later than the first message may be.
        let late = 5 * LONG;
        let mut clock = Clock::new(Patience::First(LONG), Some(Instant::now() + late));
        assert_eq!(after(&mut clock, 1).await, (Refusal::Deadline, late));
    }
}
