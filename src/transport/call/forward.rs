//! A waiting stream's other side at the successor: the two lanes are spliced with a stream there, as with a partner's.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use tokio::time::{Instant, timeout};

use crate::transport::{
    call::{
        peer::{self, Passage, broken},
        stream::{self, WHOLE_MESSAGE},
        successor::{Driver, Reached},
    },
    http2::outgoing::Outgoing,
    limits::seats::Seat,
    shared::{Offer, Registered, Router},
};
use crate::{
    grpc::headers,
    observe::{
        metrics::{Held, SuccessorStream},
        panics::caught,
    },
    splice::{
        Broken, Sink, Source, control::Control, drive::Deadlines, ending::Ending, scanner::Scanner,
        side::Side,
    },
};

/// After the stream has ended its connection may take so long to send the rest.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Splices the stream that made `offer` with the one at the successor. Both have met their partner.
pub(crate) fn start(router: &Arc<Router>, reached: Reached, offer: Offer) {
    let first = &offer.live;
    let passage = Arc::new(Passage::default());
    let registered = router.register(
        first.subject.clone(),
        reached.address,
        None,
        Instant::now(),
        passage,
    );
    registered.live.set_first(first.id);
    registered.live.control.set_paired();
    let settings = router.settings.load();
    let window = settings.streams.initial_window.bytes_u32();
    let compressed = reached.encodings.sends.is_some();
    let scanner = Scanner::new(
        settings.streams.max_message_size.bytes() as u64,
        u64::from(WHOLE_MESSAGE),
        compressed,
    );
    router.metrics.streams.inc();
    let mut outcome = reached.outcome;
    outcome.set(SuccessorStream::Forwarded);
    drop(outcome);
    let forward = Forward {
        _open: Held::new(&router.metrics.successor_streams_open),
        _seat: offer.seat,
        other: first.peer,
        linger: settings.streams.linger,
        router: router.clone(),
        registered,
    };
    let source = SuccessorSource {
        stream: reached.receive,
        believed: reached.believed,
    };
    let sink = SuccessorSink {
        body: reached.send,
        control: forward.registered.live.control.clone(),
        half_closed: false,
    };
    let lanes = offer.lanes.into_inner();
    let side = Side::new(source, sink, scanner, lanes, window);
    let task = Box::pin(forward.run(side, reached.driver));
    let (stop, metrics) = (router.stop.clone(), router.metrics.clone());
    let peer = first.peer;
    router.forwards.spawn(async move {
        let what = "a forwarded stream's task panicked; the peer was told";
        let task = caught(&metrics, peer, what, task);
        stop.run_until_cancelled_owned(task).await
    });
}

type SuccessorSide = Side<SuccessorSource, SuccessorSink>;

struct Forward {
    router: Arc<Router>,
    registered: Registered,
    other: std::net::IpAddr,
    linger: Duration,
    _open: Held,
    _seat: Seat,
}

impl Forward {
    async fn run(self, side: SuccessorSide, mut driver: Driver) {
        let lost = {
            let mut talk = std::pin::pin!(self.talk(side));
            tokio::select! {
                biased;
                () = &mut talk => false,
                () = &mut driver => {
                    // The stream knows by now.
                    talk.await;
                    true
                }
            }
        };
        if !lost {
            let _ = timeout(LAST_WORDS, driver).await;
        }
    }

    async fn talk(self, mut side: SuccessorSide) {
        let (router, live) = (&self.router, &self.registered.live);
        let deadlines = Deadlines {
            // Those that concern the peers are kept where the peers are.
            pairing: Duration::ZERO,
            idle: None,
            stall: None,
            lifetime: None,
            caller: None,
            linger: self.linger,
        };
        let ending = stream::splice(router, live, &mut side, &deadlines).await;
        let told = stream::conclude(router, live, &mut side, ending, true, self.linger).await;
        let met = Some((self.other, Duration::ZERO));
        stream::record(router, live, side.totals(), ending, met, told);
    }
}

/// What the successor sends: what its peer does, and behind it how that one's stream ended.
struct SuccessorSource {
    stream: RecvStream,
    /// Whether it is a router, as only those know that.
    believed: bool,
}

impl SuccessorSource {
    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<Option<Broken>> {
        let trailers = match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => trailers.unwrap_or_default(),
            Err(error) => return Poll::Ready(Some(broken(&error))),
        };
        let ok = |trailers: &HeaderMap| {
            let status = trailers.get("grpc-status");
            status.is_some_and(|status| status.as_bytes() == b"0")
        };
        Poll::Ready(match headers::ending(&trailers) {
            Some(ending) if self.believed => Some(Broken::Told(ending)),
            _ if ok(&trailers) => None,
            _ => Some(Broken::Lost),
        })
    }
}

impl Source for SuccessorSource {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            return Poll::Ready(match ready!(self.stream.poll_data(cx)) {
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(chunk)) => Some(Ok(chunk)),
                Some(Err(error)) => Some(Err(broken(&error))),
                None => ready!(self.poll_ending(cx)).map(Err),
            });
        }
    }

    fn release(&mut self, _: &mut Context<'_>, bytes: usize) {
        // As for a peer: fails only if the stream is gone.
        let _ = self.stream.flow_control().release_capacity(bytes);
    }
}

/// The way to the successor.
struct SuccessorSink {
    body: SendStream<Outgoing>,
    control: Arc<Control>,
    half_closed: bool,
}

impl Sink for SuccessorSink {
    fn poll_capacity(&mut self, cx: &mut Context<'_>, want: usize) -> Poll<Result<usize, Broken>> {
        peer::poll_capacity(&mut self.body, cx, want)
    }

    fn send(&mut self, chunk: Bytes) -> Result<(), Broken> {
        let chunk = Outgoing::of(&self.control, chunk);
        let sent = self.body.send_data(chunk, false);
        sent.map_err(|error| broken(&error))
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        Poll::Ready(match ready!(self.body.poll_reset(cx)) {
            Ok(_) => Broken::Cancelled,
            Err(error) => broken(&error),
        })
    }

    fn knows_goaway(&self) -> bool {
        false
    }

    fn half_close(&mut self) {
        self.half_closed = true;
        // An error means that the stream is gone, which the next read tells.
        let _ = self.body.send_data(Outgoing::default(), true);
    }

    fn finish(&mut self, ending: Ending) {
        // After a half-close nothing can follow; the stream is reset when it is dropped, behind all that was sent.
        if !self.half_closed {
            let mut trailers = HeaderMap::new();
            headers::set_ending(&mut trailers, ending.for_other());
            let _ = self.body.send_trailers(trailers);
        }
    }

    fn reset(&mut self) {
        self.body.send_reset(Reason::CANCEL);
    }
}
