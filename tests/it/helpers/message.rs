//! Messages of a stream as bytes, and what a peer must have got in the end.

use bytes::Bytes;
use jumpstarter_router::{inside::splice::ending::GOAWAY_MESSAGE, protocol::v1::StreamRequest};
use prost::Message as _;
use tonic::Code;

use super::{Collected, End};

/// A frame with this payload, as a gRPC message.
pub fn message(payload: &[u8]) -> Bytes {
    frame(0, payload)
}

/// A frame of any type, as a gRPC message.
pub fn frame(frame_type: i32, payload: &[u8]) -> Bytes {
    encode(&StreamRequest {
        payload: Bytes::copy_from_slice(payload),
        frame_type,
    })
}

pub fn encode(request: &StreamRequest) -> Bytes {
    prefixed(0, &request.encode_to_vec())
}

/// A gRPC message with any flag and any content.
pub fn prefixed(flag: u8, content: &[u8]) -> Bytes {
    let mut bytes = vec![flag];
    bytes.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(content);
    bytes.into()
}

/// Bytes that look random and depend on `seed`.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The peer got `bytes`, then the in-band GOAWAY, then this status.
#[track_caller]
pub fn assert_told(case: &str, got: &Collected, bytes: &[u8], code: Code, text: &str) {
    let want = [bytes, GOAWAY_MESSAGE].concat();
    assert_bytes(case, &got.bytes, &want);
    assert_eq!(got.end, End::Status(code, text.to_owned()), "{case}");
}

/// The peer got `bytes`, then OK.
#[track_caller]
pub fn assert_completed(case: &str, got: &Collected, bytes: &[u8]) {
    assert_bytes(case, &got.bytes, bytes);
    assert_eq!(got.end, End::Status(Code::Ok, String::new()), "{case}");
}

/// Equality whose failure does not print megabytes.
#[track_caller]
pub fn assert_bytes(case: &str, got: &[u8], want: &[u8]) {
    let differ = got.iter().zip(want).position(|(got, want)| got != want);
    assert!(
        got == want,
        "{case}: {} bytes arrived, {} expected; first difference at {differ:?}; the last bytes are {:?} and {:?}",
        got.len(),
        want.len(),
        &got[got.len().saturating_sub(16)..],
        &want[want.len().saturating_sub(16)..],
    );
}
