//! Reads and writes a stream as bytes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{super::frame::MAX_PAYLOAD, RouterStream};
use crate::protocol::v1::FrameType;

impl AsyncRead for RouterStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // Empty messages are not the end.
        while this.rest.is_empty() {
            match ready!(this.poll_message(cx))? {
                Some(payload) => this.rest = payload,
                None => return Poll::Ready(Ok(())),
            }
        }
        let step = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest[..step]);
        this.rest.advance(step);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for RouterStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let step = buf.len().min(MAX_PAYLOAD);
        if step > 0 || self.closed {
            ready!(self.poll_write_frame(cx, FrameType::Data, &buf[..step]))?;
        }
        Poll::Ready(Ok(step))
    }

    /// Always ready: what was accepted is sent without being asked to.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(cx).map_err(Into::into)
    }
}
