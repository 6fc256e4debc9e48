//! Frames on the wire: one gRPC message each, in the layout that `StreamRequest` and `StreamResponse` share.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use thiserror::Error;

use crate::protocol::v1::{FrameType, StreamResponse};

/// The largest payload sent in one frame, bytes: what stock peers read at once.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// The largest message accepted, bytes: gRPC's usual limit.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Length of a gRPC message prefix: a flag and four bytes of length, big-endian.
const PREFIX: usize = 5;

/// Holds a frame as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Says what the frame is for. Frames of kinds that are not known here are left out, as stock peers do.
    pub kind: FrameType,
    /// Is what the frame carries.
    pub payload: Bytes,
}

/// Says why what came is no sequence of frames.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// A compressed message came, though this client never says that it understands any.
    #[error("a compressed message came, which this client does not understand")]
    Compressed,
    /// No gRPC message begins so.
    #[error("a message begins with {0:#04x}, expected 0: this is not gRPC")]
    Flag(u8),
    /// A message is over the limit.
    #[error("a message of {0} bytes came; at most {MAX_MESSAGE} are accepted")]
    TooLarge(usize),
    /// A message is no frame.
    #[error("a message came that is no frame of RouterService.Stream")]
    Content,
}

/// Encodes a frame as one gRPC message.
pub fn encode(kind: FrameType, payload: &[u8]) -> Bytes {
    let payload_len = match payload.len() {
        0 => 0,
        length => 1 + prost::length_delimiter_len(length) + length,
    };
    let kind_len = if kind == FrameType::Data { 0 } else { 2 };
    let length = payload_len + kind_len;
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(length as u32);
    if !payload.is_empty() {
        // Field 1, length-delimited. Written by hand, as prost would want the payload copied first.
        frame.put_u8(0x0a);
        // The buffer grows as needed, so there is always room.
        let _ = prost::encode_length_delimiter(payload.len(), &mut frame);
        frame.put_slice(payload);
    }
    if kind != FrameType::Data {
        // Field 2, a number. All kinds are below 128.
        frame.put_slice(&[0x10, kind as u8]);
    }
    frame.freeze()
}

/// Cuts received bytes into frames. A message that came in one piece is not copied.
#[derive(Debug, Default)]
pub struct Decoder {
    chunk: Bytes,
    /// Collects a message that came in several pieces.
    gathered: BytesMut,
}

impl Decoder {
    /// Takes what came next. Only when [`Decoder::next_frame`] has given `None`.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "frames are taken before more comes");
        self.chunk = chunk;
    }

    /// Whether a message has begun and not ended.
    pub fn is_inside(&self) -> bool {
        !self.gathered.is_empty() || !self.chunk.is_empty()
    }

    /// Cuts off the next frame; `None` if more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            let Some(message) = self.next_message()? else {
                return Ok(None);
            };
            let frame = StreamResponse::decode(message).map_err(|_| FrameError::Content)?;
            if let Ok(kind) = FrameType::try_from(frame.frame_type) {
                let payload = frame.payload;
                return Ok(Some(Frame { kind, payload }));
            }
        }
    }

    fn next_message(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.gathered.is_empty()
            && let Some(length) = length(&self.chunk)?
            && self.chunk.len() >= PREFIX + length
        {
            let mut message = self.chunk.split_to(PREFIX + length);
            message.advance(PREFIX);
            return Ok(Some(message));
        }
        loop {
            let whole = length(&self.gathered)?;
            if whole.is_some_and(|length| self.gathered.len() == PREFIX + length) {
                let mut message = self.gathered.split().freeze();
                message.advance(PREFIX);
                return Ok(Some(message));
            }
            if self.chunk.is_empty() {
                return Ok(None);
            }
            let missing = PREFIX + whole.unwrap_or(0) - self.gathered.len();
            let step = missing.min(self.chunk.len());
            self.gathered.reserve(missing);
            self.gathered.extend_from_slice(&self.chunk[..step]);
            self.chunk.advance(step);
        }
    }
}

/// Reads the length of the message that begins here, without the prefix, if the prefix is all there.
fn length(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(&[flag, a, b, c, d]) = bytes.first_chunk() else {
        return Ok(None);
    };
    match flag {
        0 => {}
        1 => return Err(FrameError::Compressed),
        flag => return Err(FrameError::Flag(flag)),
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > MAX_MESSAGE {
        return Err(FrameError::TooLarge(length));
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const KINDS: [FrameType; 4] = [
        FrameType::Data,
        FrameType::RstStream,
        FrameType::Ping,
        FrameType::Goaway,
    ];

    fn all(decoder: &mut Decoder) -> Vec<Frame> {
        std::iter::from_fn(|| decoder.next_frame().unwrap()).collect()
    }

    #[test]
    fn what_is_written_is_what_prost_writes() {
        for kind in KINDS {
            for length in [0, 1, 127, 128, 16_383, 16_384, MAX_PAYLOAD] {
                let payload = Bytes::from(vec![7; length]);
                let message = StreamResponse {
                    payload: payload.clone(),
                    frame_type: kind.into(),
                };
                let encoded = encode(kind, &payload);
                assert_eq!(
                    encoded[PREFIX..],
                    message.encode_to_vec(),
                    "{kind:?} {length}"
                );
                let mut decoder = Decoder::default();
                decoder.push(encoded);
                assert_eq!(all(&mut decoder), [Frame { kind, payload }]);
                assert!(!decoder.is_inside());
            }
        }
    }

    #[test]
    fn unknown_kinds_are_left_out() {
        let mut bytes = vec![0, 0, 0, 0, 2, 0x10, 99];
        bytes.extend(encode(FrameType::Data, b"next"));
        let mut decoder = Decoder::default();
        decoder.push(bytes.into());
        assert_eq!(all(&mut decoder)[0].payload, "next");
    }

    #[test]
    fn bad_bytes_are_named() {
        for (bytes, error) in [
            (&[1, 0, 0, 0, 0][..], FrameError::Compressed),
            (b"HTTP/1.1", FrameError::Flag(b'H')),
            (&[0, 0xff, 0, 0, 0], FrameError::TooLarge(0xff00_0000)),
            (&[0, 0, 0, 0, 1, 0xff], FrameError::Content),
        ] {
            let mut decoder = Decoder::default();
            decoder.push(Bytes::from_static(bytes));
            assert_eq!(decoder.next_frame(), Err(error));
        }
    }

    proptest! {
        #[test]
        fn every_cut_gives_the_same(lengths in prop::collection::vec(0usize..300, 0..12), cuts in prop::collection::vec(1usize..60, 1..40)) {
            let frames: Vec<_> = lengths.iter().enumerate().map(|(at, &length)| Frame {
                kind: KINDS[at % KINDS.len()],
                payload: Bytes::from(vec![at as u8; length]),
            }).collect();
            let mut bytes: Bytes = frames.iter().flat_map(|frame| encode(frame.kind, &frame.payload)).collect();
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for step in cuts.into_iter().cycle() {
                if bytes.is_empty() { break; }
                decoder.push(bytes.split_to(step.min(bytes.len())));
                got.extend(all(&mut decoder));
            }
            prop_assert_eq!(got, frames);
            prop_assert!(!decoder.is_inside());
        }

        #[test]
        fn arbitrary_bytes_never_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut decoder = Decoder::default();
            'chunks: for chunk in chunks {
                decoder.push(chunk.into());
                loop {
                    match decoder.next_frame() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'chunks,
                    }
                }
            }
        }
    }
}
