//! Lets the program at a Unix socket see that a tunnel broke.
//!
//! Such a socket has no reset. But on Linux the other program gets one, ECONNRESET after all that was sent to it, if the socket
//! is closed while something is in it that was not read. So the last byte that came is passed on and stays there, until an end
//! that is a proper one.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::{RecvFlags, recv};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::UnixStream,
};

/// Nothing is kept of more than so many bytes. What is kept in part counts in full for what the program may send, and with
/// more it might have to wait for ever.
const MOST: usize = if cfg!(target_os = "linux") { 2048 } else { 0 };

/// Is the socket, and whether the byte that is next in it was passed on.
#[derive(Debug)]
pub(crate) struct UnixEnd {
    socket: UnixStream,
    is_kept: bool,
}

impl UnixEnd {
    /// Takes the socket.
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            is_kept: false,
        }
    }

    /// Closes it as a proper end.
    pub(crate) fn finish(mut self) {
        let _ = drop_kept(&self.socket, &mut self.is_kept);
    }

    /// Closes it as a broken one, and tells whether the program sees that.
    pub(crate) fn abort(self) -> bool {
        let unread = recv(&self.socket, &mut [0; 1][..], RecvFlags::PEEK);
        cfg!(target_os = "linux") && unread.is_ok_and(|(_, length)| length > 0)
    }
}

/// Takes the byte out that was passed on.
fn drop_kept(socket: &UnixStream, is_kept: &mut bool) -> io::Result<()> {
    if *is_kept {
        recv(socket, &mut [0; 1][..], RecvFlags::empty())?;
        *is_kept = false;
    }
    Ok(())
}

/// Passes on what is new, or the end; `None` if nothing is.
fn take(socket: &UnixStream, is_kept: &mut bool, buf: &mut ReadBuf<'_>) -> io::Result<Option<()>> {
    let mut first = [0; MOST + 1];
    let (_, there) = recv(socket, &mut first[..], RecvFlags::PEEK)?;
    let new = usize::from(*is_kept)..there;
    if there == 0 {
        return Ok(Some(()));
    }
    if new.is_empty() {
        return Ok(None);
    }
    if there > MOST || new.len() > buf.remaining() {
        drop_kept(socket, is_kept)?;
        let (_, length) = recv(socket, buf.initialize_unfilled(), RecvFlags::empty())?;
        buf.advance(length);
        return Ok(Some(()));
    }
    buf.put_slice(&first[new]);
    if there > 1 {
        recv(socket, &mut first[..there - 1], RecvFlags::empty())?;
    }
    *is_kept = true;
    Ok(Some(()))
}

impl AsyncRead for UnixEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Self { socket, is_kept } = this;
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let read = socket.try_io(Interest::READABLE, || {
                // Before the look at what is there, which would else miss what comes in between.
                let is_over = *is_kept && is_over(socket)?;
                match take(socket, is_kept, buf)? {
                    Some(()) => Ok(()),
                    // It hides what reading would fail with.
                    None if is_over => socket.take_error()?.map_or(Ok(()), Err),
                    None => Err(io::ErrorKind::WouldBlock.into()),
                }
            });
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }
}

/// Tells whether the program sends no more.
#[cfg(target_os = "linux")]
fn is_over(socket: &UnixStream) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut sockets = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut sockets, Some(&Timespec::default()))?;
    let ends = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    Ok(sockets[0].revents().intersects(ends))
}

/// Is not asked where nothing is kept.
#[cfg(not(target_os = "linux"))]
#[allow(clippy::unnecessary_wraps, reason = "as on Linux")]
fn is_over(_: &UnixStream) -> io::Result<bool> {
    Ok(false)
}

impl AsyncWrite for UnixEnd {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
