//! Reads and writes a stream as messages.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Sink, Stream};

use super::{
    super::{
        ended::StreamError,
        frame::{MAX_PAYLOAD, encode},
    },
    RouterStream,
};
use crate::protocol::v1::FrameType;

/// A [`RouterStream`] in messages: what one side sends as one item is one item at the other, empty ones too.
#[derive(Debug)]
pub struct Messages {
    pub(super) stream: RouterStream,
}

impl Messages {
    /// Gives the stream of bytes back.
    pub fn into_inner(self) -> RouterStream {
        self.stream
    }
}

impl Stream for Messages {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_message(cx).map(Result::transpose)
    }
}

/// Each item is at most [`MAX_PAYLOAD`] bytes long. Closing half-closes.
impl Sink<Bytes> for Messages {
    type Error = StreamError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let stream = &mut self.stream;
        if stream.closed {
            return Poll::Ready(Err(StreamError::Closed));
        }
        stream.poll_room(cx, 1)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Bytes) -> Result<(), StreamError> {
        if item.len() > MAX_PAYLOAD {
            return Err(StreamError::TooLong(item.len()));
        }
        let frame = encode(FrameType::Data, &item);
        let sent = self.stream.send.send_data(frame, false);
        sent.map_err(|error| self.stream.broken(&error))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.stream.poll_close(cx)
    }
}
