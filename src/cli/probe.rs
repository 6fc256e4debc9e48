//! `probe`: pairs with itself through a router, again and again, and says how long that takes.

use std::{
    cell::Cell,
    ffi::OsString,
    io::{self, Write as _},
    time::{Duration, Instant, SystemTime},
};

use clap::Args;
use serde::Serialize;
use tokio::{
    io::AsyncWriteExt as _,
    signal,
    time::{sleep_until, timeout},
};

use super::{
    exit::{Exit, Failure},
    join::credentials::{RouterArgs, TokenArgs},
    out::{quietly, tick},
};
use crate::client::{Connector, RouterStream, StreamError, Token};

/// What is late has so long to say what it waited for.
const LAST_WORD: Duration = Duration::from_millis(100);

// No `Debug`: the token is a secret.
/// Options of `probe`.
#[derive(Args, Clone)]
#[command(after_help = "\
With the router's key (--key-file, ROUTER_KEY) it signs a token of its own. With a given token it must be the only one to \
use it. With several rounds the exit code is that of the first that failed.")]
pub struct ProbeArgs {
    /// Where the router is.
    #[command(flatten)]
    pub router: RouterArgs,
    /// How to be let in.
    #[command(flatten)]
    pub token: TokenArgs,
    /// Rounds; 0 for ever
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub count: u32,
    /// From the start of one round to the start of the next
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// A round that takes longer has failed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Messages that go there and back in each round
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub messages: u32,
    /// Bytes in each of them
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub size: u32,
    /// Setting up (connections and pairing) must not take longer
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub max_setup: Option<Duration>,
    /// The median round trip must not take longer
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub max_latency: Option<Duration>,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// What one round found.
#[derive(Serialize)]
struct Round {
    /// When it began.
    time: String,
    router: String,
    ok: bool,
    #[serde(flatten)]
    times: Option<Times>,
    /// What was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How long the parts of a round took that went to its end, in milliseconds.
#[derive(Serialize)]
#[allow(clippy::struct_field_names, reason = "members of the JSON")]
pub(super) struct Times {
    /// Both connections, with TLS.
    pub connect_ms: f64,
    /// From then until the first message came through.
    pub pair_ms: f64,
    pub round_trip_ms: Trips,
}

#[derive(Serialize)]
pub(super) struct Trips {
    min: f64,
    pub median: f64,
    max: f64,
    messages: u32,
}

/// Runs `probe`.
pub(crate) async fn run(args: &ProbeArgs, env: &[(String, OsString)]) -> Result<(), Failure> {
    let tokens = args.token.tokens_of_our_own(env)?;
    let mut connector = args.router.connector(env)?;
    connector.timeout = connector.timeout.min(args.timeout);
    let mut first_failure = None;
    let (mut rounds, mut failed) = (0_u32, 0_u32);
    let mut next = tokio::time::Instant::now();
    while args.count == 0 || rounds < args.count {
        let round = async {
            sleep_until(next).await;
            one(args, &connector, &tokens.next()).await
        };
        let (round, failure) = tokio::select! {
            round = round => round,
            _ = signal::ctrl_c() => break,
        };
        rounds += 1;
        next += args.interval;
        if let Some(failure) = failure {
            failed += 1;
            first_failure.get_or_insert(failure);
        }
        // A single failure is said once, in the end.
        if args.count == 1 && failed == 1 && !args.json && round.times.is_none() {
            break;
        }
        if let Err(error) = print(args, &round) {
            quietly(Err(error))?;
            break;
        }
    }
    match first_failure {
        None => Ok(()),
        Some(failure) if rounds == 1 => Err(failure),
        Some(first) => {
            let text = format!("{failed} of {rounds} rounds failed, the first because: {first}");
            Err(Failure::new(first.exit, text))
        }
    }
}

fn print(args: &ProbeArgs, round: &Round) -> io::Result<()> {
    let line = if args.json {
        serde_json::to_string(round)?
    } else {
        let error = round.error.as_deref();
        let tick = tick(round.ok);
        match &round.times {
            Some(times) => format!(
                "{tick}{}: connected in {:.1} ms, paired in {:.1} ms, round trip {:.2} ms (from {:.2} to {:.2}, {} messages){}",
                round.router,
                times.connect_ms,
                times.pair_ms,
                times.round_trip_ms.median,
                times.round_trip_ms.min,
                times.round_trip_ms.max,
                times.round_trip_ms.messages,
                error.map_or_else(String::new, |error| format!("; {error}")),
            ),
            None => format!(
                "{tick}{}: failed: {}",
                round.router,
                error.unwrap_or_default()
            ),
        }
    };
    writeln!(io::stdout().lock(), "{line}")
}

async fn one(args: &ProbeArgs, connector: &Connector, token: &Token) -> (Round, Option<Failure>) {
    let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let step = Cell::new("");
    // A connection that fails by then says why.
    let latest = args.timeout + LAST_WORD;
    let exchanged = exchange([connector; 2], args.messages, args.size, token, &step);
    let exchanged = timeout(latest, exchanged).await;
    let (times, failure) = match exchanged {
        Ok(Ok(times)) => {
            let (setup, median) = (times.connect_ms + times.pair_ms, times.round_trip_ms.median);
            let failure = slow("setting up", setup, args.max_setup)
                .or_else(|| slow("the median round trip", median, args.max_latency));
            (Some(times), failure)
        }
        Ok(Err(failure)) => (None, Some(failure)),
        Err(_) => {
            let limit = humantime::format_duration(args.timeout);
            let text = format!("{} not done within {limit} (--timeout)", step.get());
            (None, Some(Failure::new(Exit::Unreachable, text)))
        }
    };
    let round = Round {
        time,
        router: connector.endpoint().to_owned(),
        ok: failure.is_none(),
        times,
        error: failure.as_ref().map(ToString::to_string),
    };
    (round, failure)
}

/// Says what took longer than it may, in milliseconds.
fn slow(what: &str, took: f64, limit: Option<Duration>) -> Option<Failure> {
    let limit = limit.filter(|limit| took > millis(*limit))?;
    let limit = humantime::format_duration(limit);
    let text = format!("{what} took {took:.2} ms, more than {limit}");
    Some(Failure::new(Exit::Broken, text))
}

/// Pairs two streams of this process with each other, and sends so many messages of `size` bytes there and back. `step` says
/// what it is at. The caller sets the deadline.
pub(super) async fn exchange(
    connectors: [&Connector; 2],
    messages: u32,
    size: u32,
    token: &Token,
    step: &Cell<&'static str>,
) -> Result<Times, Failure> {
    step.set("connecting");
    let start = Instant::now();
    let [here, there] = connectors.map(|connector| RouterStream::connect(connector, token.clone()));
    let (mut here, mut there) = tokio::try_join!(here, there)?;
    let connect = start.elapsed();

    step.set("pairing");
    let payload = vec![0x55; size as usize];
    here.write_message(&payload).await?;
    expect(&mut there, &payload).await?;
    let pair = start.elapsed().saturating_sub(connect);

    step.set("the round trips");
    let mut trips = Vec::with_capacity(messages as usize);
    for _ in 0..messages {
        let sent = Instant::now();
        there.write_message(&payload).await?;
        expect(&mut here, &payload).await?;
        here.write_message(&payload).await?;
        expect(&mut there, &payload).await?;
        trips.push(sent.elapsed());
    }
    trips.sort_unstable();
    step.set("closing");
    tokio::try_join!(finish(here), finish(there))?;
    Ok(Times {
        connect_ms: millis(connect),
        pair_ms: millis(pair),
        round_trip_ms: Trips {
            min: millis(trips[0]),
            median: millis(trips[trips.len() / 2]),
            max: millis(trips[trips.len() - 1]),
            messages,
        },
    })
}

/// Closes, and waits until the other side has closed, too.
async fn finish(mut stream: RouterStream) -> Result<(), Failure> {
    stream.shutdown().await?;
    while stream.read_message().await?.is_some() {}
    Ok(())
}

async fn expect(stream: &mut RouterStream, payload: &[u8]) -> Result<(), Failure> {
    match stream.read_message().await? {
        Some(message) if message == payload => Ok(()),
        Some(_) => Err(Failure::new(
            Exit::Broken,
            "another message came than was sent; does somebody else use this token?",
        )),
        None => Err(StreamError::Answer("the stream ended early".to_owned()).into()),
    }
}

fn millis(time: Duration) -> f64 {
    // To the microsecond.
    time.as_micros() as f64 / 1000.0
}
