//! Besieges a router over TLS in one of many ways, while a new pair comes each second, and says who got in and what it
//! cost the router. `benches/siege.sh` starts the router in a control group and lets pairs move beside it.
#![allow(missing_docs, unreachable_pub)]

#[path = "siege/attack.rs"]
mod attack;
#[path = "siege/client.rs"]
mod client;
#[path = "siege/frames.rs"]
mod frames;
#[path = "siege/group.rs"]
mod group;
#[path = "siege/newcomers.rs"]
mod newcomers;
#[path = "siege/report.rs"]
mod report;
#[path = "siege/session.rs"]
mod session;
#[path = "siege/sockets.rs"]
mod sockets;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use attack::Attack;
use clap::Parser;
use client::{Counts, Target};
use jumpstarter_router::{
    client::{Connector, Trust},
    inside::{
        cli::load::{dial::Dialer, pattern::mix},
        tls::trust::{self, client_config},
    },
};
use tokio::{runtime::Builder, sync::Semaphore, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

/// A part of the machine's ports and of its patience: more handshakes than these at once only wait for each other.
const HANDSHAKES: usize = 32;

#[derive(Parser)]
#[allow(clippy::struct_excessive_bools)]
struct Options {
    /// The router, host:port
    #[arg(long)]
    router: String,
    /// How to besiege; without any, nobody does
    #[arg(value_enum)]
    attacks: Vec<Attack>,
    /// All attacks at once, each at a tenth of its size, beginning at different times
    #[arg(long)]
    mix: bool,
    /// Connections of each attack; the default depends on it
    #[arg(long)]
    connections: Option<u32>,
    /// Calls on each connection
    #[arg(long)]
    streams: Option<u32>,
    /// Bytes of a message
    #[arg(long)]
    message: Option<u32>,
    /// How many addresses of the loopback network, 127.1.0.1 and on, the besiegers come from; 0 is the newcomers' own
    #[arg(long, default_value_t = 1)]
    addresses: u16,
    /// Do not come again when the router ends a connection or call
    #[arg(long)]
    once: bool,
    /// How long
    #[arg(long, default_value = "40s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Before the siege, only newcomers
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    before: Duration,
    /// Newcomers that come this much later than the siege have to get in
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    settle: Duration,
    /// How long a newcomer tries
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// Where chance begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The router's process
    #[arg(long)]
    pid: Option<u32>,
    /// Directory of its control group
    #[arg(long)]
    group: Option<PathBuf>,
    /// Where its metrics are
    #[arg(long)]
    metrics: Option<SocketAddr>,
    /// Write every look at the memory to a file, as CSV
    #[arg(long)]
    samples: Option<PathBuf>,
    /// Write the figures to a file, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let key = std::env::var("ROUTER_KEY").context("ROUTER_KEY must hold the key")?;
    let key = key.into_bytes();
    raise_limit();
    let connector = Connector::new(&options.router, Trust::Insecure)?;
    let tls = client_config(trust::Trust::Any, None)?;
    let address = options.router.to_socket_addrs()?.next();
    let target = Arc::new(Target {
        address: address.context("the router's name has no address")?,
        tls: Arc::new(tls).into(),
        from: from(&options)?,
        turn: AtomicUsize::new(0),
        authority: options.router.clone(),
        key: key.clone(),
        doors: Semaphore::new(HANDSHAKES),
        counts: Counts::default(),
    });
    let begin = Instant::now() + options.before;
    let stop = CancellationToken::new();
    let dialer = Dialer::new(connector, key);
    let newcomers = {
        let (patience, stop) = (options.patience, stop.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || runtime.block_on(newcomers::come(dialer, patience, stop)))
    };
    let places = group::Places {
        pid: options.pid,
        group: options.group.clone(),
        metrics: options.metrics,
    };
    let over = Arc::new(AtomicBool::new(false));
    let watcher = {
        let over = over.clone();
        thread::spawn(move || group::watch(&places, &over))
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(besiege(&options, &target, begin));
    stop.cancel();
    let newcomers = newcomers.join().ok().context("the newcomers panicked")?;
    over.store(true, Relaxed);
    let seen = watcher.join().ok().context("the watcher panicked")?;
    let figures = report::Figures::new(&options, &target.counts, &newcomers, &seen, begin);
    print!("{figures}");
    if let Some(path) = &options.samples {
        std::fs::write(path, report::csv(&seen))?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&figures)?)?;
    }
    Ok(if figures.held() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The addresses that besiegers come from.
fn from(options: &Options) -> anyhow::Result<Vec<IpAddr>> {
    let first = u32::from(Ipv4Addr::new(127, 1, 0, 1));
    let local = options.router.starts_with("127.");
    ensure!(
        local || options.addresses <= 1,
        "several addresses are for a router at 127.0.0.1 only"
    );
    let addresses = if local { options.addresses } else { 0 };
    Ok((0..addresses)
        .map(|at| Ipv4Addr::from(first + u32::from(at)).into())
        .collect())
}

/// Runs all attacks until their time is over.
async fn besiege(options: &Options, target: &Arc<Target>, begin: Instant) {
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    sleep(begin.saturating_duration_since(Instant::now())).await;
    let end = sleep(options.duration);
    tokio::pin!(end);
    for (delay, attack) in plan(options) {
        tokio::select! {
            () = sleep((begin + delay).saturating_duration_since(Instant::now())) => {}
            () = &mut end => break,
        }
        let mut size = attack.size();
        if options.mix {
            size.connections = (size.connections / 10).max(2);
        }
        size.connections = options.connections.unwrap_or(size.connections);
        size.streams = options.streams.unwrap_or(size.streams);
        size.message = options.message.unwrap_or(size.message);
        attack.begin(target, size, !options.once, &stop, &mut tasks);
    }
    end.await;
    stop.cancel();
    while tasks.join_next().await.is_some() {}
}

/// Which attack begins when.
fn plan(options: &Options) -> Vec<(Duration, Attack)> {
    use clap::ValueEnum as _;
    let chosen = match (&options.attacks[..], options.mix) {
        ([], true) => Attack::value_variants(),
        (chosen, _) => chosen,
    };
    let delay = |at: usize| {
        let share = (mix(options.seed ^ at as u64) % 1000) as u32;
        if options.mix {
            options.duration / 3 * share / 1000
        } else {
            Duration::ZERO
        }
    };
    let mut plan: Vec<_> = chosen
        .iter()
        .enumerate()
        .map(|(at, attack)| (delay(at), *attack))
        .collect();
    plan.sort_by_key(|(delay, _)| *delay);
    plan
}

/// As many open files as the system allows.
fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // With fewer the siege is smaller, and its counts say so.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}
