//! Keeps the windows of a connection's streams: measures the path, changes them, and pays for them.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Buf;
use h2::{Ping, PingPong};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::transport::{
    counters::ConnectionCounters,
    http2::window::{Change, Growth},
    memory::{
        budget::{Budget, Grant},
        level::{Level, Memory},
    },
    wake_flag::WakeFlag,
};

/// So many PINGs ask a peer whether it has taken note of a smaller window; after that the answers to others do. The first
/// goes out before the change does.
const SHRINK_PINGS: u8 = 8;

/// A connection whose streams have windows, at whichever end.
pub(crate) trait HasWindow {
    /// Sets the window of all streams, bytes. Refused while the peer has not acknowledged the change before.
    fn set_initial_window_size(&mut self, bytes: u32) -> Result<(), h2::Error>;
}

impl<T: AsyncRead + AsyncWrite + Unpin, B: Buf> HasWindow for h2::server::Connection<T, B> {
    fn set_initial_window_size(&mut self, bytes: u32) -> Result<(), h2::Error> {
        Self::set_initial_window_size(self, bytes)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin, B: Buf> HasWindow for h2::client::Connection<T, B> {
    fn set_initial_window_size(&mut self, bytes: u32) -> Result<(), h2::Error> {
        Self::set_initial_window_size(self, bytes)
    }
}

/// The windows of one connection.
pub(crate) struct Windows {
    growth: Growth,
    grant: Grant,
    /// The peer may not have taken note of a smaller window yet: how many PINGs may still ask.
    shrinking: Option<u8>,
    pings: Option<PingPong>,
    passage: Arc<ConnectionCounters>,
    memory: Arc<Memory>,
    /// Is set when HTTP/2 has something to send.
    flag: Arc<WakeFlag>,
}

impl Windows {
    /// `growth` may use what `budget` has, while `memory` is not short.
    pub(crate) fn new(
        growth: Growth,
        pings: Option<PingPong>,
        budget: Arc<Budget>,
        memory: Arc<Memory>,
        passage: Arc<ConnectionCounters>,
        flag: Arc<WakeFlag>,
    ) -> Self {
        passage.set_window(growth.start());
        Self {
            growth,
            grant: Grant::new(budget),
            shrinking: None,
            pings,
            passage,
            memory,
            flag,
        }
    }

    /// The window that each stream starts with, whatever may have been set since the connection was opened.
    pub(crate) fn start(&self) -> u32 {
        self.growth.start()
    }

    /// Sends a PING.
    pub(crate) fn ping(&mut self) {
        if let Some(pings) = &mut self.pings {
            // Refused only while one is on its way; then that one's answer is taken for it.
            let _ = pings.send_ping(Ping::opaque());
        }
        self.flag.set();
    }

    /// Whether a PING was answered; if not, `cx` is woken once one is.
    pub(crate) fn poll_pong(&mut self, cx: &mut Context<'_>) -> bool {
        let pings = self.pings.as_mut();
        pings.is_some_and(|pings| matches!(pings.poll_pong(cx), Poll::Ready(Ok(_))))
    }

    /// A PING was answered. `path`: the shortest round trip that the kernel knows of. True if the peer has taken note of a
    /// smaller window: then its `streams` have to.
    pub(crate) fn ponged(
        &mut self,
        http2: &mut impl HasWindow,
        streams: usize,
        now: Instant,
        path: Option<Duration>,
    ) -> bool {
        let noted = self.has_shrunk(http2);
        let change = self.growth.ponged(self.passage.released(), now, path);
        self.change(http2, streams, change);
        noted
    }

    /// Measures the path while bytes pass.
    pub(crate) fn measure(&mut self) {
        // Windows grow by what was passed on, not by what arrived: a peer whose partner does not read earns nothing.
        let released = self.passage.released();
        if self.growth.is_busy(released) && self.growth.should_ping(released, Instant::now()) {
            self.ping();
        }
    }

    /// A stream came, and gets the grown window like the others; if that cannot be paid for, none does.
    pub(crate) fn stream_came(&mut self, http2: &mut impl HasWindow, streams: usize) {
        let (start, window) = (self.growth.start(), self.growth.window());
        if window > start && !self.pay(window, streams) {
            self.change(http2, streams, Change::Shrink(start));
        }
    }

    /// Looks for quiet if it is time to, and says when to look again.
    pub(crate) fn look(
        &mut self,
        http2: &mut impl HasWindow,
        streams: usize,
        now: Instant,
    ) -> Option<Instant> {
        if self.growth.look_at().is_some_and(|at| at <= now) {
            let need = self.grant.is_tight() || self.memory.level() >= Level::NoGrowth;
            let change = self.growth.look(self.passage.released(), now, need);
            self.change(http2, streams, change);
        }
        self.growth.look_at()
    }

    /// Changes the window of all streams, if the budget allows.
    fn change(&mut self, http2: &mut impl HasWindow, streams: usize, change: Change) {
        let (Change::Grow(window) | Change::Shrink(window)) = change else {
            return;
        };
        let shrinks = matches!(change, Change::Shrink(_));
        if !shrinks && self.memory.level() >= Level::NoGrowth {
            return;
        }
        if self.pay(window, streams)
            // Refused while the peer has not acknowledged the change before; there will be another sample.
            && http2.set_initial_window_size(window).is_ok()
        {
            self.growth.changed(window);
            self.passage.set_window(window);
            if shrinks {
                self.shrinking = Some(SHRINK_PINGS);
                self.ping();
            }
            self.flag.set();
        }
    }

    fn pay(&mut self, window: u32, streams: usize) -> bool {
        let extra = u64::from(window.saturating_sub(self.growth.start()));
        self.grant.resize(extra * streams as u64)
    }

    /// A PING was answered: whether the peer knows only now that its windows are smaller.
    fn has_shrunk(&mut self, http2: &mut impl HasWindow) -> bool {
        let Some(pings) = self.shrinking else {
            return false;
        };
        // HTTP/2 refuses a change, and be it none, until the peer has acknowledged the one before.
        if http2.set_initial_window_size(self.growth.window()).is_ok() {
            self.shrinking = None;
            self.passage.set_shrunk();
            return true;
        }
        if pings > 0 {
            self.shrinking = Some(pings - 1);
            self.ping();
        }
        false
    }
}
