//! One connection: HTTP/2 over any byte stream, as one task that owns all its streams.
//!
//! Thousands of connections wait at once, each with its streams, and a future keeps room for whatever it may await. So what
//! is needed once or seldom is boxed, here and where connections are [accepted](crate::transport::accept): the handshakes,
//! the end, calls of other services.

use std::{
    future::poll_fn,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, Either, OptionFuture, lazy},
    stream::FuturesUnordered,
};
use h2::{RecvStream, server::SendResponse};
use http::Request;
use tokio::time::{Instant, timeout};

use crate::transport::{
    call::{self, Caller},
    counters::ConnectionCounters,
    http2::{
        closing::{close, end_of},
        goaway::Goaway,
        load::Load,
        read_gate::ReadGate,
        routes,
        timers::{Deadlines, Timer, Verdict, View},
        window::Growth,
        windows::Windows,
        wire::{Gather, Http2, Wire},
    },
    limits::addresses::Origin,
    memory::level::Level,
    outbound,
    outgoing::Outgoing,
    settings::Settings,
    shared::Shared,
    wake_flag::Woken,
};
use crate::{
    observe::metrics::ConnectionEnd,
    splice::{control::Control, ending::Cause},
};

/// How often the connection and its streams are looked at in turn before other tasks get the thread.
const ROUNDS: usize = 16;

/// Serves HTTP/2 on `io` until it ends, and says why it ended.
pub async fn serve<T>(router: Arc<Shared>, peer: Origin, wire: Wire<T>) -> ConnectionEnd
where
    T: Gather + Send + 'static,
{
    let settings = settings_for(&router, &peer);
    let builder = builder(&settings, settings.streams.initial_window.bytes_u32());
    let preface = Box::pin(builder.handshake(wire.clone()));
    let http2 = match timeout(settings.connections.preface_timeout, preface).await {
        Err(_) => return ConnectionEnd::PrefaceTimeout,
        Ok(Err(error)) => return end_of(&error),
        Ok(Ok(http2)) => Box::new(http2),
    };
    wire.set_deferred(true);
    let mut connection = Connection::new(http2, wire, router, peer, settings);
    let end = poll_fn(|cx| connection.poll(cx)).await;
    let told = connection.told(end);
    let Connection {
        http2,
        streams,
        wire,
        ..
    } = connection;
    Box::pin(close(http2, streams, wire, end)).await;
    told
}

/// Another router is a peer that must be noticed soon when it is silent, and keeps its connection for the next call.
fn settings_for(router: &Shared, peer: &Origin) -> Arc<Settings> {
    let settings = router.settings.load_full();
    if !peer.is_router {
        return settings;
    }
    let mut settings = Settings::clone(&settings);
    let connections = &mut settings.connections;
    // What comes may be noticed as late as the next PING is due, so it takes three times this.
    let often = outbound::PING / 2;
    connections.keepalive_interval = connections.keepalive_interval.min(often);
    connections.keepalive_timeout = connections.keepalive_timeout.min(often);
    connections.idle_timeout = None;
    connections.max_age = None;
    Arc::new(settings)
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

/// From -1 to 1. Hashing with a fresh key is random enough to spread reconnects.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let hash = std::hash::RandomState::new().build_hasher().finish();
    f64::from((hash % 2001) as u32) / 1000.0 - 1.0
}

struct Connection<T: Gather> {
    http2: Box<Http2<T>>,
    /// HTTP/2 has work, or something has changed that concerns the connection as a whole.
    work: Woken,
    streams: FuturesUnordered<BoxFuture<'static, ()>>,
    /// A stream has work.
    stream_work: Woken,
    load: Load,
    wire: Wire<T>,
    passage: Arc<ConnectionCounters>,
    read_gate: ReadGate,
    windows: Windows,
    deadlines: Deadlines,
    timer: Timer,
    goaway: Goaway,
    router: Arc<Shared>,
    peer: Origin,
}

impl<T: Gather> Connection<T> {
    fn new(
        mut http2: Box<Http2<T>>,
        wire: Wire<T>,
        router: Arc<Shared>,
        peer: Origin,
        settings: Arc<Settings>,
    ) -> Self {
        let now = Instant::now();
        let (work, stream_work) = (Woken::new(), Woken::new());
        let memory = &router.memory;
        let passage = Arc::<ConnectionCounters>::default();
        let (window, most) = (
            settings.streams.initial_window.bytes_u32(),
            settings.streams.max_window.bytes_u32(),
        );
        let growth = Growth::new(window, most, now);
        Self {
            windows: Windows::new(
                growth,
                http2.ping_pong(),
                router.limits.windows.clone(),
                memory.clone(),
                passage.clone(),
                work.flag.clone(),
            ),
            http2,
            streams: FuturesUnordered::new(),
            load: Load::new(&router.metrics),
            wire,
            passage,
            read_gate: ReadGate::new(memory.clone(), work.flag.clone()),
            work,
            stream_work,
            deadlines: Deadlines::new(settings, now, jitter()),
            timer: Timer::new(now),
            goaway: Goaway::new(&router.life),
            router,
            peer,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionEnd> {
        self.work.flag.start_looking(cx.waker());
        self.stream_work.flag.start_looking(cx.waker());
        let mut rounds = 0;
        let end = loop {
            if let Poll::Ready(end) = self.poll_round(cx) {
                break Some(end);
            }
            rounds += 1;
            let more = self.work.flag.is_set() || self.stream_work.flag.is_set();
            if !more || rounds == ROUNDS {
                break None;
            }
        };
        if let Poll::Ready(end) = self.poll_push(end) {
            return Poll::Ready(end);
        }
        let more = self.work.flag.stop_looking() | self.stream_work.flag.stop_looking();
        if more {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn poll_round(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionEnd> {
        // Streams first: what woke this task is mostly a partner's bytes, and what the streams then hand to
        // HTTP/2 goes out in the same round.
        if self.stream_work.flag.take() {
            self.poll_streams();
        }
        self.read_gate.open(&self.wire, &self.passage);
        if self.work.flag.take()
            && let Poll::Ready(end) = self.poll_http2()
        {
            return Poll::Ready(end);
        }
        if let Poll::Ready(end) = self.poll_deadlines(cx) {
            return Poll::Ready(end);
        }
        if self.gives_way() {
            return Poll::Ready(ConnectionEnd::Memory);
        }
        if let Some(end) = self.load.told() {
            return Poll::Ready(end);
        }
        if self
            .goaway
            .take_due(self.load.any_call() || self.load.is_spare())
        {
            self.http2.graceful_shutdown();
            self.work.flag.set();
        }
        Poll::Pending
    }

    /// Nobody misses a connection without streams: gRPC peers open another when they need one.
    fn gives_way(&self) -> bool {
        self.load.any_call()
            && self.streams.is_empty()
            && self.router.memory.level() >= Level::Evict
    }

    /// Sends all that this round wrote, in as few calls as possible.
    fn poll_push(&mut self, end: Option<ConnectionEnd>) -> Poll<ConnectionEnd> {
        // When the socket has room again, HTTP/2 looks again, too.
        let pushed = self.wire.poll_push(&mut self.work.context());
        match (end, pushed) {
            (Some(end), _) => Poll::Ready(end),
            (None, Poll::Ready(Err(_))) => Poll::Ready(ConnectionEnd::TransportError),
            (None, _) => Poll::Pending,
        }
    }

    fn poll_streams(&mut self) {
        let mut cx = self.stream_work.context();
        while let Poll::Ready(Some(())) = self.streams.poll_next_unpin(&mut cx) {}
        let none_left = self.load.update(&self.router.metrics);
        if none_left || self.streams.is_empty() {
            // Sets the idle deadline anew.
            self.timer.set_stale();
        }
    }

    fn poll_http2(&mut self) -> Poll<ConnectionEnd> {
        self.goaway.watch(&mut self.work.context());
        if self.windows.poll_pong(&mut self.work.context()) {
            self.ponged();
        }
        loop {
            let accepted = self.http2.poll_accept(&mut self.work.context());
            match accepted {
                Poll::Pending => {
                    self.windows.measure();
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

    /// A PING was answered.
    fn ponged(&mut self) {
        let (now, path) = (Instant::now(), self.wire.round_trip());
        self.deadlines.ponged(now);
        let streams = self.streams.len();
        if self.windows.ponged(&mut *self.http2, streams, now, path) {
            self.for_each_stream(Control::wake);
            self.stream_work.flag.set();
        }
        self.timer.set_stale();
    }

    fn start(&mut self, request: Request<RecvStream>, respond: SendResponse<Outgoing>) {
        let task = self.task(request, respond);
        self.streams.push(task);
        self.windows
            .stream_came(&mut *self.http2, self.streams.len());
        self.stream_work.flag.set();
    }

    fn task(
        &mut self,
        request: Request<RecvStream>,
        respond: SendResponse<Outgoing>,
    ) -> BoxFuture<'static, ()> {
        let router = self.router.clone();
        let peer = self.peer.clone();
        let passage = self.passage.clone();
        let calls = self.load.call_came();
        let window = self.windows.start();
        // Not one block: that would keep room for the request as long as the stream lives.
        let task = lazy(move |_| {
            if request.uri().path() == crate::grpc::call::PATH {
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
                let counted = calls.others.add();
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
        Box::pin(task)
    }

    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionEnd> {
        loop {
            if self.timer.poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            match self.deadlines.check(self.view(), now) {
                Verdict::End(end) => return Poll::Ready(end),
                Verdict::Retire => {
                    self.http2.graceful_shutdown();
                    self.work.flag.set();
                    self.timer.set_stale();
                }
                Verdict::EndStreams(after) => {
                    self.for_each_stream(|control| control.end(Cause::ConnectionTooOld(after)));
                    self.timer.set_stale();
                }
                Verdict::Ping => {
                    self.windows.ping();
                    self.timer.set_stale();
                }
                Verdict::Wait(next) => {
                    let streams = self.streams.len();
                    let look_at = self.windows.look(&mut *self.http2, streams, now);
                    let spare_at = self.load.look_for_spare(
                        self.deadlines.idle_since(),
                        now,
                        (&self.router.limits.spares, &self.peer.address.spares),
                        &self.work.flag,
                    );
                    let next = [next, look_at, spare_at].into_iter().flatten().min();
                    self.timer.set(next);
                }
            }
        }
    }

    fn view(&self) -> View {
        let activity = self.wire.activity();
        let calls = self.load.calls();
        View {
            read: activity.read,
            written: activity.written,
            blocked: activity.blocked,
            any_stream: calls.any_stream(),
            streams: calls.streams.open(),
            other_calls: calls.others.open(),
            kept: self.peer.address.has_stream(),
        }
    }

    /// Does something with each stream of this connection.
    fn for_each_stream(&self, act: impl Fn(&Control)) {
        self.router.streams.for_each(|entry| {
            if entry.is_on(&self.passage) {
                act(&entry.control);
            }
        });
    }

    /// Why it ended, given that its peer may have closed it because it was told to.
    fn told(&self, end: ConnectionEnd) -> ConnectionEnd {
        match end {
            ConnectionEnd::PeerClosed if self.goaway.is_sent() => ConnectionEnd::Drained,
            ConnectionEnd::PeerClosed if self.deadlines.is_retired() => ConnectionEnd::Age,
            end => end,
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
