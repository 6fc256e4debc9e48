//! `streams`: lists and ends streams of a running router, and drains it, over its admin API.

use std::{ffi::OsString, time::Duration};

use clap::{Args, Subcommand};
use tokio::{runtime::Builder, time::sleep};

use super::{
    admin_client::{AdminArgs, AdminError, Client},
    exit::{self, Exit, Failure},
    out::{self, print},
    status_line::StatusLine,
    top::{self, ListArgs, TopArgs},
};
use crate::admin::api::status::Status;

/// What `streams` can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Print the streams, as `top --once` does
    #[command(mut_arg("sort", |sort| sort.default_value("id")))]
    List(ListArgs),
    /// End streams; their peers are told that an administrator did
    End(EndArgs),
    /// Let the router take no new streams, and exit once those it has are over
    Drain(DrainArgs),
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
pub(crate) fn run(action: &Action, env: &[(String, OsString)]) -> Result<(), Failure> {
    let runtime = &mut Builder::new_current_thread();
    match action {
        Action::List(list) => {
            let (list, interval) = (list.clone(), Duration::ZERO);
            let once = true;
            top::run(
                &TopArgs {
                    list,
                    once,
                    interval,
                },
                env,
            )
        }
        Action::End(args) => exit::run(runtime, end(args.admin.client(env)?, &args.ids)),
        Action::Drain(args) => exit::run(runtime, drain(args.admin.client(env)?, args.wait)),
    }
}

async fn end(client: Client, ids: &[u64]) -> Result<(), Failure> {
    let mut ended = Ok(());
    for id in ids {
        match client.post(&format!("/api/streams/{id}/end")).await {
            Ok(()) => print(format!("stream {id}: its peers are being told\n"))?,
            // The others may be there.
            Err(AdminError::Refused { text, .. }) => {
                out::error(format_args!("stream {id}: {text}"));
                ended = Err(Failure::silent(Exit::Broken));
            }
            Err(error) => return Err(error.into()),
        }
    }
    ended
}

async fn drain(client: Client, wait: bool) -> Result<(), Failure> {
    client.post("/api/drain").await?;
    print("the router drains: new streams are refused\n")?;
    if !wait {
        return Ok(());
    }
    let mut line = StatusLine::new();
    loop {
        match client.get::<Status>("/api/status").await {
            Ok(status) => line.show(format_args!("{} pairs left", status.pairs)),
            Err(AdminError::Unreachable(..)) => break,
            Err(error) => return Err(error.into()),
        }
        sleep(Duration::from_millis(500)).await;
    }
    drop(line);
    print("the router has stopped\n")
}
