//! What comes before the first byte: the handshake, and a look at what the peer begins with.

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustls::{
    ServerConfig,
    server::{Acceptor, UnbufferedServerConnection},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{Step, TlsStream, invalid};
use crate::transport::tls::gather::Gather;

/// How long a peer that was refused may take to read why.
const PARTING: Duration = Duration::from_secs(1);

impl<T: Gather> TlsStream<T> {
    /// Makes the handshake. Not cancellation safe: drop the connection instead.
    pub async fn accept(io: T, config: Arc<ServerConfig>) -> io::Result<Self> {
        let mut this = Self::new(io, config)?;
        this.handshake().await?;
        Ok(this)
    }

    /// As [`TlsStream::accept`], with the settings that `choose` gives for a client that offers ALPN, or does not.
    pub async fn accept_by_alpn(
        io: T,
        choose: impl Fn(bool) -> Arc<ServerConfig>,
    ) -> io::Result<Self> {
        let mut this = Self::new(io, choose(true))?;
        if !this.offers_alpn().await? {
            this.tls = UnbufferedServerConnection::new(choose(false)).map_err(invalid)?;
        }
        this.handshake().await?;
        Ok(this)
    }

    /// Reads the client's first message, without taking it. What is no such message is left to the handshake.
    async fn offers_alpn(&mut self) -> io::Result<bool> {
        let mut acceptor = Acceptor::default();
        loop {
            let known = self.incoming.len();
            if poll_fn(|cx| self.poll_fill(cx)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut new = &self.incoming.bytes()[known..];
            while !new.is_empty() {
                if acceptor.read_tls(&mut new).is_err() {
                    return Ok(true);
                }
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => return Ok(accepted.client_hello().alpn().is_some()),
                Err(_) => return Ok(true),
            }
        }
    }

    async fn handshake(&mut self) -> io::Result<()> {
        let shaken = poll_fn(|cx| self.poll_handshake(cx)).await;
        if shaken
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::InvalidData)
        {
            let _ = timeout(PARTING, Box::pin(self.part())).await;
        }
        shaken
    }

    /// Lets the peer read the alert. Closing a socket with bytes unread resets it, and the peer may see only that.
    async fn part(&mut self) -> io::Result<()> {
        let count = self.incoming.len();
        self.incoming.discard(count);
        self.io.shutdown().await?;
        while self.io.read(&mut [0; 1024]).await? > 0 {}
        Ok(())
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let step = match self.step(None, false) {
                Ok(step) => step,
                Err(error) => {
                    self.gather_alert();
                    let _ = self.poll_outgoing(cx);
                    return Poll::Ready(Err(error));
                }
            };
            match step {
                Step::Again => {}
                Step::PeerClosed | Step::Closed | Step::Encrypted => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Step::Read => {
                    ready!(self.poll_push(cx))?;
                    if !self.tls.is_handshaking() {
                        return Poll::Ready(Ok(()));
                    }
                    if ready!(self.poll_fill(cx))? == 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }

    /// Waits for the first bytes of the peer, and leaves them for the next read. None: it has closed its side.
    pub async fn first_bytes(&mut self) -> io::Result<&[u8]> {
        poll_fn(|cx| self.poll_plain(cx)).await?;
        Ok(&self.plain[self.plain_start..])
    }

    fn poll_plain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.plain.is_empty() {
            match self.step(None, false)? {
                Step::Again | Step::Encrypted => {}
                Step::PeerClosed | Step::Closed => break,
                Step::Read => {
                    ready!(self.poll_push(cx))?;
                    if self.peer_closed || ready!(self.poll_fill(cx))? == 0 {
                        break;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
