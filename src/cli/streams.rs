//! `streams`: lists and ends streams of a running router, tells of those of the past, and drains it, over its admin API.

mod drain;
mod show;

use std::{ffi::OsString, time::Duration};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use super::{
    admin_client::{AdminArgs, AdminError, Client, named},
    exit::{self, Exit, Failure},
    out::{self, print},
    top::{self, ListArgs},
};
use crate::admin::api::{past::Kind, status::Status};

/// What `streams` can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Print the streams, as `top --once` does
    #[command(mut_arg("sort", |sort| sort.default_value("id")))]
    List(ListArgs),
    /// Print all that is known of one stream, which may have ended
    Show(ShowArgs),
    /// Print streams that have ended or were refused: who, when, how long, how much, and why
    Past(PastArgs),
    /// End streams; their peers are told that an administrator did
    End(EndArgs),
    /// Let the router take no new streams, and exit once those it has are over
    Drain(DrainArgs),
    /// Print the settings in force, and where each comes from
    Config(ConfigArgs),
    /// Print which lines the log has, or change that until the next start
    LogFilter(LogFilterArgs),
}

/// Options of `streams show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Which router.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The stream's number, as `list` and `past` show it
    #[arg(value_name = "ID", value_parser = number)]
    pub id: u64,
}

/// Options of `streams past`.
#[derive(Args, Clone, Debug)]
pub struct PastArgs {
    /// Which router.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Print JSON, as the router has it
    #[arg(long)]
    pub json: bool,
    /// Only streams with this number, or with this text in the subject, a name, an address, a certificate, the cause or the
    /// reason
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub filter: String,
    /// Only those that have ended, or only those that were refused
    #[arg(long, value_name = "KIND")]
    pub only: Option<Kind>,
    /// Streams shown at most, the newest first
    #[arg(long, value_name = "N", default_value_t = 100)]
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

/// Options of `streams config`.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// Which router.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Print JSON, as the router has it
    #[arg(long)]
    pub json: bool,
}

/// Options of `streams log-filter`.
#[derive(Args, Clone, Debug)]
pub struct LogFilterArgs {
    /// Which router.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// The new filter, as `log.filter` has it, such as debug
    #[arg(value_name = "FILTER")]
    pub filter: Option<String>,
}

/// Runs `streams`.
pub(crate) fn run(action: &Action, env: &[(String, OsString)]) -> Result<(), Failure> {
    let runtime = &mut Builder::new_current_thread();
    let admin = match action {
        Action::List(args) => &args.admin,
        Action::Show(ShowArgs { admin, .. })
        | Action::Past(PastArgs { admin, .. })
        | Action::End(EndArgs { admin, .. })
        | Action::Drain(DrainArgs { admin, .. })
        | Action::Config(ConfigArgs { admin, .. })
        | Action::LogFilter(LogFilterArgs { admin, .. }) => admin,
    };
    let client = admin.client(env)?;
    match action {
        Action::List(list) => exit::run(runtime, top::tell(client, list, Duration::ZERO, true)),
        Action::Show(args) => exit::run(runtime, show::one(client, args)),
        Action::Past(args) => exit::run(runtime, show::past(client, args)),
        Action::End(args) => exit::run(runtime, end(client, &args.ids)),
        Action::Drain(args) => exit::run(runtime, drain::run(client, args.wait)),
        Action::Config(args) => exit::run(runtime, show::config(client, args.json)),
        Action::LogFilter(args) => exit::run(runtime, log_filter(client, args.filter.as_deref())),
    }
}

async fn end(mut client: Client, ids: &[u64]) -> Result<(), Failure> {
    // All of them at the process that answers first: each counts for itself.
    let status: Status = client.get("/api/status").await?;
    let mut ended = Ok(());
    for id in ids {
        match client.post(&format!("/api/streams/{id}/end")).await {
            Ok(_) => {
                let router = named(&status.process);
                print(format!(
                    "stream {id} of {router}: its peers are being told\n"
                ))?;
            }
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

async fn log_filter(mut client: Client, filter: Option<&str>) -> Result<(), Failure> {
    let path = "/api/log-filter";
    let answer: Value = match filter {
        Some(filter) => client.put(path, &json!({ "filter": filter })).await?,
        None => client.get(path).await?,
    };
    print(format!(
        "{}\n",
        answer["filter"].as_str().unwrap_or_default()
    ))
}
