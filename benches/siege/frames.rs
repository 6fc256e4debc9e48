//! Hand-made HTTP/2 frames (RFC 9113 section 4.1): a besieger needs what no well-behaved library sends, and many of them.

use bytes::{BufMut as _, BytesMut};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Bytes of a frame's head.
pub const HEAD: usize = 9;

/// The largest payload without another agreement, section 4.2.
pub const LARGEST: usize = 16_384;

/// What each peer may send at first, section 6.9.2.
pub const FIRST_WINDOW: u32 = 65_535;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const INITIAL_WINDOW_SIZE: u16 = 4;
const CANCEL: u32 = 8;
const ZEROS: [u8; LARGEST] = [0; LARGEST];

/// Appends the head of a frame whose payload follows.
pub fn head(out: &mut BytesMut, kind: u8, flags: u8, stream: u32, length: usize) {
    out.put_uint(length as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
}

/// Appends what a client says first: each stream's window, and the largest window for the connection.
pub fn opening(out: &mut BytesMut, window: u32) {
    out.extend_from_slice(PREFACE);
    head(out, SETTINGS, 0, 0, 6);
    out.put_u16(INITIAL_WINDOW_SIZE);
    out.put_u32(window);
    window_update(out, 0, (1 << 31) - 1 - FIRST_WINDOW);
}

pub fn window_update(out: &mut BytesMut, stream: u32, by: u32) {
    head(out, WINDOW_UPDATE, 0, stream, 4);
    out.put_u32(by);
}

pub fn cancel(out: &mut BytesMut, stream: u32) {
    head(out, RST_STREAM, 0, stream, 4);
    out.put_u32(CANCEL);
}

pub fn answer(out: &mut BytesMut, kind: u8, payload: &[u8]) {
    head(out, kind, ACK, 0, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a part of an endless row of messages of `size` bytes, from byte `at` of the row on, as one DATA frame. It ends
/// with the message, or after `most` bytes; gives its length.
pub fn message_part(
    out: &mut BytesMut,
    stream: u32,
    size: u32,
    at: u64,
    most: usize,
    last: bool,
) -> usize {
    let whole = u64::from(size) + 5;
    let at = at % whole;
    let length = usize::try_from(whole - at).map_or(most, |left| left.min(most));
    let flags = if last { END_STREAM } else { 0 };
    head(out, DATA, flags, stream, length);
    let mut prefix = [0; 5];
    prefix[1..].copy_from_slice(&size.to_be_bytes());
    let prefix = prefix.get(at as usize..).unwrap_or_default();
    let prefix = &prefix[..prefix.len().min(length)];
    out.extend_from_slice(prefix);
    out.extend_from_slice(&ZEROS[..length - prefix.len()]);
    length
}

/// The new window of streams in a SETTINGS frame, if it has one.
pub fn initial_window(settings: &[u8]) -> Option<u32> {
    let of = |entry: &[u8]| {
        let (name, value) = entry.split_first_chunk::<2>()?;
        let value = u32::from_be_bytes(*value.first_chunk()?);
        (u16::from_be_bytes(*name) == INITIAL_WINDOW_SIZE).then_some(value)
    };
    settings.chunks_exact(6).filter_map(of).next_back()
}

/// A number of four bytes, without the reserved bit.
pub fn number(payload: &[u8]) -> u32 {
    let first = payload.first_chunk().copied().unwrap_or_default();
    u32::from_be_bytes(first) & (u32::MAX >> 1)
}

/// Appends a header as a literal without indexing (RFC 7541 section 6.2.2).
pub fn header(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        let mut length = text.len();
        if length < 127 {
            block.push(length as u8);
        } else {
            block.push(127);
            length -= 127;
            while length >= 128 {
                block.push((length % 128) as u8 | 128);
                length /= 128;
            }
            block.push(length as u8);
        }
        block.extend_from_slice(text.as_bytes());
    }
}
