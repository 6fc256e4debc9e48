//! A TLS connection that can be cut, and that notes which HTTP/2 frames passed.

use std::{
    io,
    net::Shutdown,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
};
use tokio_rustls::client::TlsStream;

use super::within;

/// How a connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The end of the stream of bytes, without a word from TLS or HTTP/2.
    Fin,
    /// A TCP reset.
    Rst,
}

/// What has passed so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Error codes of the HTTP/2 GOAWAY frames received.
    pub goaways: Vec<u32>,
    /// Payload bytes of the DATA frames handed to TLS.
    pub data_written: u64,
    /// Payload bytes of the DATA frames received.
    pub data_read: u64,
    /// DATA frames received.
    pub data_frames_read: u64,
    /// The router closed the connection.
    pub closed: bool,
}

struct Wire {
    io: Option<TlsStream<TcpStream>>,
    reader: Option<Waker>,
    incoming: Frames,
    outgoing: Frames,
}

/// A hold on a connection, besides the HTTP/2 library's.
#[derive(Clone)]
pub struct Line {
    wire: Arc<Mutex<Wire>>,
    seen: watch::Sender<Seen>,
}

impl Line {
    pub fn new(io: TlsStream<TcpStream>) -> Self {
        Self {
            wire: Arc::new(Mutex::new(Wire {
                io: Some(io),
                reader: None,
                incoming: Frames::default(),
                outgoing: Frames {
                    skip: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len(),
                    ..Frames::default()
                },
            })),
            seen: watch::Sender::new(Seen::default()),
        }
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap()
    }

    /// Loses the connection.
    pub fn cut(&self, how: Cut) {
        let mut wire = self.wire();
        let Some(io) = &wire.io else { return };
        let socket = SockRef::from(io.get_ref().0);
        match how {
            // Fails if the router was faster: then it is closed already.
            Cut::Fin => drop(socket.shutdown(Shutdown::Write)),
            Cut::Rst => {
                socket.set_linger(Some(Duration::ZERO)).unwrap();
                wire.io = None;
            }
        }
        if let Some(reader) = wire.reader.take() {
            reader.wake();
        }
    }

    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until what has passed fulfils a condition.
    pub async fn until(&self, what: &str, done: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.subscribe();
        within(what, seen.wait_for(done)).await.unwrap();
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.wire();
        let wire = &mut *wire;
        wire.reader = Some(cx.waker().clone());
        let Some(io) = &mut wire.io else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let before = buf.filled().len();
        let result = ready!(Pin::new(io).poll_read(cx, buf));
        let new = &buf.filled()[before..];
        if new.is_empty() {
            self.seen.send_modify(|seen| seen.closed = true);
        }
        wire.incoming.feed(new, |kind, length, payload| match kind {
            0 => self.seen.send_modify(|seen| {
                seen.data_read += u64::from(length);
                seen.data_frames_read += 1;
            }),
            7 if length >= 8 => {
                let code = u32::from_be_bytes(payload[4..8].try_into().unwrap());
                self.seen.send_modify(|seen| seen.goaways.push(code));
            }
            _ => {}
        });
        Poll::Ready(result)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.wire();
        let wire = &mut *wire;
        let Some(io) = &mut wire.io else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let written = ready!(Pin::new(io).poll_write(cx, buf))?;
        wire.outgoing.feed(&buf[..written], |kind, length, _| {
            if kind == 0 {
                self.seen
                    .send_modify(|seen| seen.data_written += u64::from(length));
            }
        });
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire().io {
            Some(io) => Pin::new(io).poll_flush(cx),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire().io {
            Some(io) => Pin::new(io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Follows HTTP/2 frames (RFC 9113 section 4.1) and keeps the first bytes of their payload.
#[derive(Default)]
struct Frames {
    skip: usize,
    head: Vec<u8>,
    payload: Vec<u8>,
    left: usize,
}

impl Frames {
    fn feed(&mut self, mut bytes: &[u8], mut done: impl FnMut(u8, u32, &[u8])) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len());
                self.skip -= step;
                bytes = &bytes[step..];
                continue;
            }
            if self.head.len() < 9 {
                let step = bytes.len().min(9 - self.head.len());
                self.head.extend_from_slice(&bytes[..step]);
                bytes = &bytes[step..];
                if self.head.len() < 9 {
                    return;
                }
                self.left = self.length() as usize;
            }
            let step = self.left.min(bytes.len());
            let keep = step.min(8_usize.saturating_sub(self.payload.len()));
            self.payload.extend_from_slice(&bytes[..keep]);
            self.left -= step;
            bytes = &bytes[step..];
            if self.left == 0 {
                done(self.head[3], self.length(), &self.payload);
                self.head.clear();
                self.payload.clear();
            }
        }
    }

    fn length(&self) -> u32 {
        u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]])
    }
}
