//! Shows an HTTP/2 stream as the splice sees it, whoever is at the other end.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, Response};

use crate::transport::{counters::ConnectionCounters, outgoing::Outgoing};
use crate::{
    grpc::{headers, status},
    splice::{Broken, Sink, Source, control::Control, ending::Ending},
};

/// Tells who is at the other end, and so how an ending is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// A peer: it is told by a GOAWAY frame and the status, and its half-close says all.
    Peer,
    /// Another router, which forwards its own peer's stream here. Both say in trailers how the peers' streams ended.
    Router,
    /// The router to which a stream is forwarded from here, as a call that this one makes.
    Successor {
        /// Whether it has proved that it is a router, since only those know how their peers' streams end.
        believed: bool,
    },
}

fn broken(error: &h2::Error) -> Broken {
    if error.is_reset() {
        Broken::Cancelled
    } else {
        Broken::Lost
    }
}

/// Reads what the other end sends.
#[derive(Debug)]
pub(crate) struct PeerSource {
    stream: RecvStream,
    counters: Arc<ConnectionCounters>,
    /// Of the times that the window was made smaller, those that this stream has seen.
    shrunk: u32,
    dialect: Dialect,
}

impl PeerSource {
    /// Reads from `stream`, and counts in `passage`.
    pub(crate) fn new(
        stream: RecvStream,
        counters: Arc<ConnectionCounters>,
        dialect: Dialect,
    ) -> Self {
        Self {
            stream,
            shrunk: counters.shrunk(),
            counters,
            dialect,
        }
    }

    /// Sends the credit that was not worth a frame while the window was larger. It may be all that the peer has of the
    /// smaller one, and nothing comes then that would have it sent.
    fn send_credit(&mut self) {
        let shrunk = self.counters.shrunk();
        if std::mem::replace(&mut self.shrunk, shrunk) != shrunk {
            // HTTP/2 (h2) looks at what has become of it only when credit is released, and be it none.
            let _ = self.stream.flow_control().release_capacity(0);
        }
    }

    /// Finds out what the end of the data means. `None`: a half-close.
    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<Option<Broken>> {
        if self.dialect == Dialect::Peer {
            return Poll::Ready(None);
        }
        let trailers = match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => trailers.unwrap_or_default(),
            Err(error) => return Poll::Ready(Some(broken(&error))),
        };
        let told = headers::ending(&trailers).map(Broken::Told);
        Poll::Ready(match self.dialect {
            Dialect::Successor { believed } => told
                .filter(|_| believed)
                .or_else(|| (!is_ok(&trailers)).then_some(Broken::Lost)),
            _ => told,
        })
    }
}

fn is_ok(trailers: &HeaderMap) -> bool {
    let status = trailers.get("grpc-status");
    status.is_some_and(|status| status.as_bytes() == b"0")
}

impl Source for PeerSource {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        self.send_credit();
        loop {
            return Poll::Ready(match ready!(self.stream.poll_data(cx)) {
                // An empty DATA frame is nothing to forward.
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(chunk)) => {
                    self.counters.add_received(chunk.len());
                    Some(Ok(chunk))
                }
                Some(Err(error)) => Some(Err(broken(&error))),
                None => ready!(self.poll_ending(cx)).map(Err),
            });
        }
    }

    fn release(&mut self, _: &mut Context<'_>, bytes: usize) {
        // Fails only if more is released than was received, which the lane's counters rule out, or if the
        // stream is gone, which the next read will tell.
        let _ = self.stream.flow_control().release_capacity(bytes);
        self.counters.add_released(bytes);
    }
}

fn status(ending: Ending) -> HeaderMap {
    status::trailers(ending.code(), &ending.message())
}

#[derive(Debug)]
enum Way {
    /// The response's head is still to be sent.
    Unopened(SendResponse<Outgoing>),
    Open(SendStream<Outgoing>),
}

/// Writes to the other end: first the response's head, if the call was made there, then the body.
#[derive(Debug)]
pub(crate) struct PeerSink {
    way: Way,
    control: Arc<Control>,
    dialect: Dialect,
    half_closed: bool,
}

impl PeerSink {
    /// Answers a call. What is unsent counts in `control`.
    pub(crate) fn new(
        respond: SendResponse<Outgoing>,
        control: Arc<Control>,
        dialect: Dialect,
    ) -> Self {
        Self::on(Way::Unopened(respond), control, dialect)
    }

    /// Writes the body of a call that this router makes.
    pub(crate) fn opened(
        body: SendStream<Outgoing>,
        control: Arc<Control>,
        dialect: Dialect,
    ) -> Self {
        Self::on(Way::Open(body), control, dialect)
    }

    fn on(way: Way, control: Arc<Control>, dialect: Dialect) -> Self {
        Self {
            way,
            control,
            dialect,
            half_closed: false,
        }
    }

    /// Sends the response's head. Later calls do nothing.
    pub(crate) fn open(&mut self, head: Response<()>) -> Result<(), Broken> {
        if let Way::Unopened(respond) = &mut self.way {
            let body = respond.send_response(head, false);
            self.way = Way::Open(body.map_err(|error| broken(&error))?);
        }
        Ok(())
    }

    fn body(&mut self) -> Result<&mut SendStream<Outgoing>, Broken> {
        match &mut self.way {
            Way::Open(body) => Ok(body),
            Way::Unopened(_) => Err(Broken::Lost),
        }
    }
}

impl Sink for PeerSink {
    fn poll_capacity(&mut self, cx: &mut Context<'_>, want: usize) -> Poll<Result<usize, Broken>> {
        let body = self.body()?;
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

    fn send(&mut self, chunk: Bytes) -> Result<(), Broken> {
        let chunk = Outgoing::of(&self.control, chunk);
        let sent = self.body()?.send_data(chunk, false);
        sent.map_err(|error| broken(&error))
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let reset = match &mut self.way {
            Way::Open(body) => ready!(body.poll_reset(cx)),
            Way::Unopened(respond) => ready!(respond.poll_reset(cx)),
        };
        Poll::Ready(match reset {
            Ok(_) => Broken::Cancelled,
            Err(error) => broken(&error),
        })
    }

    fn knows_goaway(&self) -> bool {
        self.dialect == Dialect::Peer
    }

    fn half_close(&mut self) {
        // A call that is served ends with its status, and only then.
        if let (Dialect::Successor { .. }, Way::Open(body)) = (self.dialect, &mut self.way) {
            self.half_closed = true;
            // An error means that the stream is gone, which the next read tells.
            let _ = body.send_data(Outgoing::default(), true);
        }
    }

    fn finish(&mut self, ending: Ending) {
        // After a half-close nothing can follow; the stream is reset when it is dropped, behind all that was sent.
        if self.half_closed {
            return;
        }
        let (mut trailers, seen) = match self.dialect {
            Dialect::Peer => (status(ending), ending),
            // It tells its own peer, and so gets this as that one sees it.
            Dialect::Router => (status(ending), ending.for_other()),
            // Only the one that serves a call has a status.
            Dialect::Successor { .. } => (HeaderMap::new(), ending.for_other()),
        };
        headers::set_ending(&mut trailers, seen);
        // An error here means that the other end is gone already.
        match &mut self.way {
            Way::Open(body) => drop(body.send_trailers(trailers)),
            Way::Unopened(respond) => {
                let mut head = status::head();
                head.headers_mut().extend(trailers);
                drop(respond.send_response(head, true));
            }
        }
    }

    fn reset(&mut self) {
        let reason = match self.dialect {
            // Not CANCEL, which grpc.aio takes for a cancellation by its own side; clients read this as
            // RESOURCE_EXHAUSTED.
            Dialect::Peer | Dialect::Router => Reason::ENHANCE_YOUR_CALM,
            Dialect::Successor { .. } => Reason::CANCEL,
        };
        match &mut self.way {
            Way::Open(body) => body.send_reset(reason),
            Way::Unopened(respond) => respond.send_reset(reason),
        }
    }
}
