//! One peer's half of a pair: reads the peer into one lane, writes the other lane to the peer.

use std::task::{Context, Poll};

use super::{
    Broken, Sink, Source,
    ending::{Ending, GOAWAY_MESSAGE},
    lane::{LaneEnd, LaneReceiver, LaneSender, Next},
    scanner::Scanner,
};

/// The most that is asked of a sink at once. A stock peer's message is 64 KiB and a few bytes.
const MOST: usize = 128 * 1024;

/// The least credit that is granted anew at once, of a window of so many bytes. See [`Side::new`].
pub(crate) fn credit_step(window: u32) -> u64 {
    u64::from(window / 3) + 1
}

/// One peer's stream and its two lane ends.
#[derive(Debug)]
pub struct Side<S, K> {
    source: S,
    sink: K,
    scanner: Scanner,
    tx: LaneSender,
    rx: LaneReceiver,
    credit_step: u64,
    /// Taken by the partner's connection and not yet granted anew.
    owed: u64,
    /// The source has given its last.
    exhausted: bool,
    /// And that was a proper end.
    half_closed: bool,
    delivered: bool,
    totals: Totals,
}

/// What one peer's stream carried. Bytes include the gRPC prefixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes received from the peer.
    pub bytes_in: u64,
    /// Messages received whole from the peer.
    pub messages_in: u64,
    /// Bytes handed to the peer's connection.
    pub bytes_out: u64,
    /// Messages handed to the peer's connection; exact once all was delivered.
    pub messages_out: u64,
}

impl<S: Source, K: Sink> Side<S, K> {
    /// `window`: bytes of credit the peer was granted; it is granted anew in steps of a third of it.
    ///
    /// HTTP/2 (h2) sends credit back once it is half of what the peer has left, and looks at it only when credit
    /// is released. A third of the window or more is always sent; less could stay, and the peer would lack it
    /// for the rest of a message that is held back until it is whole. So less is not released either, and
    /// two thirds of the smallest window must hold the longest message that is held back.
    pub fn new(
        source: S,
        sink: K,
        scanner: Scanner,
        (tx, rx): (LaneSender, LaneReceiver),
        window: u32,
    ) -> Self {
        Self {
            source,
            sink,
            scanner,
            tx,
            rx,
            credit_step: credit_step(window),
            owed: 0,
            exhausted: false,
            half_closed: false,
            delivered: false,
            totals: Totals::default(),
        }
    }

    /// The way back to the peer.
    pub fn sink(&mut self) -> &mut K {
        &mut self.sink
    }

    /// Bytes that wait in the lane because the peer does not take them.
    pub fn held(&self) -> u64 {
        self.rx.held()
    }

    /// Bytes that the peer sent of a message that is not whole.
    pub fn unfinished(&self) -> u64 {
        self.tx.unfinished()
    }

    /// Bytes held for a partner that has not come.
    pub fn early(&self) -> u64 {
        self.tx.held()
    }

    /// What the stream has carried so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Reads the peer into its lane until nothing is there. Ready when that ended the stream.
    ///
    /// All that has arrived is read at once, whether or not the partner reads: HTTP/2 counts unread frames
    /// and would close the connection over many small ones. The window bounds how much that can be.
    pub fn poll_inbound(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        if self.half_closed {
            if let Poll::Ready(broken) = self.sink.poll_broken(cx) {
                return Poll::Ready(broken.into());
            }
            return Poll::Pending;
        }
        let mut messages = 0;
        let ended = loop {
            let next = self.source.poll_data(cx);
            self.exhausted = matches!(next, Poll::Ready(None | Some(Err(_))));
            let chunk = match next {
                Poll::Pending => break None,
                Poll::Ready(Some(Ok(chunk))) => chunk,
                Poll::Ready(Some(Err(broken))) => break Some(broken.into()),
                Poll::Ready(None) => match self.scanner.finish() {
                    Ok(()) => {
                        self.half_closed = true;
                        break None;
                    }
                    Err(fault) => break Some(super::ending::Cause::Fault(fault).into()),
                },
            };
            self.totals.bytes_in += chunk.len() as u64;
            let scan = self.scanner.feed(&chunk);
            messages += scan.messages;
            self.tx.push(chunk, scan.ready);
            if let Some(fault) = scan.fault {
                break Some(super::ending::Cause::Fault(fault).into());
            }
        };
        self.totals.messages_in += messages;
        self.tx.flush(messages);
        if let Some(ending) = ended {
            return Poll::Ready(ending);
        }
        if self.half_closed {
            self.tx.end(LaneEnd::HalfClosed);
            return self.poll_inbound(cx);
        }
        self.return_credit(cx);
        Poll::Pending
    }

    fn return_credit(&mut self, cx: &mut Context<'_>) {
        loop {
            let credit = self.tx.poll_credit(cx, self.credit_step - self.owed);
            if credit == 0 {
                return;
            }
            self.owed += credit;
            if self.owed >= self.credit_step {
                self.source.release(cx, self.owed as usize);
                self.owed = 0;
            }
            // Room in the ring again, perhaps. Then ask again: what is left to the next step has changed.
            self.tx.flush(0);
        }
    }

    /// Writes the lane to the peer until nothing waits or the peer takes no more.
    fn poll_outbound(&mut self, cx: &mut Context<'_>) -> Poll<Result<LaneEnd, Broken>> {
        let result = loop {
            match self.rx.poll_next(cx) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(Next::End(end)) => {
                    if end == LaneEnd::HalfClosed && !self.delivered {
                        self.sink.half_close();
                    }
                    self.delivered = true;
                    break Poll::Ready(Ok(end));
                }
                Poll::Ready(Next::Data(waiting)) => {
                    let capacity = match self.sink.poll_capacity(cx, waiting.min(MOST)) {
                        Poll::Pending => break Poll::Pending,
                        Poll::Ready(Ok(capacity)) => capacity,
                        Poll::Ready(Err(broken)) => break Poll::Ready(Err(broken)),
                    };
                    let Some(frame) = self.rx.take(capacity) else {
                        break Poll::Pending;
                    };
                    if let Err(broken) = self.sink.send(frame) {
                        break Poll::Ready(Err(broken));
                    }
                }
            }
        };
        self.rx.commit();
        self.totals.bytes_out = self.rx.taken();
        if self.rx.waiting() == 0 {
            self.totals.messages_out = self.rx.messages();
        }
        result
    }

    /// Both directions, until this stream has to end. Then bytes may still wait to be delivered.
    pub fn poll_paired(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        if let Poll::Ready(ending) = self.poll_inbound(cx) {
            return Poll::Ready(ending);
        }
        if !self.delivered
            && let Poll::Ready(Err(broken)) = self.poll_outbound(cx)
        {
            return Poll::Ready(broken.into());
        }
        match self.rx.poll_end(cx) {
            None => Poll::Pending,
            Some(LaneEnd::Ended { ending, .. }) => Poll::Ready(ending),
            Some(LaneEnd::HalfClosed) => {
                let finished = self.tx.poll_finished(cx);
                if let Some(ending) = self.tx.abandoned() {
                    return Poll::Ready(ending);
                }
                if self.delivered && self.half_closed && finished.is_ready() {
                    return Poll::Ready(super::ending::Cause::Completed.into());
                }
                Poll::Pending
            }
        }
    }

    /// Tells the partner's stream that this one ends.
    pub fn announce(&mut self, ending: Ending) {
        self.tx.end(LaneEnd::Ended {
            ending: ending.for_other(),
            inside_message: self.scanner.inside_cut(),
        });
        self.rx.abandon(ending.for_other());
    }

    /// Delivers what the partner sent before its end. Ready with true if the peer is left inside a message.
    pub fn poll_deliver(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        match self.poll_outbound(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(broken)) => Poll::Ready(Err(broken)),
            Poll::Ready(Ok(LaneEnd::HalfClosed)) => Poll::Ready(Ok(false)),
            Poll::Ready(Ok(LaneEnd::Ended { inside_message, .. })) => {
                Poll::Ready(Ok(inside_message))
            }
        }
    }

    /// Reads the peer and drops what it sends, without credit for more. Ready once it has half-closed or is gone.
    pub fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.exhausted {
            match std::task::ready!(self.source.poll_data(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.exhausted = true,
            }
        }
        Poll::Ready(())
    }

    /// Sends the in-band GOAWAY frame. Ready once the peer's window had room for it.
    ///
    /// `sent` counts its bytes over several calls.
    pub fn poll_goaway(
        &mut self,
        cx: &mut Context<'_>,
        sent: &mut usize,
    ) -> Poll<Result<(), Broken>> {
        while *sent < GOAWAY_MESSAGE.len() {
            let rest = &GOAWAY_MESSAGE[*sent..];
            let capacity = std::task::ready!(self.sink.poll_capacity(cx, rest.len()))?;
            let chunk = &rest[..rest.len().min(capacity)];
            self.sink.send(bytes::Bytes::from_static(chunk))?;
            *sent += chunk.len();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S, K> Drop for Side<S, K> {
    /// A side that goes without a word failed. Only it knows whether that was inside a message.
    fn drop(&mut self) {
        self.tx.end(LaneEnd::Ended {
            ending: Ending::from(super::ending::Cause::Panicked).for_other(),
            inside_message: self.scanner.inside_cut(),
        });
    }
}

#[cfg(test)]
mod tests;
