//! `pipe`: standard input and output through a router, as netcat does it through a socket.

use std::{ffi::OsString, io, pin::pin, time::Duration};

use clap::Args;
use tokio::{
    io::{empty, join, sink, stdin, stdout},
    time::timeout,
};
use tokio_util::either::Either;

use super::{
    exit::{Exit, Failure},
    join::{
        carry::{Carried, carry},
        credentials::{RouterArgs, TokenArgs},
        meter::Meter,
    },
    out::say,
    status_line::is_watched,
    stop::Stop,
};
use crate::client::{RouterStream, StreamError};

/// Somebody who waits so long for the other side is told so.
const PATIENCE: Duration = Duration::from_secs(1);

// No `Debug`: the token is a secret.
/// Options of `pipe`.
#[derive(Args, Clone)]
#[command(after_help = "\
Both sides name the same token, or the same subject and the router's key, and may start in any order. It ends when both \
sides have closed. On a terminal, Ctrl-D closes this one.")]
pub struct PipeArgs {
    /// Where the router is.
    #[command(flatten)]
    pub router: RouterArgs,
    /// Who may join.
    #[command(flatten)]
    pub token: TokenArgs,
    /// Which ways.
    #[command(flatten)]
    pub ways: WaysArgs,
}

/// Which ways bytes go.
#[derive(Args, Clone, Copy, Debug)]
pub struct WaysArgs {
    /// Send standard input, and drop what comes
    #[arg(long, conflicts_with = "receive_only")]
    pub send_only: bool,
    /// Write what comes to standard output, and send nothing
    #[arg(long)]
    pub receive_only: bool,
}

/// Runs `pipe`.
pub(crate) async fn run(args: &PipeArgs, env: &[(String, OsString)]) -> Result<(), Failure> {
    let token = args.token.tokens(env)?.next();
    let connector = args.router.connector(env)?;
    let stream = RouterStream::connect(&connector, token.as_str()).await?;
    standard(stream, args.ways).await
}

/// Says on a terminal what is waited for, if that takes long.
pub(crate) async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if is_watched() {
        if let Ok(done) = timeout(PATIENCE, &mut work).await {
            return done;
        }
        say!("waiting for {what}");
    }
    work.await
}

/// Says on a terminal whether the other side is there. `patient`: it is waited for, as nothing is to be sent before.
async fn meet(stream: &mut RouterStream, patient: bool) {
    if !is_watched() {
        return;
    }
    // Else not for long: not every router answers before something was sent. Why there is none is told by reading.
    let answered = match timeout(PATIENCE, stream.answered()).await {
        Ok(answered) => answered.is_ok(),
        Err(_) => {
            say!("waiting for the other side");
            patient && stream.answered().await.is_ok()
        }
    };
    if answered {
        say!("connected");
    }
}

/// Joins a stream with standard input and output until both sides have closed.
pub(crate) async fn standard(mut stream: RouterStream, ways: WaysArgs) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let (reads, writes) = (!ways.receive_only, !ways.send_only);
    let carried = Carried::default();
    let input = if reads {
        Either::Right(stdin())
    } else {
        Either::Left(empty())
    };
    let output = if writes {
        Either::Right(stdout())
    } else {
        Either::Left(sink())
    };
    tokio::select! {
        () = meet(&mut stream, !reads) => {}
        signal = stop.wait() => {
            stream.cancel().await;
            return Err(told_to_end(signal));
        }
    }
    let meter = Meter::new(reads, writes);
    let ended = {
        let work = carry(join(input, output), &mut stream, &carried);
        tokio::select! {
            ended = work => ended.map_err(why),
            never = meter.show(&carried) => match never {},
            signal = stop.wait() => Err(told_to_end(signal)),
        }
    };
    meter.conclude(&carried);
    if ended.is_err() {
        stream.cancel().await;
    }
    ended
}

fn told_to_end(signal: &str) -> Failure {
    Failure::silent(match signal {
        "SIGTERM" => Exit::Terminated,
        _ => Exit::Interrupted,
    })
}

/// Says why bytes are not carried any more. That nobody reads them needs no words.
fn why(error: io::Error) -> Failure {
    if StreamError::of(&error).is_none() && error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::silent(Exit::Unread);
    }
    error.into()
}
