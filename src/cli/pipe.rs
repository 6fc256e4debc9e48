//! `pipe`: standard input and output through a router, as netcat does it through a socket.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
    pin::pin,
    time::Duration,
};

use clap::Args;
use tokio::{
    io::{empty, join, sink, stdin, stdout},
    signal,
    time::timeout,
};
use tokio_util::either::Either;

use super::{
    exit::{self, Exit, Failure},
    join::{
        carry::{Carried, carry},
        credentials::{RouterArgs, TokenArgs},
        meter,
    },
};
use crate::client::RouterStream;

/// Somebody who waits so long for the other side is told so.
const PATIENCE: Duration = Duration::from_secs(1);

// No `Debug`: the token is a secret.
/// Options of `pipe`.
#[derive(Args, Clone)]
#[command(after_help = help())]
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

fn help() -> String {
    format!(
        "Both sides name the same token, or the same subject and the router's key, and may start in any order:\n  \
         jumpstarter-router token mint --key-file KEY > token\n  \
         jumpstarter-router pipe --router HOST:PORT --token-file token --receive-only > copy\n  \
         jumpstarter-router pipe --router HOST:PORT --token-file token --send-only < file\n\n\
         It ends when both sides have closed. On a terminal, Ctrl-D closes this one.\n\n{}",
        exit::HELP
    )
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
    if io::stderr().is_terminal() {
        if let Ok(done) = timeout(PATIENCE, &mut work).await {
            return done;
        }
        eprintln!("waiting for {what}");
    }
    work.await
}

/// Joins a stream with standard input and output until both sides have closed.
pub(crate) async fn standard(mut stream: RouterStream, ways: WaysArgs) -> Result<(), Failure> {
    // Not for longer: not every router answers before something was sent.
    if io::stderr().is_terminal() && timeout(PATIENCE, stream.answered()).await.is_err() {
        eprintln!("waiting for the other side");
    }
    let carried = Carried::default();
    let input = if ways.receive_only {
        Either::Left(empty())
    } else {
        Either::Right(stdin())
    };
    let output = if ways.send_only {
        Either::Left(sink())
    } else {
        Either::Right(stdout())
    };
    let ended = {
        let work = carry(join(input, output), &mut stream, &carried);
        tokio::select! {
            ended = work => ended.map_err(Failure::from),
            never = meter::show(&carried, !ways.receive_only) => match never {},
            _ = signal::ctrl_c() => Err(Failure::silent(Exit::Interrupted)),
        }
    };
    if ended.is_err() {
        stream.cancel().await;
    }
    ended
}
