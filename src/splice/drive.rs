//! Runs one side through its life: wait for a partner, splice, end and tell.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    Broken, Sink, Source,
    control::Control,
    ending::{Cause, Ending},
    side::Side,
};

/// The deadlines of one stream. `None` is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// How long a stream waits for its partner.
    pub pairing: Duration,
    /// How long nothing may move either way.
    pub idle: Option<Duration>,
    /// How long the peer may take next to nothing while bytes wait for it, or send next to nothing of a message that it
    /// has begun.
    pub stall: Option<Duration>,
    /// How long the stream may last, from its arrival.
    pub lifetime: Option<Duration>,
    /// When the caller's own deadline passes.
    pub caller: Option<Instant>,
    /// How long a stream that is being ended may make no progress.
    pub linger: Duration,
}

/// What the deadlines of a stream say next.
struct Clock {
    sleep: Pin<Box<Sleep>>,
    lifetime: Option<(Instant, Duration)>,
    caller: Option<Instant>,
    idle: Option<Duration>,
    idle_at: Option<Instant>,
    seen: u64,
    stall: Option<Duration>,
    stall_at: Option<Instant>,
}

impl Clock {
    fn new(deadlines: &Deadlines, arrived: Instant) -> Self {
        let now = Instant::now();
        let mut clock = Self {
            sleep: Box::pin(sleep_until(arrived)),
            lifetime: deadlines.lifetime.map(|long| (arrived + long, long)),
            caller: deadlines.caller,
            idle: deadlines.idle,
            idle_at: deadlines.idle.map(|long| now + long),
            seen: 0,
            stall: deadlines.stall,
            stall_at: deadlines.stall.map(|long| now + long),
        };
        if let Some(next) = clock.next() {
            clock.sleep.as_mut().reset(next);
        }
        clock
    }

    fn next(&self) -> Option<Instant> {
        let lifetime = self.lifetime.map(|(at, _)| at);
        [lifetime, self.caller, self.idle_at, self.stall_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// `moved` only grows while something moves. Reading the clock for every frame would cost more than the
    /// frame, so progress is looked at when the time is up: an idle stream ends after once to twice the time.
    fn poll(&mut self, cx: &mut Context<'_>, moved: u64, control: &Control) -> Poll<Cause> {
        while let Some(next) = self.next() {
            std::task::ready!(self.sleep.as_mut().poll(cx));
            let now = Instant::now();
            if self.caller.is_some_and(|at| at <= now) {
                return Poll::Ready(Cause::Deadline);
            }
            if let Some((at, long)) = self.lifetime
                && at <= now
            {
                return Poll::Ready(Cause::TooOld(long));
            }
            if let (Some(long), Some(at)) = (self.idle, self.idle_at)
                && at <= now
            {
                if moved == self.seen {
                    return Poll::Ready(Cause::Idle(long));
                }
                self.seen = moved;
                self.idle_at = Some(now + long);
            }
            if let (Some(long), Some(at)) = (self.stall, self.stall_at)
                && at <= now
            {
                let stalled = control.stalled_for(Duration::ZERO).unwrap_or_default();
                let unfinished = control.unfinished_for(Duration::ZERO).unwrap_or_default();
                if stalled >= long {
                    return Poll::Ready(Cause::Stalled(long));
                }
                if unfinished >= long {
                    return Poll::Ready(Cause::Unfinished(long));
                }
                self.stall_at = Some(now + long.saturating_sub(stalled.max(unfinished)));
            }
            let next = self.next().unwrap_or(next);
            self.sleep.as_mut().reset(next);
        }
        Poll::Pending
    }
}

/// Waits for a partner, reading what the peer already sends. `Ok` when `joined` resolves.
pub(crate) async fn wait<S: Source, K: Sink, J: Future + Unpin>(
    side: &mut Side<S, K>,
    control: &Control,
    deadlines: &Deadlines,
    arrived: Instant,
    mut joined: J,
) -> Result<J::Output, Ending> {
    let (long, expired) = match deadlines.lifetime {
        Some(long) if long < deadlines.pairing => (long, Cause::TooOld(long)),
        _ => (deadlines.pairing, Cause::Unpaired(deadlines.pairing)),
    };
    let mut timeout = std::pin::pin!(sleep_until(arrived + long));
    let mut caller = deadlines.caller.map(|at| Box::pin(sleep_until(at)));
    poll_fn(|cx| {
        if let Poll::Ready(partner) = Pin::new(&mut joined).poll(cx) {
            return Poll::Ready(Ok(partner));
        }
        if let Poll::Ready(cause) = control.poll_end(cx) {
            return Poll::Ready(Err(cause.into()));
        }
        if let Poll::Ready(ending) = side.poll_inbound(cx) {
            return Poll::Ready(Err(ending));
        }
        control.count(&side.totals());
        control.report(0, side.early());
        if let Some(caller) = &mut caller
            && caller.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(Cause::Deadline.into()));
        }
        if timeout.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(expired.into()));
        }
        Poll::Pending
    })
    .await
}

/// Splices until the stream has to end, and says why.
pub(crate) async fn splice<S: Source, K: Sink>(
    side: &mut Side<S, K>,
    control: &Control,
    deadlines: &Deadlines,
    arrived: Instant,
    mut progress: impl FnMut(&super::side::Totals),
) -> Ending {
    let mut clock = Clock::new(deadlines, arrived);
    poll_fn(|cx| {
        if let Poll::Ready(cause) = control.poll_end(cx) {
            return Poll::Ready(cause.into());
        }
        let ended = side.poll_paired(cx);
        let totals = side.totals();
        control.count(&totals);
        control.report(side.held(), side.unfinished());
        progress(&totals);
        if ended.is_ready() {
            return ended;
        }
        clock
            .poll(cx, totals.bytes_in + totals.bytes_out, control)
            .map(Ending::from)
    })
    .await
}

/// Ends the stream: tells the partner's stream, delivers what the partner sent before (if `paired`), then
/// tells the peer. Returns whether the peer could be told within `linger` of the last progress.
pub(crate) async fn conclude<S: Source, K: Sink>(
    side: &mut Side<S, K>,
    ending: Ending,
    paired: bool,
    linger: Duration,
) -> bool {
    if ending.cause == Cause::Completed {
        side.sink().finish(ending);
        return true;
    }
    side.announce(ending);
    if !ending.can_be_told() {
        side.sink().reset();
        return false;
    }
    let told = tell(side, paired, linger).await.is_ok();
    if told {
        side.sink().finish(ending);
    } else {
        side.sink().reset();
    }
    told
}

/// After the GOAWAY frame a peer has this long to close by itself before the status follows.
///
/// A stock peer acts on the frame only if it reads it before the status arrives: grpc.aio gives up what it has not
/// delivered once a call is over, and an exporter then keeps its connection for ever. Stock peers answer the frame
/// by half-closing, within milliseconds.
pub(crate) const FAREWELL: Duration = Duration::from_millis(500);

/// What is still to be said.
enum Saying {
    Rest,
    Goaway(usize),
    Farewell,
}

async fn tell<S: Source, K: Sink>(
    side: &mut Side<S, K>,
    paired: bool,
    linger: Duration,
) -> Result<(), Broken> {
    let mut sleep = std::pin::pin!(sleep_until(Instant::now() + linger));
    let mut seen = side.totals().bytes_out;
    let mut saying = if paired {
        Saying::Rest
    } else {
        Saying::Goaway(0)
    };
    let knows_goaway = side.sink().knows_goaway();
    poll_fn(|cx| {
        loop {
            let sent = match &mut saying {
                Saying::Goaway(_) if !knows_goaway => return Poll::Ready(Ok(())),
                Saying::Rest => match side.poll_deliver(cx)? {
                    Poll::Ready(true) => return Poll::Ready(Ok(())),
                    Poll::Ready(false) => {
                        saying = Saying::Goaway(0);
                        continue;
                    }
                    Poll::Pending => 0,
                },
                Saying::Goaway(sent) => match side.poll_goaway(cx, sent)? {
                    Poll::Ready(()) => {
                        saying = Saying::Farewell;
                        sleep.as_mut().reset(Instant::now() + FAREWELL);
                        continue;
                    }
                    Poll::Pending => *sent as u64,
                },
                Saying::Farewell => {
                    if side.poll_farewell(cx).is_pending() {
                        std::task::ready!(sleep.as_mut().poll(cx));
                    }
                    return Poll::Ready(Ok(()));
                }
            };
            std::task::ready!(sleep.as_mut().poll(cx));
            let moved = side.totals().bytes_out + sent;
            if moved == seen {
                return Poll::Ready(Err(Broken::Lost));
            }
            seen = moved;
            sleep.as_mut().reset(Instant::now() + linger);
        }
    })
    .await
}

#[cfg(test)]
mod tests;
