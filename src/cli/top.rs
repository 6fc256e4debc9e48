//! `top`: shows a running router's streams in a terminal. It asks the admin API, as the page does.

mod app;
mod asker;
mod cursor;
pub(crate) mod detail;
mod draw;
mod keys;
pub(crate) mod live;
pub(crate) mod past;
pub(crate) mod query;
pub(crate) mod screen;
mod signals;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod watch;

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use clap::{Args, ValueEnum as _};
use serde::Serialize;
use serde_json::Value;
use tokio::{runtime::Builder, time::sleep};

use self::{
    text::{Line, Tone},
    watch::Left,
};
use super::{
    admin_client::{AdminArgs, AdminError, Client},
    exit::{self, Exit, Failure},
    quietly, variable_os,
};
use crate::admin::api::{
    status::Status,
    streams::{Column, Listing},
};

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(50);

/// Options of `top`.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// What to show.
    #[command(flatten)]
    pub list: ListArgs,
    /// Print one table and exit; the same happens when the output is no terminal
    #[arg(long)]
    pub once: bool,
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time < SHORTEST {
        return Err(format!("expected at least {SHORTEST:?}"));
    }
    Ok(time)
}

/// Say which streams are shown, and how.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Which router.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
    /// Sort by this, the largest first
    #[arg(long, value_enum, default_value = "rate")]
    pub sort: Column,
    /// The smallest first
    #[arg(long)]
    pub ascending: bool,
    /// Only streams with this number, or with this text in the subject, a name, a certificate or a peer's address
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub filter: String,
    /// Streams shown at most
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub limit: usize,
}

impl ListArgs {
    /// Shows everything, sorted by this.
    #[cfg(test)]
    fn new(sort: Column) -> Self {
        Self {
            admin: AdminArgs::default(),
            json: false,
            sort,
            ascending: false,
            filter: String::new(),
            limit: 500,
        }
    }

    /// Sorts by the column that is so far behind this one.
    fn turn(&mut self, by: isize) {
        let all = Column::value_variants();
        let now = all.iter().position(|column| *column == self.sort);
        let next = now.unwrap_or(0).cast_signed() + by;
        self.sort = all[next.rem_euclid(all.len().cast_signed()).cast_unsigned()];
    }
}

/// Runs `top`. Exit code 1 if the router could not be asked.
pub(crate) fn run(args: &TopArgs, env: &[(String, OsString)]) -> Result<(), Failure> {
    let client = args.list.admin.client(env)?;
    let runtime = &mut Builder::new_current_thread();
    let on_terminal = io::stdout().is_terminal() && !args.list.json && !args.once;
    if !on_terminal {
        let once = args.once || !args.list.json;
        return exit::run(runtime, tell(client, &args.list, args.interval, once));
    }
    let is_coloured = variable_os("NO_COLOR", env).is_none();
    let (list, interval) = (args.list.clone(), args.interval);
    match exit::run(runtime, watch::watch(client, list, interval, is_coloured))? {
        Left::Quit => Ok(()),
        Left::Signal(signal) => {
            signals::end(signal)?;
            // Who ignores the signal ends all the same.
            Err(Failure::silent(Exit::Broken))
        }
    }
}

/// What is printed of one look. As the router has told it, for it may know more than this program.
#[derive(Serialize)]
struct Look {
    status: Value,
    streams: Value,
}

/// Prints what there is, once or again and again.
pub(crate) async fn tell(
    mut client: Client,
    list: &ListArgs,
    interval: Duration,
    once: bool,
) -> Result<(), Failure> {
    let path = query::streams(list);
    loop {
        let look = Look {
            status: client.get("/api/status").await?,
            streams: client.get(&path).await?,
        };
        let text = if list.json {
            serde_json::to_string(&look).map_err(io::Error::from)? + "\n"
        } else {
            table(look)?
        };
        let mut out = io::stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Whoever reads has seen enough.
            return quietly(Err(error));
        }
        drop(out);
        if once {
            return Ok(());
        }
        sleep(interval).await;
    }
}

fn table(look: Look) -> Result<String, AdminError> {
    let unknown = AdminError::Unknown;
    let status: Status = serde_json::from_value(look.status).map_err(unknown)?;
    let streams: Listing = serde_json::from_value(look.streams).map_err(unknown)?;
    let mut lines = live::head(&status);
    lines.extend(live::table(&streams.streams).lines(None));
    let more = streams.matching.saturating_sub(streams.streams.len());
    if more > 0 {
        lines.push(Line::new(Tone::Plain, format!("and {more} more")));
    }
    Ok(printed(&lines))
}

/// Writes lines as text for whoever is no terminal, or for one that breaks long ones.
pub(crate) fn printed(lines: &[Line]) -> String {
    let lines = lines.iter();
    lines.fold(String::new(), |text, line| {
        text + line.to_string().trim_end() + "\n"
    })
}
