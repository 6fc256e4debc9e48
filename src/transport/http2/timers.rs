//! When a connection has to be told off, pinged or ended.
//!
//! [`Deadlines`] is pure: the connection says what it sees, and gets what to do and when to ask again. `Timer` wakes it
//! then.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::observe::metrics::ConnectionEnd;
use crate::transport::settings::{Connections, Settings};

/// How long streams that are ended for the age of their connection have to be told.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Describes what a connection looks like now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Bytes read so far.
    pub read: u64,
    /// Bytes written so far.
    pub written: u64,
    /// Whether the socket is full.
    pub blocked: bool,
    /// Whether any stream was ever admitted.
    pub any_stream: bool,
    /// Streams now served.
    pub streams: usize,
    /// Other calls now served.
    pub other_calls: usize,
    /// Whether the peer's address has a stream, on whatever connection.
    pub kept: bool,
}

/// Says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ask again then; `None`: not before something happens.
    Wait(Option<Instant>),
    /// Send a PING, then ask again.
    Ping,
    /// Take no more streams, then ask again.
    Retire,
    /// End the streams, which have lasted this long on the connection, then ask again.
    EndStreams(Duration),
    /// End the connection.
    End(ConnectionEnd),
}

/// Keeps the deadlines of one connection.
#[derive(Debug)]
pub(crate) struct Deadlines {
    /// Those that the connection was opened with.
    settings: Arc<Settings>,
    retire_at: Option<Instant>,
    retired: bool,
    /// The streams are being told.
    expired: bool,
    /// Since when there is no stream.
    idle_since: Option<Instant>,
    /// From when that counts: not while the connection is kept for its address's stream.
    counted_from: Option<Instant>,
    read: u64,
    heard: Instant,
    pinged: Option<Instant>,
    written: u64,
    wrote: Instant,
}

impl Deadlines {
    /// `jitter`: from -1 to 1, moves the age by up to a tenth, so that connections opened together do not
    /// all reconnect together (gRFC A9).
    pub(crate) fn new(settings: Arc<Settings>, now: Instant, jitter: f64) -> Self {
        let retire_at = settings
            .connections
            .max_age
            .map(|age| now + age.mul_f64(1.0 + jitter.clamp(-1.0, 1.0) / 10.0));
        Self {
            settings,
            retire_at,
            retired: false,
            expired: false,
            idle_since: Some(now),
            counted_from: Some(now),
            read: 0,
            heard: now,
            pinged: None,
            written: 0,
            wrote: now,
        }
    }

    fn settings(&self) -> &Connections {
        &self.settings.connections
    }

    /// Whether it takes no more streams for its age.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired
    }

    /// Says since when there is no stream, as of the last look.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.idle_since
    }

    /// Tells that the answer to the PING has come.
    pub(crate) fn ponged(&mut self, now: Instant) {
        self.pinged = None;
        self.heard = now;
    }

    /// Says what to do now.
    pub(crate) fn check(&mut self, view: View, now: Instant) -> Verdict {
        let mut next = Next(None);
        if let Some(end) = self.idle(view, now, &mut next) {
            return Verdict::End(end);
        }
        if !self.retired && next.due(now, self.retire_at) {
            self.retired = true;
            return Verdict::Retire;
        }
        if self.retired
            && let (Some(at), Some(grace)) = (self.retire_at, self.settings().max_age_grace)
            && next.due(now, Some(at + grace))
        {
            if !self.expired {
                self.expired = true;
                return Verdict::EndStreams(self.settings().max_age.unwrap_or_default() + grace);
            }
            // Mostly it has closed by then, as nothing is left on it.
            if next.due(now, Some(at + grace + LAST_WORDS)) {
                return Verdict::End(ConnectionEnd::Age);
            }
        }
        if let Some(verdict) = self.keepalive(view, now, &mut next) {
            return verdict;
        }
        if self.write_stalled(view, now, &mut next) {
            return Verdict::End(ConnectionEnd::WriteStalled);
        }
        Verdict::Wait(next.0)
    }

    /// A connection without a stream has a time, unless its peer has one on another connection. That is seen only by
    /// looking, so the time counts from the first look that finds none. Other calls are let finish, but win no time.
    fn idle(&mut self, view: View, now: Instant, next: &mut Next) -> Option<ConnectionEnd> {
        if view.streams > 0 {
            (self.idle_since, self.counted_from) = (None, None);
            return None;
        }
        self.idle_since.get_or_insert(now);
        let (long, end) = if view.any_stream {
            (self.settings().idle_timeout?, ConnectionEnd::Idle)
        } else {
            let long = self.settings().first_stream_timeout;
            (long, ConnectionEnd::FirstStreamTimeout)
        };
        if view.kept {
            self.counted_from = None;
            next.at(now + long);
            return None;
        }
        let from = *self.counted_from.get_or_insert(now);
        (next.due(now, Some(from + long)) && view.other_calls == 0).then_some(end)
    }

    fn keepalive(&mut self, view: View, now: Instant, next: &mut Next) -> Option<Verdict> {
        if view.read != self.read {
            self.read = view.read;
            self.heard = now;
            // Anything the peer sends proves that it lives, as grpc-go has it.
            self.pinged = None;
        }
        if let Some(pinged) = self.pinged {
            return next
                .due(now, Some(pinged + self.settings().keepalive_timeout))
                .then_some(Verdict::End(ConnectionEnd::KeepaliveTimeout));
        }
        if next.due(now, Some(self.heard + self.settings().keepalive_interval)) {
            self.pinged = Some(now);
            return Some(Verdict::Ping);
        }
        None
    }

    fn write_stalled(&mut self, view: View, now: Instant, next: &mut Next) -> bool {
        if view.written != self.written || !view.blocked {
            self.written = view.written;
            self.wrote = now;
        }
        let long = self.settings().write_stall_timeout;
        // A socket may fill up right after this look: look again soon enough to notice within the time.
        let at = if view.blocked {
            self.wrote + long
        } else {
            now + long / 2
        };
        view.blocked && next.due(now, Some(at)) || {
            next.at(at);
            false
        }
    }
}

/// The earliest of several instants in the future.
struct Next(Option<Instant>);

impl Next {
    /// Whether `at` has come; if not, it counts as the next.
    fn due(&mut self, now: Instant, at: Option<Instant>) -> bool {
        match at {
            Some(at) if at <= now => true,
            Some(at) => {
                self.at(at);
                false
            }
            None => false,
        }
    }

    fn at(&mut self, at: Instant) {
        self.0 = Some(self.0.map_or(at, |next| next.min(at)));
    }
}

/// Wakes a connection at its time, or is due before it.
#[derive(Debug)]
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// What it was set by has changed.
    stale: bool,
}

impl Timer {
    /// Is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sleep: Box::pin(sleep_until(now)),
            stale: true,
        }
    }

    /// What the timer was set by has changed: it is due at the next look.
    pub(super) fn set_stale(&mut self) {
        self.stale = true;
    }

    /// Sets it to `at`.
    pub(super) fn set(&mut self, at: Option<Instant>) {
        // A day stands for never: a sleep must be registered somewhere.
        let never = || Instant::now() + Duration::from_secs(86_400);
        self.sleep.as_mut().reset(at.unwrap_or_else(never));
    }

    /// Ready when it is time, or when it is stale.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.stale) {
            return Poll::Ready(());
        }
        self.sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests;
