//! `top`: shows a running router's streams in a terminal. It asks the admin API, as the page does.

pub mod client;
pub mod screen;
pub mod table;

use std::{
    ffi::OsString,
    fmt::Write as _,
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;

pub use self::client::{Client, TopError};
use super::fail;
use crate::admin::api::{
    status::Status,
    streams::{Column, Listing},
};

/// Where the admin API is, and who asks.
#[derive(Args, Clone, Debug)]
pub struct AdminArgs {
    /// Where the router's admin API is
    #[arg(
        long,
        value_name = "URL",
        help = "Where the router's admin API is [default: the port of JUMPSTARTER_ROUTER_LISTEN_ADMIN_ADDRESS, \
                or http://127.0.0.1:8082]"
    )]
    pub admin: Option<String>,
    /// File with the admin token
    #[arg(
        long,
        value_name = "FILE",
        help = "File with the admin token [env: JUMPSTARTER_ROUTER_ADMIN_TOKEN_FILE, or the token itself in \
                JUMPSTARTER_ROUTER_ADMIN_TOKEN]"
    )]
    pub token_file: Option<PathBuf>,
}

impl AdminArgs {
    /// A client of the API.
    pub fn client(&self, env: &[(String, OsString)]) -> Result<Client, TopError> {
        Client::new(self.admin.as_deref(), self.token_file.clone(), env)
    }
}

/// Options of `top`.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// Which router.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Print one table and exit; the same happens when the output is no terminal
    #[arg(long)]
    pub once: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// Sort by this, the largest first
    #[arg(long, value_enum, default_value = "rate")]
    pub sort: Column,
    /// The smallest first
    #[arg(long)]
    pub ascending: bool,
    /// Only streams with this text in the subject or a peer's address
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub filter: String,
    /// Streams shown at most
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub limit: usize,
}

/// What was seen at one look.
#[derive(Debug, Deserialize, Serialize)]
pub struct Look {
    /// The router.
    pub status: Status,
    /// Its streams.
    pub streams: Listing,
}

/// Runs `top`. Exit code 1 if the router could not be asked.
pub fn run(args: &TopArgs, env: &[(String, OsString)]) -> ExitCode {
    match try_run(args, env) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn try_run(args: &TopArgs, env: &[(String, OsString)]) -> Result<(), TopError> {
    let client = args.admin.client(env)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let look = |query: &View| runtime.block_on(client.look(&query.path()));
    let mut view = View::new(args);
    let on_terminal = io::stdout().is_terminal() && !args.json && !args.once;
    if on_terminal {
        return screen::show(args.interval, &mut view, look);
    }
    loop {
        let seen = look(&view)?;
        let text = if args.json {
            let mut line = serde_json::to_string(&seen).map_err(io::Error::from)?;
            line.push('\n');
            line
        } else {
            let mut text = table::head(&seen.status);
            text.push('\n');
            for line in table::lines(&seen.streams) {
                let _ = writeln!(text, "{line}");
            }
            text
        };
        if let Err(error) = io::Write::write_all(&mut io::stdout().lock(), text.as_bytes()) {
            // Whoever reads has seen enough.
            return if error.kind() == io::ErrorKind::BrokenPipe {
                Ok(())
            } else {
                Err(error.into())
            };
        }
        if args.once || !args.json {
            return Ok(());
        }
        std::thread::sleep(args.interval);
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct View {
    /// By what streams are sorted.
    pub sort: Column,
    /// The largest first.
    pub descending: bool,
    filter: String,
    limit: usize,
}

impl View {
    fn new(args: &TopArgs) -> Self {
        Self {
            sort: args.sort,
            descending: !args.ascending,
            filter: args.filter.clone(),
            limit: args.limit,
        }
    }

    /// Sorts by the next column.
    pub fn turn(&mut self) {
        let all = <Column as clap::ValueEnum>::value_variants();
        let now = all.iter().position(|column| *column == self.sort);
        self.sort = all[now.map_or(0, |now| (now + 1) % all.len())];
    }

    /// The path and query of the API.
    fn path(&self) -> String {
        let mut path = format!(
            "/api/streams?limit={}&sort={}&descending={}&q=",
            self.limit,
            self.sort.name(),
            self.descending
        );
        for byte in self.filter.bytes() {
            if byte.is_ascii_alphanumeric() {
                path.push(byte.into());
            } else {
                let _ = write!(path, "%{byte:02X}");
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_stays_one_value_of_the_query() {
        let mut view = View {
            sort: Column::Stalled,
            descending: true,
            filter: "a&b é".to_owned(),
            limit: 7,
        };
        assert_eq!(
            view.path(),
            "/api/streams?limit=7&sort=stalled&descending=true&q=a%26b%20%C3%A9"
        );
        view.turn();
        assert_eq!(view.sort, Column::Id, "the first follows the last");
    }
}
