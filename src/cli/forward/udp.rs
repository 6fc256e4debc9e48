//! Carries datagrams: each that arrives at one end leaves the other with the same length, or is lost, as in any network.
//!
//! What one local address sends is one channel. In it each datagram has two numbers of two bytes before it, big-endian: a port of
//! the service's host, and the length. The port is 0 for the service's own. A TFTP server answers from a port that it has chosen
//! for the transfer. Such a port has one at the other end, too, so that a client hears from two ports as it would without a
//! router, and answers each.

pub(crate) mod far;
pub(crate) mod near;

use std::{
    fmt, io,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    time::sleep,
};

use super::relay::Connection;
use crate::{cli::exit::Failure, common::text::bytes};

/// No datagram is longer.
const LONGEST: usize = 65_535;

/// So many datagrams wait for a stream that is slow. Those that come then are lost: later they would be of no use.
const QUEUE: usize = 128;

/// So many ports of the service's host are known besides its own; the one that was heard from first is forgotten for another.
const PORTS: usize = 32;

/// What one address sends and gets ends when nothing has passed for so long, up to twice that.
const IDLE: Duration = Duration::from_secs(60);

/// Is a datagram on its way.
#[derive(Debug, PartialEq, Eq)]
struct Datagram {
    /// A port of the service's host, or 0 for that of the service.
    port: u16,
    payload: Bytes,
}

/// Counts what has passed.
#[derive(Debug)]
struct Flow {
    begun: Instant,
    sent: [AtomicU64; 2],
    received: [AtomicU64; 2],
    lost: AtomicU64,
}

impl Flow {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            sent: Default::default(),
            received: Default::default(),
            lost: AtomicU64::new(0),
        }
    }

    /// Hands a datagram to whoever sends it through the router, if there is room.
    fn queue(
        &self,
        queue: &mpsc::Sender<Datagram>,
        port: u16,
        payload: &[u8],
    ) -> Result<(), mpsc::error::TrySendError<Datagram>> {
        let payload = Bytes::copy_from_slice(payload);
        let queued = queue.try_send(Datagram { port, payload });
        if let Err(mpsc::error::TrySendError::Full(_)) = &queued {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        queued
    }

    /// Resolves when nothing has passed for [`IDLE`].
    async fn idle(&self) {
        let passed = || [&self.sent, &self.received].map(|way| way[0].load(Ordering::Relaxed));
        loop {
            let before = passed();
            sleep(IDLE).await;
            if passed() == before {
                break;
            }
        }
    }

    /// Sends what is queued, until nobody queues any more.
    async fn send<W>(&self, mut queue: mpsc::Receiver<Datagram>, mut stream: W) -> io::Result<()>
    where
        W: AsyncWrite + Unpin,
    {
        let mut buffer = BytesMut::new();
        while let Some(Datagram { port, payload }) = queue.recv().await {
            count(&self.sent, payload.len());
            buffer.clear();
            buffer.put_u16(port);
            buffer.put_u16(payload.len() as u16);
            buffer.put_slice(&payload);
            stream.write_all(&buffer).await?;
        }
        stream.shutdown().await
    }

    /// Receives the next datagram into `buffer`, and tells its port and length; `None` at the end.
    async fn receive<R>(&self, mut stream: R, buffer: &mut [u8]) -> io::Result<Option<(u16, usize)>>
    where
        R: AsyncRead + Unpin,
    {
        let port = match stream.read_u16().await {
            Ok(port) => port,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = usize::from(stream.read_u16().await?);
        stream.read_exact(&mut buffer[..length]).await?;
        count(&self.received, length);
        Ok(Some((port, length)))
    }
}

/// Says how it was. That one end has gone is how it always ends.
fn report(connection: &Connection, flow: &Flow, ended: io::Result<()>) {
    match ended {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
            connection.say(format_args!("closed: {}; {flow}", Failure::from(error)));
        }
        _ => connection.say(flow),
    }
}

fn count(way: &[AtomicU64; 2], length: usize) {
    way[0].fetch_add(1, Ordering::Relaxed);
    way[1].fetch_add(length as u64, Ordering::Relaxed);
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = |way: &[AtomicU64; 2]| {
            let [count, total] = [0, 1].map(|at| way[at].load(Ordering::Relaxed));
            format!("{count} datagrams, {}", bytes(total))
        };
        let (sent, received) = (way(&self.sent), way(&self.received));
        write!(f, "sent {sent}; received {received}; ")?;
        match self.lost.load(Ordering::Relaxed) {
            0 => {}
            lost => write!(f, "{lost} lost, as the stream was slow; ")?,
        }
        write!(f, "{:.1} s", self.begun.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_keep_their_lengths_and_ports() {
        let flow = Flow::new();
        let (here, mut there) = tokio::io::duplex(1 << 20);
        let (queue, queued) = mpsc::channel(QUEUE);
        let long = vec![7; LONGEST];
        for (port, payload) in [(0, &b"read"[..]), (4711, b""), (65_535, &long)] {
            assert!(flow.queue(&queue, port, payload).is_ok());
        }
        drop(queue);
        assert!(flow.send(queued, here).await.is_ok());
        let mut buffer = vec![0; LONGEST];
        for expected in [(0, 4), (4711, 0), (65_535, LONGEST)] {
            let got = flow.receive(&mut there, &mut buffer).await;
            assert_eq!(got.ok().flatten(), Some(expected));
        }
        assert!(matches!(
            flow.receive(&mut there, &mut buffer).await,
            Ok(None)
        ));
        let said = flow.to_string();
        assert!(
            said.starts_with("sent 3 datagrams, 65.5 kB; received 3"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn what_finds_no_room_is_lost_and_counted() {
        let flow = Flow::new();
        let (queue, _queued) = mpsc::channel(2);
        let queued = (0..5)
            .filter(|_| flow.queue(&queue, 0, b"x").is_ok())
            .count();
        assert_eq!(queued, 2);
        assert!(flow.to_string().contains("3 lost, as the stream was slow"));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_and_a_datagram_does_not() {
        let flow = Flow::new();
        let begun = tokio::time::Instant::now();
        let talk = async {
            for _ in 0..5 {
                sleep(IDLE / 2).await;
                count(&flow.received, 1);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = talk => {}
            () = flow.idle() => {}
        }
        let took = begun.elapsed();
        assert!(took > IDLE * 3 && took <= IDLE * 5, "{took:?}");
    }
}
