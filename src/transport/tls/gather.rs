//! What a connection asks of its byte stream beyond reading and writing.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use jumpstarter_router_system::tcp::{self, Receive};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// The kernel's receive buffer that a connection has at most while memory is short, bytes. Otherwise the kernel sees to it:
/// it begins with 128 KiB mostly, as much as the window of a stream, and enlarges that while it is read. Of a connection
/// that is not read it stays full: 900 connections had up to 100 MiB.
const RECEIVE_BUFFER: u16 = 48 * 1024;

/// A byte stream that may gather what is written until it is pushed.
pub trait Gather: AsyncRead + AsyncWrite + Unpin {
    /// From now on flushing may leave bytes behind, until the next [`Gather::poll_push`].
    fn set_deferred(&mut self, _deferred: bool) {}

    /// Sends all that was written. Pending only if the socket is full.
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_flush(cx)
    }

    /// From now on as little as possible is read ahead of what is asked for.
    fn set_sparing(&mut self, _sparing: bool) {}

    /// Tells that nothing will be read for a while, so that little room is kept.
    fn rest(&mut self) {}

    /// The shortest round trip of the path to the peer, if the system knows it.
    fn round_trip(&self) -> Option<Duration> {
        None
    }

    /// What the peer has not read will not be kept for it once this is dropped.
    fn abandon(&mut self) {}

    /// The kernel shall keep little of what is not read, or as much as it likes.
    fn set_thrifty(&mut self, _thrifty: bool) {}
}

/// Plain text goes out at once, and none is read ahead.
impl Gather for TcpStream {
    fn round_trip(&self) -> Option<Duration> {
        tcp::shortest_round_trip(self).unwrap_or_default()
    }

    fn abandon(&mut self) {
        // Fails only for a socket that is gone.
        let _ = SockRef::from(&*self).set_linger(Some(Duration::ZERO));
    }

    fn set_thrifty(&mut self, thrifty: bool) {
        let receive = if thrifty {
            Receive::AtMost(RECEIVE_BUFFER)
        } else {
            Receive::Free
        };
        // As above.
        let _ = tcp::set_receive_buffer(self, receive);
    }
}
