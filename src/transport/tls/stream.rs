//! A TLS server connection over a socket, made for forwarding.
//!
//! It stands on rustls' unbuffered interface, for what the buffered one does not give:
//! - one read takes up to 64 KiB from the socket and is decrypted in place (the buffered interface reads 4 KiB
//!   at first, and copies);
//! - what is written gathers in full 16 KiB records, and goes to the socket in one call when the connection's task
//!   has done its round, not after each frame: [`Gather::poll_push`];
//! - a connection at rest holds no buffer at all.

mod handshake;
#[cfg(test)]
mod tests;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustls::{
    ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{
        ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    },
};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::tls::{
    gather::Gather,
    staged::{self, Staged},
};

/// Plain bytes in a full record (RFC 8446 section 5.1).
const RECORD: usize = 16_384;

/// A record's bytes on the wire, at most (RFC 8446 section 5.2).
const RECORD_ON_WIRE: usize = RECORD + 256 + 5;

/// A record's type, version and length (RFC 8446 section 5.1).
const RECORD_HEADER: usize = 5;

/// Read at once beyond the record that has begun, when memory is short. Most records of a reader, which carry nothing
/// but credit, are smaller.
const SPARING: usize = 1024;

/// Says what TLS wants next.
enum Step {
    /// Look again: something was done.
    Again,
    /// Bytes from the peer.
    Read,
    /// Nothing: one record was made of what was gathered.
    Encrypted,
    /// Nothing more will come: the peer has closed its side.
    PeerClosed,
    /// Nothing more can be sent, either.
    Closed,
}

/// A TLS connection after its handshake.
pub struct TlsStream<T> {
    io: T,
    tls: UnbufferedServerConnection,
    /// From the socket, encrypted.
    incoming: Staged,
    /// Decrypted, and more than the reader had room for.
    plain: Vec<u8>,
    plain_start: usize,
    /// To be encrypted, less than a record.
    gathering: Staged,
    /// To the socket, encrypted.
    outgoing: Staged,
    /// The peer has said that it sends no more.
    peer_closed: bool,
    /// Flushing leaves bytes behind until the push.
    deferred: bool,
    /// Little is read ahead.
    sparing: bool,
}

impl<T> std::fmt::Debug for TlsStream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").finish_non_exhaustive()
    }
}

/// How many bytes to read for the record that begins `known`, or for the next.
fn lacking(known: &[u8]) -> usize {
    let length = match known {
        [_, _, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => return SPARING,
    };
    match (RECORD_HEADER + length).saturating_sub(known.len()) {
        // Whole records that are one message's parts.
        0 => SPARING,
        lacking => lacking,
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<T: Gather> TlsStream<T> {
    fn new(io: T, config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self {
            io,
            tls: UnbufferedServerConnection::new(config).map_err(invalid)?,
            incoming: Staged::default(),
            plain: Vec::new(),
            plain_start: 0,
            gathering: Staged::default(),
            outgoing: Staged::default(),
            peer_closed: false,
            deferred: false,
            sparing: false,
        })
    }

    /// The protocol agreed on, if any.
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// The certificate that the peer has shown, if any.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.tls.peer_certificates()?.first()
    }

    /// Room that what was read, and not yet taken, keeps here, bytes.
    #[cfg(test)]
    fn unread(&self) -> usize {
        self.incoming.capacity() + self.plain.capacity()
    }

    /// Lets TLS work on what is here. Decrypted bytes go to `out`, the rest of them to `plain`. With `encrypt`, what
    /// was gathered becomes one record, for which `outgoing` has room.
    ///
    /// TLS always gets all that is pending: it remembers where in it a fragmented message lies.
    fn step(&mut self, out: Option<&mut ReadBuf<'_>>, encrypt: bool) -> io::Result<Step> {
        let UnbufferedStatus {
            mut discard, state, ..
        } = self.tls.process_tls_records(self.incoming.bytes());
        let step = match state.map_err(invalid)? {
            ConnectionState::ReadTraffic(mut traffic) => {
                // One record at a time: each call of `process_tls_records` decrypts one.
                if let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid)?;
                    discard += record.discard;
                    let room = out.as_ref().map_or(0, |out| out.remaining());
                    let (now, later) = record.payload.split_at(room.min(record.payload.len()));
                    if let Some(out) = out {
                        out.put_slice(now);
                    }
                    self.plain.extend_from_slice(later);
                }
                Step::Again
            }
            ConnectionState::EncodeTlsData(mut data) => {
                let room = self.outgoing.room();
                match data.encode(room) {
                    Ok(bytes) => self.outgoing.end += bytes,
                    Err(EncodeError::InsufficientSize(InsufficientSizeError { .. })) => {
                        return Err(invalid("more handshake bytes than fit a buffer"));
                    }
                    Err(error @ EncodeError::AlreadyEncoded) => return Err(invalid(error)),
                }
                Step::Again
            }
            ConnectionState::TransmitTlsData(data) => {
                // It is in `outgoing`, which is pushed before anything is awaited.
                data.done();
                Step::Again
            }
            ConnectionState::WriteTraffic(mut traffic) => {
                if encrypt {
                    let bytes = self.gathering.bytes();
                    match traffic.encrypt(bytes, self.outgoing.room()) {
                        Ok(count) => self.outgoing.end += count,
                        Err(
                            error @ (EncryptError::InsufficientSize(_)
                            | EncryptError::EncryptExhausted),
                        ) => return Err(invalid(error)),
                    }
                    let count = self.gathering.len();
                    self.gathering.discard(count);
                    Step::Encrypted
                } else {
                    Step::Read
                }
            }
            ConnectionState::BlockedHandshake => Step::Read,
            ConnectionState::PeerClosed => {
                self.peer_closed = true;
                Step::PeerClosed
            }
            ConnectionState::Closed => Step::Closed,
            // Early data is never accepted, and the enum may grow.
            _ => return Err(invalid("unexpected state of TLS")),
        };
        self.incoming.discard(discard);
        Ok(step)
    }

    /// After an error: what TLS still has to say, an alert at the end. If it cannot be sent at once, the peer sees
    /// a closed connection.
    fn gather_alert(&mut self) {
        // No further: what could not be read must not be looked at again.
        while self.tls.wants_write() && self.step(None, false).is_ok() {}
    }

    /// Reads from the socket once.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.incoming.compact();
        let most = if self.sparing {
            lacking(self.incoming.bytes())
        } else {
            staged::SIZE
        };
        let room = self.incoming.room();
        let most = most.min(room.len());
        let mut buf = ReadBuf::new(&mut room[..most]);
        if buf.remaining() == 0 {
            return Poll::Ready(Err(invalid("a TLS message longer than the buffer")));
        }
        match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) => {
                let count = buf.filled().len();
                self.incoming.end += count;
                if count == 0 {
                    self.incoming.discard(0);
                }
                Poll::Ready(Ok(count))
            }
            other => {
                // Whoever waits gives the buffer back; the beginning of a record waits in a small one.
                self.incoming.shelve();
                other.map_ok(|()| 0)
            }
        }
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outgoing.len() > 0 {
            let bytes = self.outgoing.bytes();
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.discard(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Makes one record of what was gathered.
    fn encrypt(&mut self) -> io::Result<()> {
        loop {
            match self.step(None, true)? {
                Step::Encrypted => return Ok(()),
                // A key update or an alert goes first, or bytes had arrived.
                Step::Again | Step::PeerClosed => {}
                Step::Read | Step::Closed => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }

    /// Room for one more record, and for what TLS itself may want to say before it.
    fn has_room(&self) -> bool {
        self.outgoing.end + RECORD_ON_WIRE + 1024 <= staged::SIZE
    }
}

impl<T: Gather> Gather for TlsStream<T> {
    fn set_deferred(&mut self, deferred: bool) {
        self.deferred = deferred;
    }

    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathering.len() > 0 {
            self.encrypt()?;
        }
        self.poll_outgoing(cx)
    }

    fn set_sparing(&mut self, sparing: bool) {
        self.sparing = sparing;
    }

    fn rest(&mut self) {
        self.incoming.shelve();
    }

    fn round_trip(&self) -> Option<Duration> {
        self.io.round_trip()
    }

    fn abandon(&mut self) {
        self.io.abandon();
    }

    fn set_thrifty(&mut self, thrifty: bool) {
        self.io.set_thrifty(thrifty);
    }
}

impl<T: Gather> AsyncRead for TlsStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = out.filled().len();
        loop {
            if this.plain_start < this.plain.len() {
                let rest = &this.plain[this.plain_start..];
                let count = rest.len().min(out.remaining());
                out.put_slice(&rest[..count]);
                this.plain_start += count;
                if this.plain_start == this.plain.len() {
                    this.plain = Vec::new();
                    this.plain_start = 0;
                }
            }
            if out.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            match this.step(Some(out), false) {
                Ok(Step::Again | Step::Encrypted) => {}
                Ok(Step::PeerClosed | Step::Closed) => return Poll::Ready(Ok(())),
                Ok(Step::Read) => {
                    if out.filled().len() > before || this.peer_closed {
                        return Poll::Ready(Ok(()));
                    }
                    if ready!(this.poll_fill(cx))? == 0 {
                        // Without close_notify; HTTP/2 knows by itself whether something is missing.
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(error) => {
                    this.gather_alert();
                    let _ = this.poll_outgoing(cx);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl<T: Gather> AsyncWrite for TlsStream<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut taken = 0;
        for slice in slices {
            let mut bytes: &[u8] = slice;
            while !bytes.is_empty() {
                if !this.has_room() {
                    match this.poll_outgoing(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending if taken > 0 => return Poll::Ready(Ok(taken)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                let count = bytes.len().min(RECORD - this.gathering.end);
                this.gathering.room()[..count].copy_from_slice(&bytes[..count]);
                this.gathering.end += count;
                bytes = &bytes[count..];
                taken += count;
                if this.gathering.len() == RECORD {
                    this.encrypt()?;
                }
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deferred {
            return Poll::Ready(Ok(()));
        }
        self.poll_push(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_push(cx))?;
        let this = &mut *self;
        let status = this.tls.process_tls_records(this.incoming.bytes());
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state
            // Nothing, if it was queued before. Fails only for want of room, and there is nothing else in the buffer.
            && let Ok(count) = traffic.queue_close_notify(this.outgoing.room())
        {
            this.outgoing.end += count;
        }
        this.outgoing.discard(0);
        ready!(this.poll_outgoing(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
