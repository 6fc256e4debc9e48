//! What a caller sends: whole messages are handed to the service, and little is kept.
//!
//! A service's decoder makes room for a message as soon as its length is announced, so it gets none before all of it
//! is there. All that arrives is read at once, as HTTP/2 would keep it up to the stream's window; what may not be
//! kept ends the call.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http_body::{Body, Frame};
use tonic::Status;

use super::Over;
use crate::{
    common::lock,
    splice::scanner::Scanner,
    transport::{
        limits::refusal::Refusal,
        memory::budget::{Budget, Grant},
    },
};

/// Reads what the caller sends.
pub(super) struct Intake {
    /// `None` once nothing more is wanted or will come.
    stream: Option<RecvStream>,
    scanner: Scanner,
    largest: u64,
    inbox: Arc<Mutex<Inbox>>,
    moved: Arc<AtomicU64>,
}

/// What has come and was not taken. Locked for moments, by the connection's task and by the service.
struct Inbox {
    /// Whole messages in front, then the beginning of the next.
    bytes: BytesMut,
    /// How much of it are whole messages.
    whole: usize,
    grant: Grant,
    ended: Option<End>,
    closed: bool,
    reader: Option<Waker>,
}

#[derive(Clone, Copy)]
enum End {
    Proper,
    Cut,
}

/// Messages that wait for the service may be as long together as so many of the largest.
const WAITING: u64 = 2;

impl Intake {
    /// `compressed`: the call has named an encoding. `messages`: what may be kept of all calls' messages.
    pub(super) fn new(
        stream: RecvStream,
        largest: u64,
        compressed: bool,
        messages: Arc<Budget>,
        moved: Arc<AtomicU64>,
    ) -> (Self, RequestBody) {
        let inbox = Arc::new(Mutex::new(Inbox {
            bytes: BytesMut::new(),
            whole: 0,
            grant: Grant::new(messages),
            ended: None,
            closed: false,
            reader: None,
        }));
        let intake = Self {
            stream: Some(stream),
            scanner: Scanner::new(largest, u64::MAX, compressed),
            largest,
            inbox: inbox.clone(),
            moved,
        };
        (intake, RequestBody(inbox))
    }

    /// Reads what is there. Ready when that ends the call.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        while let Some(stream) = &mut self.stream {
            if lock(&self.inbox).closed {
                self.stream = None;
                break;
            }
            match ready!(stream.poll_data(cx)) {
                Some(Ok(chunk)) => {
                    // Fails only if the stream is gone, which the next read tells.
                    let _ = stream.flow_control().release_capacity(chunk.len());
                    if let Err(refusal) = self.take(&chunk) {
                        return Poll::Ready(Over::Refused(refusal));
                    }
                }
                Some(Err(_gone)) => return Poll::Ready(Over::Done),
                None => {
                    self.stream = None;
                    if let Err(fault) = self.scanner.finish() {
                        return Poll::Ready(Over::Refused(fault.into()));
                    }
                    lock(&self.inbox).end(End::Proper);
                }
            }
        }
        Poll::Pending
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let scan = self.scanner.feed(chunk);
        if let Some(fault) = scan.fault {
            return Err(fault.into());
        }
        let mut inbox = lock(&self.inbox);
        // Copied: a chunk keeps the block it was read into.
        inbox.bytes.extend_from_slice(chunk);
        let waiting = inbox.bytes.len();
        if scan.ready > 0 {
            inbox.whole = waiting - (chunk.len() - scan.ready);
            self.moved.fetch_add(scan.messages, Ordering::Relaxed);
            inbox.wake();
        }
        let (waiting, limit) = (waiting as u64, WAITING * self.largest);
        if waiting > limit {
            let size = waiting;
            return Err(Refusal::TooLarge { size, limit });
        }
        if inbox.grant.resize(waiting) {
            Ok(())
        } else {
            Err(Refusal::Memory)
        }
    }
}

impl Drop for Intake {
    /// The service may run in a task of its own, which must not wait for what will not come.
    fn drop(&mut self) {
        lock(&self.inbox).end(End::Cut);
    }
}

impl Inbox {
    fn end(&mut self, end: End) {
        self.ended.get_or_insert(end);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// All whole messages.
    fn messages(&mut self) -> Option<Bytes> {
        if self.whole == 0 {
            return None;
        }
        let rest = self.bytes.split_off(self.whole);
        let messages = std::mem::replace(&mut self.bytes, rest);
        self.whole = 0;
        self.grant.resize(self.bytes.len() as u64);
        Some(messages.freeze())
    }
}

/// The request's body as the service reads it.
pub(super) struct RequestBody(Arc<Mutex<Inbox>>);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut inbox = lock(&self.0);
        if let Some(messages) = inbox.messages() {
            return Poll::Ready(Some(Ok(Frame::data(messages))));
        }
        match inbox.ended {
            Some(End::Proper) => Poll::Ready(None),
            Some(End::Cut) => Poll::Ready(Some(Err(Status::cancelled("the call is over")))),
            None => {
                inbox.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let mut inbox = lock(&self.0);
        inbox.closed = true;
        inbox.bytes = BytesMut::new();
        inbox.whole = 0;
        inbox.grant.resize(0);
    }
}
