//! Shows what a router does, in one process: a router, and peers that meet through it over TLS on loopback.
//!
//! ```sh
//! cargo run --release --example demo
//! ```

use std::{
    error::Error,
    time::{Duration, Instant},
};

use jumpstarter_router::{
    Config, Secret, Server,
    client::{Connector, RouterStream, Token, Trust},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    time::timeout,
};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const KEY: &str = "signs the tokens of this demo";
const BLOCK: usize = 64 * 1024;
/// 256 MiB of them.
const BLOCKS: u64 = 4096;
const ROUND_TRIPS: usize = 2_000;

#[tokio::main]
async fn main() -> Result {
    timeout(Duration::from_secs(120), demo()).await?
}

async fn demo() -> Result {
    let mut config = Config::default();
    config.listen.address = ([127, 0, 0, 1], 0).into();
    config.listen.health_address = None;
    config.listen.admin_address = None;
    config.auth.key = Some(Secret::new(KEY));
    config.pairing.timeout = Duration::from_secs(1);
    let server = Box::pin(Server::start(&config)).await?;
    println!("router   listens on {}", server.address);
    // Its certificate was made a moment ago, so nobody can know it.
    let connector = Connector::new(&server.address.to_string(), Trust::Insecure)?;

    let (mut client, mut exporter) = meet(&connector, "a lease").await?;
    bulk(&mut client, &mut exporter).await?;
    console(&mut client, &mut exporter).await?;
    exporter.cancel().await;
    println!(
        "gone     the exporter cancelled; the client {}",
        told(client).await?
    );

    let alone = call(&connector, "nobody comes").await?;
    println!("alone    a client without a partner {}", told(alone).await?);

    let (mut client, mut exporter) = meet(&connector, "another lease").await?;
    let waiting = call(&connector, "too late").await?;
    let drain = tokio::spawn(async move { server.drain(Duration::from_secs(8)).await });
    println!("drain    a client that waits {}", told(waiting).await?);
    client.write_all(b"still here").await?;
    tokio::try_join!(client.shutdown(), exporter.shutdown())?;
    let mut heard = String::new();
    exporter.read_to_string(&mut heard).await?;
    client.read_to_string(&mut String::new()).await?;
    assert_eq!(heard, "still here");
    assert_eq!(drain.await?.ended, 0, "pairs were cut off");
    println!("         the open pair went on, and both its sides ended with OK");
    Ok(())
}

/// Both peers sign their token for the same subject, as the controller does it for them.
async fn call(connector: &Connector, subject: &str) -> Result<RouterStream> {
    Ok(RouterStream::connect(connector, Token::mint(KEY, subject)).await?)
}

async fn meet(connector: &Connector, subject: &str) -> Result<(RouterStream, RouterStream)> {
    let pair = tokio::try_join!(call(connector, subject), call(connector, subject));
    let (mut client, mut exporter) = pair?;
    tokio::try_join!(client.answered(), exporter.answered())?;
    Ok((client, exporter))
}

/// Moves data both ways at once, and compares what arrives.
async fn bulk(client: &mut RouterStream, exporter: &mut RouterStream) -> Result {
    let began = Instant::now();
    let (from_exporter, to_exporter) = split(client);
    let (from_client, to_client) = split(exporter);
    tokio::try_join!(
        send(to_exporter, 1),
        receive(from_client, 1),
        send(to_client, 2),
        receive(from_exporter, 2)
    )?;
    println!(
        "bulk     256 MiB each way at once, unchanged, in {:.2?}",
        began.elapsed()
    );
    Ok(())
}

/// Gives a block that is like no other.
fn block(lane: u64, number: u64) -> Vec<u8> {
    (lane << 32 | number).to_le_bytes().repeat(BLOCK / 8)
}

async fn send(mut to: impl AsyncWrite + Unpin, lane: u64) -> Result {
    for number in 0..BLOCKS {
        to.write_all(&block(lane, number)).await?;
    }
    Ok(())
}

async fn receive(mut from: impl AsyncRead + Unpin, lane: u64) -> Result {
    let mut got = vec![0; BLOCK];
    for number in 0..BLOCKS {
        from.read_exact(&mut got).await?;
        assert!(got == block(lane, number), "a block came changed");
    }
    Ok(())
}

/// Measures round trips of messages as a console sends them.
async fn console(client: &mut RouterStream, exporter: &mut RouterStream) -> Result {
    let mut times = Vec::new();
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        client.write_message(&[b'.'; 64]).await?;
        let heard = exporter.read_message().await?.ok_or("the client hung up")?;
        exporter.write_message(&heard).await?;
        let back = client.read_message().await?.ok_or("the exporter hung up")?;
        times.push(began.elapsed());
        assert_eq!(back[..], [b'.'; 64]);
    }
    times.sort_unstable();
    let [p50, p99] = [50, 99].map(|percent| times[times.len() * percent / 100]);
    println!("console  {ROUND_TRIPS} round trips of 64 B: p50 {p50:?}, p99 {p99:?}");
    Ok(())
}

/// Waits for the router to say how a stream has ended.
async fn told(mut stream: RouterStream) -> Result<String> {
    match stream.read_message().await {
        Err(error) => Ok(format!("is told {error} (ended by {})", error.by())),
        Ok(_) => Err("the stream ended without a word".into()),
    }
}
