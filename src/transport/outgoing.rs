//! What HTTP/2 is handed for a peer, counted for its stream until it is written.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::splice::control::Control;

/// Bytes on their way into a connection.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: Bytes,
    stream: Option<Arc<Control>>,
}

impl Outgoing {
    /// Counts `bytes` as unsent of this stream until they are written or dropped.
    pub(crate) fn of(stream: &Arc<Control>, bytes: Bytes) -> Self {
        stream.handed(bytes.len() as u64);
        Self {
            bytes,
            stream: Some(stream.clone()),
        }
    }

    fn written(&self, count: usize) {
        if let Some(stream) = &self.stream {
            stream.written(count as u64);
        }
    }
}

/// Makes bytes that count for no stream.
impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Self {
        Self {
            bytes,
            stream: None,
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.written(self.bytes.len());
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.written(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_unsent_until_written_or_dropped() {
        let stream = Arc::new(Control::default());
        let mut one = Outgoing::of(&stream, Bytes::from_static(b"twelve bytes"));
        let other = Outgoing::of(&stream, Bytes::from_static(b"more"));
        assert_eq!(stream.held(), 16);
        one.advance(2);
        assert_eq!((one.chunk(), stream.held()), (&b"elve bytes"[..], 14));
        drop(other);
        assert_eq!(stream.held(), 10);
        one.advance(10);
        drop(one);
        drop(Outgoing::from(Bytes::from_static(b"nobody's")));
        assert_eq!(stream.held(), 0);
    }
}
