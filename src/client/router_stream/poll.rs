//! Advances a stream: its head, frames, messages, and its end.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, StatusCode};
use tokio::time::sleep;
use tonic::{Code, Status};

use super::{
    super::{
        ended::StreamError,
        frame::{Frame, MAX_PAYLOAD, encode},
    },
    Body, End, RouterStream,
};
use crate::{protocol::v1::FrameType, tls::fault};

/// What a [`RouterStream`] puts into its last frame. The router's GOAWAY frame, which announces an abnormal end, and
/// that of stock peers are empty; stock peers do not look inside. So two of these streams know an end from an
/// accident at once.
const CLEAN_END: &[u8] = b"end of data";

/// After an empty GOAWAY frame the router says within half a second if it was an accident. Silence for longer is
/// a stock peer's half-close.
const DOUBT: Duration = Duration::from_secs(1);

impl RouterStream {
    /// Waits for the router's last word on a stream whose both sides are closed, whatever else comes.
    fn poll_last_word(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        while ready!(self.poll_frame(cx))?.is_some() {}
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if let Body::Head(response) = &mut self.body {
            let response = ready!(Pin::new(response).poll(cx));
            self.body = match response {
                Ok(response) => head(response),
                Err(error) => Body::Over(Err(self.broken(&error))),
            };
            match &self.body {
                Body::Over(Err(error)) => tracing::debug!(%error, "stream refused"),
                _ => tracing::debug!("stream answered"),
            }
        }
        Poll::Ready(match &self.body {
            Body::Over(Err(error)) => Err(error.clone()),
            _ => Ok(()),
        })
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame>, StreamError>> {
        match self.found.pop_front() {
            Some(frame) => Poll::Ready(Ok(Some(frame))),
            None => self.poll_wire(cx),
        }
    }

    /// The next frame from the wire.
    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, StreamError>> {
        ready!(self.poll_head(cx))?;
        loop {
            let body = match &mut self.body {
                Body::Open(body) => body,
                Body::Over(Err(error)) => return Poll::Ready(Err(error.clone())),
                _ => return Poll::Ready(Ok(None)),
            };
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Poll::Ready(Ok(Some(frame))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(self.over(error.into()))),
            }
            // Credit only now that all was taken: so the partner feels how fast this side reads.
            if self.owed > 0 {
                let _ = body.flow_control().release_capacity(self.owed);
                self.owed = 0;
            }
            match ready!(body.poll_data(cx)) {
                Some(Ok(chunk)) => {
                    self.owed = chunk.len();
                    self.decoder.push(chunk);
                }
                Some(Err(error)) => {
                    let error = self.broken(&error);
                    return Poll::Ready(Err(self.over(error)));
                }
                None => {
                    let trailers = ready!(body.poll_trailers(cx));
                    let last = match trailers {
                        Ok(trailers) => verdict(&trailers.unwrap_or_default()),
                        Err(error) => Err(self.broken(&error)),
                    };
                    let last = last.and_then(|()| {
                        if self.decoder.is_inside() {
                            Err(StreamError::Truncated)
                        } else {
                            Ok(())
                        }
                    });
                    match &last {
                        Ok(()) => tracing::debug!("stream ended"),
                        Err(error) => tracing::debug!(%error, "stream ended"),
                    }
                    self.body = Body::Over(last.clone());
                    last?;
                }
            }
        }
    }

    pub(super) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.rest))));
        }
        loop {
            match &mut self.end {
                End::Open => {}
                End::Clean if self.closed => {
                    ready!(self.poll_last_word(cx))?;
                    return Poll::Ready(Ok(None));
                }
                End::Clean => return Poll::Ready(Ok(None)),
                End::Doubtful(doubt) => {
                    let passed = !self.closed && doubt.as_mut().poll(cx).is_ready();
                    if let Poll::Ready(last) = self.poll_last_word(cx) {
                        last?;
                        self.end = End::Clean;
                    } else if passed {
                        self.end = End::Clean;
                    } else {
                        return Poll::Pending;
                    }
                    continue;
                }
            }
            match ready!(self.poll_frame(cx))? {
                Some(frame) => match frame.kind {
                    FrameType::Data => return Poll::Ready(Ok(Some(frame.payload))),
                    FrameType::Goaway if frame.payload == CLEAN_END => self.end = End::Clean,
                    FrameType::Goaway => self.end = End::Doubtful(Box::pin(sleep(DOUBT))),
                    FrameType::Ping | FrameType::RstStream => {}
                },
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    pub(super) fn poll_write_frame(
        &mut self,
        cx: &mut Context<'_>,
        kind: FrameType,
        payload: &[u8],
    ) -> Poll<Result<(), StreamError>> {
        if self.closed {
            return Poll::Ready(Err(StreamError::Closed));
        }
        if payload.len() > MAX_PAYLOAD {
            return Poll::Ready(Err(StreamError::TooLong(payload.len())));
        }
        ready!(self.poll_room(cx, payload.len() + 16))?;
        match self.send.send_data(encode(kind, payload), false) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => self.poll_why(cx, Some(&error)),
        }
    }

    /// Waits for room. Any will do for a message: h2 keeps what does not fit yet, at most one message.
    pub(super) fn poll_room(
        &mut self,
        cx: &mut Context<'_>,
        want: usize,
    ) -> Poll<Result<(), StreamError>> {
        self.send.reserve_capacity(want);
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return self.poll_why(cx, Some(&error)),
                None => return self.poll_why(cx, None),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing can be sent any more. The status says why, if there is one. It is behind all that came before, which is no
    /// more than the window, since nothing follows.
    fn poll_why(
        &mut self,
        cx: &mut Context<'_>,
        error: Option<&h2::Error>,
    ) -> Poll<Result<(), StreamError>> {
        while let Some(frame) = ready!(self.poll_wire(cx))? {
            self.found.push_back(frame);
        }
        Poll::Ready(Err(match error {
            Some(error) => self.broken(error),
            None => StreamError::Reset(h2::Reason::NO_ERROR),
        }))
    }

    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if !self.closed {
            self.closed = true;
            // If it cannot be sent, the last word says why.
            let _ = self
                .send
                .send_data(encode(FrameType::Goaway, CLEAN_END), true);
        }
        match self.end {
            End::Open => Poll::Ready(match &self.body {
                Body::Over(last) => last.clone(),
                _ => Ok(()),
            }),
            End::Doubtful(_) | End::Clean => self.poll_last_word(cx),
        }
    }

    fn over(&mut self, error: StreamError) -> StreamError {
        self.body = Body::Over(Err(error.clone()));
        error
    }

    pub(super) fn broken(&self, error: &h2::Error) -> StreamError {
        match error.reason() {
            Some(reason) if error.is_reset() => StreamError::Reset(reason),
            _ => {
                let why = self.line.why(error);
                if self.line.is_answered() || !matches!(self.body, Body::Head(_)) {
                    StreamError::Lost(why)
                } else if let Some(reason) = fault::alert_in(&why) {
                    StreamError::Alert(reason)
                } else {
                    StreamError::NoRouter(why)
                }
            }
        }
    }
}

/// What the head of the response says.
fn head(response: http::Response<RecvStream>) -> Body {
    let (head, body) = response.into_parts();
    if head.headers.contains_key("grpc-status") {
        return Body::Over(verdict(&head.headers));
    }
    if head.status != StatusCode::OK {
        let answer = StreamError::Answer(format!("HTTP status {}", head.status));
        return Body::Over(Err(answer));
    }
    Body::Open(body)
}

/// The status in trailers, or in a head that is all there is.
fn verdict(headers: &HeaderMap) -> Result<(), StreamError> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() == Code::Ok => Ok(()),
        Some(status) => Err(StreamError::Status(status)),
        None => Err(StreamError::Answer(
            "the stream ended without a status".to_owned(),
        )),
    }
}
