//! Both peers of many pairs, against the relay.

use std::{sync::Arc, time::Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use jumpstarter_router::{
    client::{Connector, Trust},
    inside::cli::load::{
        report::{GeneratorFigures, RouterFigures},
        usage::Usage,
    },
};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Barrier,
    task::JoinSet,
};
use tokio_rustls::client::TlsStream;

/// Bytes of one write: what a stock peer puts in a message.
const BLOCK: usize = 64 * 1024;

#[derive(Args)]
pub struct Driving {
    /// Where the relay listens, host:port.
    #[arg(long)]
    connect: String,
    /// Bytes of all pairs together, one way.
    #[arg(long, default_value_t = 2_000_000_000)]
    bytes: u64,
    /// Pairs at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// The relay's process, to count its CPU time.
    #[arg(long)]
    pid: Option<u32>,
}

/// As `jumpstarter-router load --json` writes them, where they mean the same.
#[derive(Serialize)]
struct Figures {
    workload: &'static str,
    parameters: Parameters,
    seconds: f64,
    bytes: u64,
    mb_per_second: f64,
    router: Option<RouterFigures>,
    generator: GeneratorFigures,
}

#[derive(Serialize)]
struct Parameters {
    router: String,
    pairs: u32,
    size: usize,
    tls: bool,
}

/// Pushes the bytes through and prints what it took. Connections are made before the clock starts.
pub async fn drive(arguments: Driving) -> anyhow::Result<()> {
    let connector = Connector::new(&arguments.connect, Trust::Insecure)?;
    let blocks = (arguments.bytes / u64::from(arguments.pairs)).div_ceil(BLOCK as u64);
    let content: Arc<[u8]> = content().into();
    let start = Arc::new(Barrier::new(2 * arguments.pairs as usize + 1));
    let mut tasks = JoinSet::new();
    for _ in 0..arguments.pairs {
        // Whichever of the two arrives first: they are the relay's next pair.
        let (from, to) = tokio::try_join!(connector.tls(), connector.tls())?;
        tasks.spawn(send(from, blocks, content.clone(), start.clone()));
        tasks.spawn(receive(to, blocks, content.clone(), start.clone()));
    }
    let looks = || {
        (
            Instant::now(),
            Usage::own(),
            arguments.pid.and_then(Usage::of),
        )
    };
    let before = looks();
    start.wait().await;
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let after = looks();

    let seconds = (after.0 - before.0).as_secs_f64();
    let bytes = blocks * BLOCK as u64 * u64::from(arguments.pairs);
    let own = after.1.cpu - before.1.cpu;
    let figures = Figures {
        workload: "relay",
        seconds,
        bytes,
        mb_per_second: bytes as f64 / seconds / 1e6,
        router: arguments
            .pid
            .zip(before.2.zip(after.2))
            .map(|(pid, (before, after))| relay(pid, &before, &after, bytes, seconds)),
        generator: GeneratorFigures {
            cpu_seconds: own,
            cores: own / seconds,
            cores_available: std::thread::available_parallelism().map_or(1, usize::from),
        },
        parameters: Parameters {
            router: arguments.connect,
            pairs: arguments.pairs,
            size: BLOCK,
            tls: true,
        },
    };
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}

fn relay(pid: u32, before: &Usage, after: &Usage, bytes: u64, seconds: f64) -> RouterFigures {
    let cpu = after.cpu - before.cpu;
    let blocks = bytes / BLOCK as u64;
    RouterFigures {
        pid,
        cpu_seconds: cpu,
        cores: cpu / seconds,
        cpu_seconds_per_gb: (bytes > 0).then(|| cpu * 1e9 / bytes as f64),
        cpu_us_per_message: (blocks > 0).then(|| cpu * 1e6 / blocks as f64),
        cpu_us_per_unit: (blocks > 0).then(|| cpu * 1e6 / blocks as f64),
        rss_kib: after.rss,
        rss_peak_kib: after.peak,
        pss_kib: after.pss,
    }
}

/// Bytes with no pattern in them (xorshift), so that a shift by any distance is seen.
fn content() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(BLOCK / 8)
    .flatten()
    .collect()
}

/// Each block begins with its number.
async fn send(
    mut stream: TlsStream<TcpStream>,
    blocks: u64,
    content: Arc<[u8]>,
    start: Arc<Barrier>,
) -> anyhow::Result<()> {
    let mut block = content.to_vec();
    start.wait().await;
    for number in 0..blocks {
        block[..8].copy_from_slice(&number.to_le_bytes());
        stream.write_all(&block).await.context("sending")?;
    }
    stream.shutdown().await.context("ending")?;
    let _ = stream.read(&mut [0]).await;
    Ok(())
}

async fn receive(
    mut stream: TlsStream<TcpStream>,
    blocks: u64,
    content: Arc<[u8]>,
    start: Arc<Barrier>,
) -> anyhow::Result<()> {
    let mut block = vec![0; BLOCK];
    start.wait().await;
    for number in 0..blocks {
        stream.read_exact(&mut block).await.context("receiving")?;
        ensure!(block[..8] == number.to_le_bytes(), "not block {number}");
        ensure!(block[8..] == content[8..], "block {number} was changed");
    }
    let more = stream.read(&mut block).await.context("at the end")?;
    ensure!(more == 0, "more arrived than was sent");
    stream.shutdown().await.context("ending")?;
    Ok(())
}
