//! One connection: HTTP/2 over any byte stream, as one task that owns all its streams.

use std::{
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    future::{Either, OptionFuture, lazy},
    stream::FuturesUnordered,
};
use h2::{Ping, PingPong, RecvStream, server::SendResponse};
use http::Request;
use tokio::{
    io::AsyncReadExt as _,
    time::{Instant, Sleep, sleep_until, timeout},
};

use crate::transport::{
    call::{self, Caller},
    counters::Passage,
    http2::{
        goaway::Goaway,
        outgoing::Outgoing,
        routes,
        timers::{Deadlines, Verdict, View},
        wake_flag::Doorbell,
        window::{Change, Growth},
        wire::{Gather, Wire},
    },
    limits::{
        addresses::Origin,
        spares::{Calls, SPARE_AFTER, Spare},
    },
    memory::{
        budget::Grant,
        level::{Level, Reader, Reading},
        read_budget::Allowance,
    },
    settings::Settings,
    shared::Router,
};
use crate::{
    observe::metrics::{ConnectionEnd, Held},
    splice::ending::Cause,
};

/// How often the connection and its streams are looked at in turn before other tasks get the thread.
const ROUNDS: usize = 16;

/// How long a peer may take to read that its connection is closed.
const PARTING: Duration = Duration::from_secs(1);

/// After a connection is gone its streams have this long to tell their partners. They need no waiting for that.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// So many PINGs ask a peer whether it has taken note of a smaller window; after that the answers to others do. The first
/// goes out before the change does.
const SHRINK_PINGS: u8 = 8;

type StreamTask = Pin<Box<dyn Future<Output = ()> + Send>>;
type Http2<T> = h2::server::Connection<Wire<T>, Outgoing>;

/// Serves HTTP/2 on `io` until it ends, and says why it ended.
pub async fn serve<T>(router: Arc<Router>, peer: Origin, wire: Wire<T>) -> ConnectionEnd
where
    T: Gather + Send + 'static,
{
    let settings = router.settings.load_full();
    let window = settings.streams.initial_window.bytes_u32();
    let max_window = settings.streams.max_window.bytes_u32();
    // In a box: the connection shall not keep room for it.
    let preface = Box::pin(builder(&settings, window).handshake(wire.clone()));
    let mut http2 = match timeout(settings.connections.preface_timeout, preface).await {
        Err(_) => return ConnectionEnd::PrefaceTimeout,
        Ok(Err(error)) => return end_of(&error),
        Ok(Ok(http2)) => Box::new(http2),
    };
    wire.set_deferred(true);
    let now = Instant::now();
    let pings = http2.ping_pong();
    let bell = Doorbell::new();
    let stream_bell = Doorbell::new();
    let mut connection = Connection {
        waker: Waker::from(bell.clone()),
        stream_waker: Waker::from(stream_bell.clone()),
        stream_bell,
        http2,
        streams: FuturesUnordered::new(),
        any_call: false,
        calls: Arc::default(),
        counted: Held::new(&router.metrics.connections_without_streams),
        carries: false,
        spare: None,
        pings,
        wire,
        passage: Arc::default(),
        allowance: Allowance::default(),
        thrifty: false,
        growth: Growth::new(window, max_window, now),
        shrinking: None,
        grant: Grant::new(router.limits.windows.clone()),
        reader: router.memory.reader(bell.clone()),
        bell,
        deadlines: Deadlines::new(settings, now, jitter()),
        clock: Box::pin(sleep_until(now)),
        clock_set: true,
        goaway: Goaway::new(&router.life),
        router,
        peer,
    };
    connection.passage.set_window(window);
    let end = poll_fn(|cx| connection.poll(cx)).await;
    // What the peer was asked to do.
    let asked = match end {
        ConnectionEnd::PeerClosed if connection.goaway.is_sent() => ConnectionEnd::Drained,
        ConnectionEnd::PeerClosed if connection.deadlines.is_retired() => ConnectionEnd::Age,
        end => end,
    };
    // In a box: a connection shall not keep room for its end.
    Box::pin(connection.close(end)).await;
    asked
}

fn builder(settings: &Settings, window: u32) -> h2::server::Builder {
    // The connection's window never blocks: each stream's own window is the bound. HTTP/2 may withhold a third
    // of it, hence half more. A large one also keeps h2's budget for small frames, half of it by default, from
    // closing connections.
    let most = settings.streams.max_per_connection;
    let all = u64::from(window) * u64::from(most) * 3 / 2;
    let connection_window = all.min((1 << 31) - 1) as u32;
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(window)
        .initial_connection_window_size(connection_window.max(window))
        .max_concurrent_streams(most)
        .max_header_list_size(settings.connections.max_header_size.bytes_u32())
        .max_send_buffer_size(settings.streams.send_buffer.bytes());
    builder
}

fn end_of(error: &h2::Error) -> ConnectionEnd {
    if error.is_io() {
        ConnectionEnd::TransportError
    } else if error.is_go_away() && error.is_remote() {
        ConnectionEnd::PeerClosed
    } else {
        ConnectionEnd::ProtocolError
    }
}

/// Reads until the peer has closed, or is gone.
async fn closed<T: Gather>(mut wire: Wire<T>) {
    wire.allow(Some(usize::MAX), true);
    let mut bytes = [0; 1024];
    while wire.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}

/// From -1 to 1. Hashing with a fresh key is random enough to spread reconnects.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let hash = std::hash::RandomState::new().build_hasher().finish();
    f64::from((hash % 2001) as u32) / 1000.0 - 1.0
}

struct Connection<T: Gather> {
    bell: Arc<Doorbell>,
    waker: Waker,
    stream_bell: Arc<Doorbell>,
    stream_waker: Waker,
    http2: Box<Http2<T>>,
    streams: FuturesUnordered<StreamTask>,
    any_call: bool,
    /// Those that were let in.
    calls: Arc<Calls>,
    /// Whether it carries a stream, and is counted among those that do.
    carries: bool,
    counted: Held,
    /// While it can be taken back.
    spare: Option<Spare>,
    pings: Option<PingPong>,
    wire: Wire<T>,
    passage: Arc<Passage>,
    allowance: Allowance,
    thrifty: bool,
    growth: Growth,
    /// The peer may not have taken note of a smaller window yet: how many PINGs may still ask.
    shrinking: Option<u8>,
    grant: Grant,
    reader: Arc<Reader>,
    deadlines: Deadlines,
    clock: Pin<Box<Sleep>>,
    clock_set: bool,
    goaway: Goaway,
    router: Arc<Router>,
    peer: Origin,
}

impl<T: Gather> Connection<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionEnd> {
        self.bell.attend(cx.waker());
        self.stream_bell.attend(cx.waker());
        let mut rounds = 0;
        let end = loop {
            // Streams first: what woke this task is mostly a partner's bytes, and what the streams then hand to
            // HTTP/2 goes out in the same round.
            if self.stream_bell.answer() {
                self.poll_streams();
            }
            self.allow_reading();
            if self.bell.answer()
                && let Poll::Ready(end) = self.poll_http2()
            {
                break Some(end);
            }
            if let Poll::Ready(end) = self.poll_deadlines(cx) {
                break Some(end);
            }
            if self.gives_way() {
                break Some(ConnectionEnd::Memory);
            }
            if let Some(end) = self.spare.as_ref().and_then(Spare::told) {
                break Some(end);
            }
            self.tell_of_drain();
            if self.bell.is_rung() || self.stream_bell.is_rung() {
                rounds += 1;
                if rounds < ROUNDS {
                    continue;
                }
            }
            break None;
        };
        if let Poll::Ready(end) = self.poll_push(end) {
            return Poll::Ready(end);
        }
        let rung = self.bell.leave() | self.stream_bell.leave();
        if rung {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Lets HTTP/2 read as much as memory allows.
    fn allow_reading(&mut self) {
        let next = self.allowance.next(self.passage.received());
        let held = self.passage.held().bytes();
        self.save_kernel_memory();
        let reading = self.router.memory.reading(held, &self.reader);
        self.passage.set_paused(reading != Reading::Free);
        match reading {
            Reading::Free => self.wire.allow(Some(next), false),
            Reading::Little => self.wire.allow(Some(Allowance::LITTLE), true),
            Reading::Later => self.wire.allow(None, true),
        }
    }

    /// While memory is short the kernel's buffers count, too.
    fn save_kernel_memory(&mut self) {
        let thrifty = match self.router.memory.level() {
            Level::Normal => false,
            Level::NoGrowth => self.thrifty,
            _ => true,
        };
        if thrifty != self.thrifty {
            self.thrifty = thrifty;
            self.wire.set_thrifty(thrifty);
        }
    }

    /// Nobody misses a connection without streams: gRPC peers open another when they need one.
    fn gives_way(&self) -> bool {
        self.any_call && self.streams.is_empty() && self.router.memory.level() >= Level::Evict
    }

    /// Sends all that this round wrote, in as few calls as possible.
    fn poll_push(&mut self, end: Option<ConnectionEnd>) -> Poll<ConnectionEnd> {
        // When the socket has room again, HTTP/2 looks again, too.
        let mut cx = Context::from_waker(&self.waker);
        let pushed = self.wire.poll_push(&mut cx);
        match (end, pushed) {
            (Some(end), _) => Poll::Ready(end),
            (None, Poll::Ready(Err(_))) => Poll::Ready(ConnectionEnd::TransportError),
            (None, _) => Poll::Pending,
        }
    }

    fn poll_streams(&mut self) {
        let mut cx = Context::from_waker(&self.stream_waker);
        while let Poll::Ready(Some(())) = self.streams.poll_next_unpin(&mut cx) {}
        let carries = self.calls.streams() > 0;
        if carries != self.carries {
            self.changed_load(carries);
        }
        if self.calls.others() > 0 {
            self.spare = None;
        }
        if self.streams.is_empty() {
            // Sets the idle deadline anew.
            self.clock_set = true;
        }
    }

    /// The first stream has been let in, or the last one has gone.
    fn changed_load(&mut self, carries: bool) {
        let metrics = &self.router.metrics;
        let gauge = if carries {
            self.spare = None;
            &metrics.connections_with_streams
        } else {
            self.clock_set = true;
            &metrics.connections_without_streams
        };
        self.counted = Held::new(gauge);
        self.carries = carries;
    }

    /// Whoever has had no stream for a while, and asks for nothing else, can be taken back. Otherwise: when to look again.
    fn look_for_spare(&mut self, now: Instant) -> Option<Instant> {
        let since = self.deadlines.idle_since()?;
        if self.spare.is_some() || self.calls.others() > 0 {
            return None;
        }
        if since + SPARE_AFTER > now {
            return Some(since + SPARE_AFTER);
        }
        let (address, bell) = (&self.peer.address, self.bell.clone());
        self.spare = Some(self.router.limits.spares.enter(address, since, bell));
        None
    }

    fn poll_http2(&mut self) -> Poll<ConnectionEnd> {
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        self.goaway.watch(&mut cx);
        if let Some(pings) = &mut self.pings
            && let Poll::Ready(Ok(_)) = pings.poll_pong(&mut cx)
        {
            let now = Instant::now();
            self.deadlines.ponged(now);
            self.watch_shrinking();
            let path = self.wire.round_trip();
            let change = self.growth.ponged(self.passage.released(), now, path);
            self.change_window(change);
            self.clock_set = true;
        }
        loop {
            match self.http2.poll_accept(&mut cx) {
                Poll::Pending => {
                    self.watch_window();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok((request, respond)))) => self.start(request, respond),
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(peer = %self.peer, %error, "connection ended with an error");
                    return Poll::Ready(end_of(&error));
                }
                Poll::Ready(None) => return Poll::Ready(ConnectionEnd::PeerClosed),
            }
        }
    }

    fn start(&mut self, request: Request<RecvStream>, respond: SendResponse<Outgoing>) {
        self.any_call = true;
        let router = self.router.clone();
        let peer = self.peer.clone();
        let passage = self.passage.clone();
        let calls = self.calls.clone();
        // What HTTP/2 has for this connection, whatever may have been set since.
        let window = self.growth.start();
        // Not one block: that would keep room for the request as long as the stream lives.
        let task = lazy(move |_| {
            if request.uri().path() == call::PATH {
                let caller = Caller {
                    shared: &router,
                    peer: &peer,
                    counters: &passage,
                };
                let task = call::serve(&caller, request, respond, window);
                // What was refused is no stream.
                let task = task.map(|task| {
                    let counted = calls.stream();
                    task.map(move |()| drop(counted))
                });
                Either::Left(OptionFuture::from(task).map(drop))
            } else {
                let counted = calls.other();
                let task = routes::serve(router, &peer, request, respond, &passage);
                Either::Right(Box::pin(task).map(move |()| drop(counted)))
            }
        });
        let metrics = self.router.metrics.clone();
        let peer = self.peer.ip;
        // A panic ends its stream only: the stream's parts are dropped, which resets it and tells the partner.
        let task = AssertUnwindSafe(task.flatten())
            .catch_unwind()
            .map(move |result| {
                if result.is_err() {
                    metrics.panics.inc();
                    tracing::error!(%peer, "a stream's task panicked; its stream was reset");
                }
            });
        self.streams.push(Box::pin(task));
        // Each stream gets the grown window; if that cannot be paid for, none does.
        let window = self.growth.window();
        if window > self.growth.start() {
            let extra = u64::from(window - self.growth.start());
            if !self.grant.resize(extra * self.streams.len() as u64) {
                self.change_window(Change::Shrink(self.growth.start()));
            }
        }
        self.stream_bell.ring();
    }

    /// Measures the path while bytes pass.
    fn watch_window(&mut self) {
        // Windows grow by what was passed on, not by what arrived: a peer whose partner does not read earns nothing.
        let released = self.passage.released();
        if self.growth.is_busy(released) && self.growth.should_ping(released, Instant::now()) {
            self.ping();
        }
    }

    /// Changes the window of all streams, if the budget allows.
    fn change_window(&mut self, change: Change) {
        let (Change::Grow(window) | Change::Shrink(window)) = change else {
            return;
        };
        if matches!(change, Change::Grow(_)) && self.router.memory.level() >= Level::NoGrowth {
            return;
        }
        let extra = u64::from(window.saturating_sub(self.growth.start()));
        if self.grant.resize(extra * self.streams.len() as u64)
            // Refused while the peer has not acknowledged the change before; there will be another sample.
            && self.http2.set_initial_window_size(window).is_ok()
        {
            self.growth.changed(window);
            self.passage.set_window(window);
            if matches!(change, Change::Shrink(_)) {
                self.shrinking = Some(SHRINK_PINGS);
                self.ping();
            }
            self.bell.ring();
        }
    }

    fn ping(&mut self) {
        if let Some(pings) = &mut self.pings {
            // Refused only while one is on its way; then that one's answer is taken for it.
            let _ = pings.send_ping(Ping::opaque());
        }
        self.bell.ring();
    }

    /// A PING was answered: whether the peer knows by now that its windows are smaller.
    fn watch_shrinking(&mut self) {
        let Some(pings) = self.shrinking else {
            return;
        };
        // HTTP/2 refuses a change, and be it none, until the peer has acknowledged the one before.
        if self
            .http2
            .set_initial_window_size(self.growth.window())
            .is_err()
        {
            if pings > 0 {
                self.shrinking = Some(pings - 1);
                self.ping();
            }
            return;
        }
        self.shrinking = None;
        self.passage.set_shrunk();
        self.router.streams.for_each(|entry| {
            if entry.is_on(&self.passage) {
                entry.control.wake();
            }
        });
        self.stream_bell.ring();
    }

    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionEnd> {
        loop {
            if self.clock_set {
                self.clock_set = false;
            } else if self.clock.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let activity = self.wire.activity();
            let view = View {
                read: activity.read,
                written: activity.written,
                blocked: activity.blocked,
                any_stream: self.calls.any_stream(),
                streams: self.calls.streams(),
                other_calls: self.calls.others(),
                kept: self.peer.address.has_stream(),
            };
            let now = Instant::now();
            match self.deadlines.check(view, now) {
                Verdict::End(end) => return Poll::Ready(end),
                Verdict::Retire => {
                    self.http2.graceful_shutdown();
                    self.bell.ring();
                    self.clock_set = true;
                }
                Verdict::EndStreams(after) => {
                    self.end_streams(Cause::ConnectionTooOld(after));
                    self.clock_set = true;
                }
                Verdict::Ping => {
                    self.ping();
                    self.clock_set = true;
                }
                Verdict::Wait(next) => {
                    if self.growth.look_at().is_some_and(|at| at <= now) {
                        let need = self.router.limits.windows.is_tight()
                            || self.router.memory.level() >= Level::NoGrowth;
                        let change = self.growth.look(self.passage.released(), now, need);
                        self.change_window(change);
                    }
                    let spare_at = self.look_for_spare(now);
                    let next = [next, self.growth.look_at(), spare_at];
                    let next = next.into_iter().flatten().min();
                    // A day stands for never: a sleep must be registered somewhere.
                    let next = next.unwrap_or(now + Duration::from_secs(86_400));
                    self.clock.as_mut().reset(next);
                }
            }
        }
    }

    /// Has each stream of this connection tell its peer and its partner.
    fn end_streams(&self, cause: Cause) {
        self.router.streams.for_each(|entry| {
            if entry.is_on(&self.passage) {
                entry.control.end(cause);
            }
        });
    }

    fn tell_of_drain(&mut self) {
        if self.goaway.take_due(self.any_call || self.spare.is_some()) {
            self.http2.graceful_shutdown();
            self.bell.ring();
        }
    }

    /// Lets the peer and the streams know, then drops what is left.
    async fn close(self, end: ConnectionEnd) {
        let Self {
            mut http2,
            mut streams,
            wire,
            ..
        } = self;
        let reason = match end {
            ConnectionEnd::PeerClosed
            | ConnectionEnd::TransportError
            | ConnectionEnd::ProtocolError => None,
            _ => Some(h2::Reason::NO_ERROR),
        };
        wire.set_deferred(false);
        if let Some(reason) = reason {
            http2.abrupt_shutdown(reason);
            let flushed = poll_fn(|cx| http2.poll_closed(cx).map(|_| ()));
            let _ = timeout(PARTING, flushed).await;
        }
        // The streams learn that the connection is gone even if HTTP/2 has not noticed, as when a push failed.
        drop(http2);
        let _ = timeout(LAST_WORDS, async {
            while streams.next().await.is_some() {}
        })
        .await;
        if end == ConnectionEnd::Memory && timeout(PARTING, closed(wire.clone())).await.is_err() {
            // The kernel would keep it for minutes, and counts it as this process's.
            wire.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;
    use crate::transport::tls::stream::TlsStream;

    /// Thousands of connections wait, each with its streams: what they keep shall not grow unseen.
    #[test]
    fn who_waits_keeps_little() {
        // 2,480 bytes while it kept room for its end.
        assert!(call::kept(serve::<TlsStream<TcpStream>>) <= 1_400);
        // 1,656 bytes while it kept the request.
        assert!(call::kept_by_call() <= 1_500);
    }
}
