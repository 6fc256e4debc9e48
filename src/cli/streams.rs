//! `streams`: lists and ends streams of a running router, and drains it, over its admin API.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use tokio::{runtime::Builder, time::sleep};

use super::{
    admin_client::{AdminArgs, AdminError, Client},
    fail,
    status_line::StatusLine,
    top::{self, TopArgs},
};
use crate::admin::api::{status::Status, streams::Column};

/// Options of `streams`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Exit codes: 0 done, 1 the router cannot be asked or refused, 2 wrong usage"
)]
pub struct StreamsCommand {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What `streams` can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Print the streams, as `top --once` does
    List(ListArgs),
    /// End streams; their peers are told that an administrator did
    End(EndArgs),
    /// Let the router take no new streams, and exit once those it has are over
    Drain(DrainArgs),
}

/// Options of `streams list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Which router.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Sort by this, the largest first
    #[arg(long, value_enum, default_value = "id")]
    pub sort: Column,
    /// The smallest first
    #[arg(long)]
    pub ascending: bool,
    /// Only streams with this text in the subject or a peer's address
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub filter: String,
    /// Streams listed at most
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub limit: usize,
}

/// Options of `streams end`.
#[derive(Args, Clone, Debug)]
pub struct EndArgs {
    /// Which router.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Numbers of streams, as `list` shows them
    #[arg(value_name = "ID", required = true, value_parser = number)]
    pub ids: Vec<u64>,
}

fn number(text: &str) -> Result<u64, &'static str> {
    let number = text.parse();
    number.map_err(|_| "expected a number, as `streams list` shows them")
}

/// Options of `streams drain`.
#[derive(Args, Clone, Debug)]
pub struct DrainArgs {
    /// Which router.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Wait until the router has stopped
    #[arg(long)]
    pub wait: bool,
}

/// Runs `streams`.
pub(crate) fn run(args: &StreamsCommand, env: &[(String, OsString)]) -> ExitCode {
    match &args.action {
        Action::List(args) => top::run(&as_top(args), env),
        Action::End(args) => finish(async { end(&args.admin.client(env)?, &args.ids).await }),
        Action::Drain(args) => finish(async { drain(&args.admin.client(env)?, args.wait).await }),
    }
}

fn as_top(args: &ListArgs) -> TopArgs {
    TopArgs {
        admin: args.admin.clone(),
        once: true,
        json: args.json,
        interval: Duration::ZERO,
        sort: args.sort,
        ascending: args.ascending,
        filter: args.filter.clone(),
        limit: args.limit,
    }
}

fn finish(work: impl Future<Output = Result<ExitCode, AdminError>>) -> ExitCode {
    let run = || {
        Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(work)
    };
    match run() {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

async fn end(client: &Client, ids: &[u64]) -> Result<ExitCode, AdminError> {
    let mut code = ExitCode::SUCCESS;
    for id in ids {
        match client.post(&format!("/api/streams/{id}/end")).await {
            Ok(()) => println!("stream {id}: its peers are being told"),
            // The others may be there.
            Err(AdminError::Refused { text, .. }) => {
                eprintln!("error: stream {id}: {text}");
                code = ExitCode::FAILURE;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(code)
}

async fn drain(client: &Client, wait: bool) -> Result<ExitCode, AdminError> {
    client.post("/api/drain").await?;
    println!("the router drains: new streams are refused");
    if !wait {
        return Ok(ExitCode::SUCCESS);
    }
    let mut line = StatusLine::new();
    loop {
        match client.get::<Status>("/api/status").await {
            Ok(status) => line.show(format_args!("{} pairs left", status.pairs)),
            Err(AdminError::Unreachable(..)) => break,
            Err(error) => return Err(error),
        }
        sleep(Duration::from_millis(500)).await;
    }
    drop(line);
    println!("the router has stopped");
    Ok(ExitCode::SUCCESS)
}
