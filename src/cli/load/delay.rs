//! A distance between the peers and the router: a TCP proxy that hands on every byte a fixed time after it came.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep_until},
};

/// The most one direction of a connection holds: 10 Gbit/s over 50 ms.
const MOST: usize = 64 * 1024 * 1024;

/// Reads take at most so many bytes.
const READ: usize = 64 * 1024;

/// Bytes under way, and when they are due.
struct Parcel {
    due: Instant,
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Starts a proxy to `target` and gives its address. It ends with the runtime.
pub async fn start(target: String, delay: Duration) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let target = target.clone();
            // Without a router the peer's connection is closed, which is how it notices.
            tokio::spawn(async move {
                let far = TcpStream::connect(target).await?;
                near.set_nodelay(true)?;
                far.set_nodelay(true)?;
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                tokio::try_join!(
                    carry(near_read, far_write, delay),
                    carry(far_read, near_write, delay)
                )
            });
        }
    });
    Ok(address)
}

/// Carries one direction until its end, which is late as all else.
async fn carry<R, W>(mut from: R, mut to: W, delay: Duration) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (sender, mut receiver) = mpsc::unbounded_channel::<Parcel>();
    let room = Arc::new(Semaphore::new(MOST));
    let take_in = async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(READ);
            let n = from.read_buf(&mut buffer).await?;
            let due = Instant::now() + delay;
            let room = room.clone().acquire_many_owned(n as u32).await;
            let parcel = Parcel {
                due,
                bytes: buffer.split().freeze(),
                _room: room.map_err(io::Error::other)?,
            };
            if sender.send(parcel).is_err() || n == 0 {
                return Ok(());
            }
        }
    };
    let hand_on = async move {
        while let Some(parcel) = receiver.recv().await {
            sleep_until(parcel.due).await;
            to.write_all(&parcel.bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(take_in, hand_on).map(|_: ((), ())| ())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::duplex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_byte_is_late_by_the_same_time_and_the_end_is_too() {
        let delay = Duration::from_millis(25);
        let (mut near, proxy_near) = duplex(1 << 20);
        let (proxy_far, mut far) = duplex(1 << 20);
        tokio::spawn(carry(proxy_near, proxy_far, delay));
        let start = Instant::now();
        near.write_all(b"one").await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        near.write_all(b"two").await.unwrap();
        drop(near);
        let mut three = [0; 3];
        far.read_exact(&mut three).await.unwrap();
        let first = start.elapsed();
        far.read_exact(&mut three).await.unwrap();
        assert_eq!(&three, b"two");
        assert_eq!(far.read(&mut three).await.unwrap(), 0);
        let second = start.elapsed();
        let tick = Duration::from_millis(2);
        assert!(first >= delay && first <= delay + tick, "{first:?}");
        let due = delay + Duration::from_millis(10);
        assert!(second >= due && second <= due + tick, "{second:?}");
    }
}
