//! Moving bytes from one peer to the other: knows bytes, messages and credit, and neither sockets nor tokens.
//!
//! A pair is two [lanes](lane), one for each direction. Each peer's stream is served by a [`Side`](side::Side):
//! it reads its [`Source`] into the lane it produces, and writes the lane it consumes to its [`Sink`].
//! Both are traits, so that tests, loom and benchmarks drive the same code without a socket.
//!
//! - [`scanner`] follows the gRPC message prefixes, so that only whole messages are forwarded;
//! - [`lane`] is one direction's channel, bounded in bytes by the window that was granted to the sender;
//! - [`side`] pumps one peer's stream;
//! - [`drive`] runs a side through its life, with its deadlines, and [`control`] ends it from outside;
//! - [`ending`] is the table of endings: what each peer is told, and when.

#[cfg(feature = "server")]
pub(crate) mod control;
#[cfg(feature = "server")]
pub(crate) mod drive;
pub(crate) mod ending;
#[cfg(feature = "server")]
pub(crate) mod gauge;
#[cfg(feature = "server")]
pub(crate) mod lane;
#[cfg(all(test, feature = "server"))]
mod mock;
pub(crate) mod scanner;
#[cfg(feature = "server")]
pub(crate) mod side;
#[cfg(feature = "server")]
pub(crate) mod standstill;
#[cfg(feature = "server")]
pub(crate) mod sync;

use std::task::{Context, Poll};

use bytes::Bytes;

use ending::Ending;

/// Frames joined from small chunks are at most this long: with the 9-byte HTTP/2 frame header they fill
/// exactly one 16 KiB TLS record (RFC 8446 section 5.1); 16,384 bytes would need two.
pub(crate) const JOINED_FRAME: usize = 16_375;

/// Chunks shorter than this are copied together, longer ones are passed on as they are.
///
/// A frame costs about a microsecond at either end, a copy of 1 KiB about 50 ns.
pub(crate) const SMALL_CHUNK: usize = 1_024;

/// Messages up to this length, prefix included, are forwarded only as a whole. Stock peers send at most
/// 64 KiB and a few bytes.
///
/// It must fit in two thirds of the smallest window, or such a message might never be complete: HTTP/2
/// announces credit only once it is half of the window that the peer has left, so a third may be withheld.
pub(crate) const WHOLE_MESSAGE: u64 = 80 * 1024;

/// How a peer's stream broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The peer reset the stream (RFC 9113 section 5.4.2).
    Cancelled,
    /// The peer's connection is gone.
    Lost,
    /// The peer is another router, which says how its own peer's stream ended.
    Told(Ending),
}

/// The bytes one peer sends.
pub trait Source {
    /// The next chunk; `None` once the peer half-closed. Cancellation safe: a chunk that was returned
    /// is the caller's, one that was not stays.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>>;

    /// Grants the peer credit for `bytes` more, bytes that [`Source::poll_data`] returned before. May do so later:
    /// then it wakes, and goes on in [`Source::poll_data`].
    fn release(&mut self, cx: &mut Context<'_>, bytes: usize);
}

/// The way back to one peer.
pub trait Sink {
    /// How many bytes can be sent now, at least one, given that `want` wait to be sent.
    fn poll_capacity(&mut self, cx: &mut Context<'_>, want: usize) -> Poll<Result<usize, Broken>>;

    /// Sends a chunk no longer than the capacity.
    fn send(&mut self, chunk: Bytes) -> Result<(), Broken>;

    /// Resolves when the peer reset the stream or its connection is gone. Asked only while nothing
    /// else would tell, that is after the peer half-closed.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken>;

    /// Whether the peer is told an ending by a GOAWAY frame. Another router is not: it tells its own peer.
    fn knows_goaway(&self) -> bool {
        true
    }

    /// All was sent, and the partner has half-closed. A stream that is served cannot say so before its end.
    fn half_close(&mut self) {}

    /// Ends the stream with the ending's status, behind all that was sent.
    fn finish(&mut self, ending: Ending);

    /// Ends the stream now; what was sent and is still on its way may be lost.
    fn reset(&mut self);
}
