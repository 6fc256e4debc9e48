//! Lets the program at a Unix socket see that a tunnel broke.
//!
//! Such a socket has no reset. But on Linux the other program gets one, ECONNRESET after all that was sent to it, if the socket
//! is closed while something is in it that was not read. So the last byte that came is passed on and stays there, until an end
//! that is a proper one.

use std::{
    io::{self, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream as Socket,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::{RecvFlags, recv};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd},
    net::UnixStream,
};

/// Nothing is kept of more than so many bytes. What is kept in part counts in full for what the program may send, and with
/// more it might have to wait for ever.
const MOST: usize = 2048;

/// Is the socket, and whether the byte that is next in it was passed on.
#[derive(Debug)]
pub(crate) struct UnixEnd {
    socket: AsyncFd<Socket>,
    is_kept: bool,
}

impl UnixEnd {
    /// Takes the socket.
    pub(crate) fn new(socket: UnixStream) -> io::Result<Self> {
        Ok(Self {
            socket: AsyncFd::register(socket.into_std()?)?,
            is_kept: false,
        })
    }

    /// Closes it as a proper end.
    pub(crate) fn finish(mut self) {
        let _ = drop_kept(self.socket.get_ref(), &mut self.is_kept);
    }

    /// Closes it as a broken one, and tells whether the program sees that.
    pub(crate) fn abort(self) -> bool {
        let unread = recv(self.socket.get_ref(), &mut [0; 1][..], RecvFlags::PEEK);
        cfg!(target_os = "linux") && unread.is_ok_and(|(_, length)| length > 0)
    }
}

/// Takes the byte out that was passed on.
fn drop_kept(socket: &Socket, is_kept: &mut bool) -> io::Result<()> {
    if *is_kept {
        recv(socket, &mut [0; 1][..], RecvFlags::empty())?;
        *is_kept = false;
    }
    Ok(())
}

/// Passes on what is new, or the end; `None` if nothing is.
fn take(socket: &Socket, is_kept: &mut bool, buf: &mut ReadBuf<'_>) -> io::Result<Option<()>> {
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
        loop {
            let mut guard = ready!(this.socket.poll_read_ready(cx))?;
            let is_closed = guard.ready().is_read_closed();
            match take(guard.get_inner(), &mut this.is_kept, buf) {
                Ok(Some(_)) => return Poll::Ready(Ok(())),
                Ok(None) if is_closed => {
                    // It hides what reading would fail with.
                    let error = guard.get_inner().take_error()?;
                    return Poll::Ready(error.map_or(Ok(()), Err));
                }
                Ok(None) => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for UnixEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.socket.poll_write_ready(cx))?;
            if let Ok(written) = guard.try_io(|socket| socket.get_ref().write(buf)) {
                return Poll::Ready(written);
            }
        }
    }

    /// Always ready: what was accepted is sent without being asked to.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(Shutdown::Write))
    }
}
