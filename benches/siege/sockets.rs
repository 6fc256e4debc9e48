//! Connections that never become HTTP/2: silent ones, single bytes, handshakes that stop.

use std::{io, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use rustls::ClientConnection;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::client::{PAUSE, Target};

/// Between two connections of one that only knocks.
const KNOCK: Duration = Duration::from_millis(100);

/// What a socket says before it falls silent.
#[derive(Clone, Copy, Debug)]
pub enum Words {
    /// Nothing.
    None,
    /// One byte that is not TLS, and closes.
    Byte,
    /// Half a `ClientHello`.
    HalfHello,
    /// A `ClientHello`; the answer is never read.
    Hello,
}

/// Says its words on one connection after another until told to stop.
pub async fn run(target: Arc<Target>, words: Words, persists: bool, stop: CancellationToken) {
    stop.run_until_cancelled(async {
        loop {
            if speak(&target, words).await.is_err() {
                target.counts.refused.fetch_add(1, Relaxed);
            }
            if !persists {
                std::future::pending::<()>().await;
            }
            sleep(if let Words::Byte = words {
                KNOCK
            } else {
                PAUSE
            })
            .await;
        }
    })
    .await;
}

async fn speak(target: &Target, words: Words) -> io::Result<()> {
    let counts = &target.counts;
    let hello = hello(target)?;
    let mut socket = target.tcp().await?;
    counts.connected.fetch_add(1, Relaxed);
    counts.open.fetch_add(1, Relaxed);
    let spoken = say(&mut socket, words, &hello).await;
    counts.open.fetch_sub(1, Relaxed);
    spoken
}

/// Until the router closes the connection, if its end is waited for.
async fn say(socket: &mut TcpStream, words: Words, hello: &[u8]) -> io::Result<()> {
    match words {
        Words::None => {}
        Words::Byte => return socket.write_all(b"x").await,
        Words::HalfHello => socket.write_all(&hello[..hello.len() / 2]).await?,
        Words::Hello => socket.write_all(hello).await?,
    }
    let mut answer = [0; 4096];
    while socket.read(&mut answer).await? > 0 {}
    Ok(())
}

fn hello(target: &Target) -> io::Result<Vec<u8>> {
    let config = target.tls.config().clone();
    let name = target.address.ip().into();
    let mut client = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut hello = Vec::new();
    client.write_tls(&mut hello)?;
    Ok(hello)
}
