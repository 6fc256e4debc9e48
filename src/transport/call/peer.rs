//! A peer's HTTP/2 stream as the splice sees it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::Response;

use crate::transport::{http2::outgoing::Outgoing, memory::read_budget::Received};
use crate::{
    grpc::{headers, status},
    splice::{Broken, Sink, Source, control::Control, ending::Ending, gauge::Gauge},
};

pub(crate) fn broken(error: &h2::Error) -> Broken {
    if error.is_reset() {
        Broken::Cancelled
    } else {
        Broken::Lost
    }
}

/// What the peer sends.
#[derive(Debug)]
pub struct PeerSource {
    stream: RecvStream,
    passage: Arc<Passage>,
    /// Of the times that the window was made smaller, those that this stream has seen.
    shrunk: u32,
    is_router: bool,
}

/// What passes through a connection's streams. One task counts and looks, so all access is relaxed.
#[derive(Debug, Default)]
pub struct Passage {
    /// Credit granted anew, bytes.
    released: AtomicU64,
    /// Bytes received.
    received: AtomicU64,
    /// DATA frames received.
    frames: AtomicU64,
    /// What the lanes hold that these streams fill.
    held: Arc<Gauge>,
    /// Streams admitted and not yet gone.
    streams: AtomicU32,
    /// The connection is not read for want of memory.
    paused: AtomicBool,
    /// The window of each of the connection's streams, bytes.
    window: AtomicU32,
    /// How often the window was made smaller, and the peer knows.
    shrunk: AtomicU32,
    /// Calls that ask for no token and are open.
    calls: AtomicU32,
}

/// One call that asks for no token; ended on drop.
#[derive(Debug)]
pub struct OpenCall(Arc<Passage>);

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Passage {
    /// Credit granted anew so far, bytes.
    pub fn released(&self) -> u64 {
        self.released.load(Ordering::Relaxed)
    }

    /// What was received so far.
    pub fn received(&self) -> Received {
        Received {
            bytes: self.received.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
        }
    }

    /// What the lanes hold that these streams fill.
    pub fn held(&self) -> &Arc<Gauge> {
        &self.held
    }

    /// Whether the connection is not read for want of memory.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// The connection is read, or not.
    pub fn set_paused(&self, paused: bool) {
        // Mostly nothing changes, and a load is cheaper.
        if self.is_paused() != paused {
            self.paused.store(paused, Ordering::Relaxed);
        }
    }

    /// Streams admitted and not yet gone.
    pub fn streams(&self) -> u32 {
        self.streams.load(Ordering::Relaxed)
    }

    /// A stream was admitted.
    pub fn opened(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// It is gone.
    pub fn closed(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// What a peer may send on each stream before it is read, bytes.
    pub fn window(&self) -> u32 {
        self.window.load(Ordering::Relaxed)
    }

    /// The connection has changed its streams' window.
    pub fn set_window(&self, bytes: u32) {
        self.window.store(bytes, Ordering::Relaxed);
    }

    /// The peer knows that the window is smaller. Streams take note once they are polled.
    pub fn set_shrunk(&self) {
        self.shrunk.fetch_add(1, Ordering::Relaxed);
    }

    /// One more call that asks for no token, unless `limit` are open.
    pub fn open_call(self: &Arc<Self>, limit: u32) -> Option<OpenCall> {
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        let call = OpenCall(self.clone());
        (before < limit).then_some(call)
    }

    fn add(counter: &AtomicU64, more: u64) {
        counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }
}

impl PeerSource {
    /// Counts into `passage`. `is_router`: the peer is another router, which says how the stream of its own peer ended.
    pub fn new(stream: RecvStream, passage: Arc<Passage>, is_router: bool) -> Self {
        Self {
            stream,
            shrunk: passage.shrunk.load(Ordering::Relaxed),
            passage,
            is_router,
        }
    }

    /// Sends the credit that was not worth a frame while the window was larger. It may be all that the peer has of the
    /// smaller one, and nothing comes then that would have it sent.
    fn send_credit(&mut self) {
        let shrunk = self.passage.shrunk.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.shrunk, shrunk) != shrunk {
            // HTTP/2 (h2) looks at what has become of it only when credit is released, and be it none.
            let _ = self.stream.flow_control().release_capacity(0);
        }
    }

    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => {
                let ending = trailers.as_ref().and_then(headers::ending);
                ending.map(|ending| Err(Broken::Told(ending)))
            }
            Err(error) => Some(Err(broken(&error))),
        })
    }
}

impl Source for PeerSource {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        self.send_credit();
        loop {
            return Poll::Ready(match ready!(self.stream.poll_data(cx)) {
                // An empty DATA frame is nothing to forward.
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(chunk)) => {
                    Passage::add(&self.passage.received, chunk.len() as u64);
                    Passage::add(&self.passage.frames, 1);
                    Some(Ok(chunk))
                }
                Some(Err(error)) => Some(Err(broken(&error))),
                None if self.is_router => ready!(self.poll_ending(cx)),
                None => None,
            });
        }
    }

    fn release(&mut self, _: &mut Context<'_>, bytes: usize) {
        // Fails only if more is released than was received, which the lane's counters rule out, or if the
        // stream is gone, which the next read will tell.
        let _ = self.stream.flow_control().release_capacity(bytes);
        Passage::add(&self.passage.released, bytes as u64);
    }
}

/// The way back: first the response's head, once, then its body.
#[derive(Debug)]
pub struct PeerSink {
    respond: SendResponse<Outgoing>,
    body: Option<SendStream<Outgoing>>,
    control: Arc<Control>,
    is_router: bool,
}

impl PeerSink {
    /// Nothing is sent yet. What is unsent counts in `control`. `is_router`: as for [`PeerSource::new`], the other way round.
    pub fn new(respond: SendResponse<Outgoing>, control: Arc<Control>, is_router: bool) -> Self {
        Self {
            respond,
            body: None,
            control,
            is_router,
        }
    }

    /// Sends the response's head. Later calls do nothing.
    pub fn open(&mut self, head: Response<()>) -> Result<(), Broken> {
        if self.body.is_none() {
            let body = self.respond.send_response(head, false);
            self.body = Some(body.map_err(|error| broken(&error))?);
        }
        Ok(())
    }
}

/// How many bytes the stream takes now, at least one, given that `want` wait.
pub(crate) fn poll_capacity<B: Buf>(
    body: &mut SendStream<B>,
    cx: &mut Context<'_>,
    want: usize,
) -> Poll<Result<usize, Broken>> {
    // Asking costs a lock of the connection and may queue the stream, so use up what is there first.
    let capacity = body.capacity();
    if capacity >= want {
        return Poll::Ready(Ok(capacity));
    }
    body.reserve_capacity(want);
    loop {
        let capacity = body.capacity();
        if capacity > 0 {
            return Poll::Ready(Ok(capacity));
        }
        match ready!(body.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
            // The stream is no longer open for sending; the reset says why, if there is one.
            None => {
                return match body.poll_reset(cx) {
                    Poll::Ready(Ok(_)) => Poll::Ready(Err(Broken::Cancelled)),
                    _ => Poll::Ready(Err(Broken::Lost)),
                };
            }
        }
    }
}

impl Sink for PeerSink {
    fn poll_capacity(&mut self, cx: &mut Context<'_>, want: usize) -> Poll<Result<usize, Broken>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Err(Broken::Lost));
        };
        poll_capacity(body, cx, want)
    }

    fn send(&mut self, chunk: Bytes) -> Result<(), Broken> {
        let Some(body) = &mut self.body else {
            return Err(Broken::Lost);
        };
        let chunk = Outgoing::of(&self.control, chunk);
        body.send_data(chunk, false).map_err(|error| broken(&error))
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let reset = match &mut self.body {
            Some(body) => ready!(body.poll_reset(cx)),
            None => ready!(self.respond.poll_reset(cx)),
        };
        Poll::Ready(match reset {
            Ok(_) => Broken::Cancelled,
            Err(error) => broken(&error),
        })
    }

    fn knows_goaway(&self) -> bool {
        !self.is_router
    }

    fn finish(&mut self, ending: Ending) {
        let mut trailers = status::trailers(ending.code(), &ending.message());
        let seen = if self.is_router {
            // It tells its own peer, and so gets this as that one sees it.
            ending.for_other()
        } else {
            ending
        };
        headers::set_ending(&mut trailers, seen);
        // An error here means that the peer is gone already.
        match &mut self.body {
            Some(body) => drop(body.send_trailers(trailers)),
            None => {
                let mut head = status::head();
                head.headers_mut().extend(trailers);
                drop(self.respond.send_response(head, true));
            }
        }
    }

    fn reset(&mut self) {
        // Not CANCEL, which grpc.aio takes for a cancellation by its own side; clients read this as
        // RESOURCE_EXHAUSTED.
        const REASON: Reason = Reason::ENHANCE_YOUR_CALM;
        match &mut self.body {
            Some(body) => body.send_reset(REASON),
            None => self.respond.send_reset(REASON),
        }
    }
}
