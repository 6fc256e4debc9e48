//! `top`: shows a running router's streams in a terminal. It asks the admin API, as the page does.

pub(crate) mod screen;
pub(crate) mod table;

use std::{
    ffi::OsString,
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use clap::Args;
use tokio::runtime::Builder;

use super::{admin_client::AdminArgs, exit::Failure, quietly};
use crate::admin::api::streams::Column;

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
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub interval: Duration,
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
    /// Only streams with this text in the subject or a peer's address
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub filter: String,
    /// Streams shown at most
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub limit: usize,
}

/// Runs `top`. Exit code 1 if the router could not be asked.
pub(crate) fn run(args: &TopArgs, env: &[(String, OsString)]) -> Result<(), Failure> {
    let list = &args.list;
    let client = list.admin.client(env)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let look = |list: &ListArgs| runtime.block_on(client.look(&list.path()));
    let on_terminal = io::stdout().is_terminal() && !list.json && !args.once;
    if on_terminal {
        return screen::show(args.interval, list.clone(), look);
    }
    loop {
        let seen = look(list)?;
        let text = if list.json {
            serde_json::to_string(&seen).map_err(io::Error::from)?
        } else {
            let mut lines = vec![table::head(&seen.status)];
            lines.extend(table::lines(&seen.streams));
            lines.join("\n")
        };
        if let Err(error) = writeln!(io::stdout().lock(), "{text}") {
            // Whoever reads has seen enough.
            return quietly(Err(error));
        }
        if args.once || !list.json {
            return Ok(());
        }
        std::thread::sleep(args.interval);
    }
}

impl ListArgs {
    /// Sorts by the next column.
    pub(crate) fn turn(&mut self) {
        let all = <Column as clap::ValueEnum>::value_variants();
        let now = all.iter().position(|column| *column == self.sort);
        self.sort = all[now.map_or(0, |now| (now + 1) % all.len())];
    }

    /// Writes it as path and query of the API.
    fn path(&self) -> String {
        let mut path = format!(
            "/api/streams?limit={}&sort={}&descending={}&q=",
            self.limit,
            self.sort.name(),
            !self.ascending
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
        let mut list = ListArgs {
            admin: AdminArgs {
                admin: None,
                token_file: None,
            },
            json: false,
            sort: Column::Stalled,
            ascending: false,
            filter: "a&b é".to_owned(),
            limit: 7,
        };
        assert_eq!(
            list.path(),
            "/api/streams?limit=7&sort=stalled&descending=true&q=a%26b%20%C3%A9"
        );
        list.turn();
        assert_eq!(list.sort, Column::Id, "the first follows the last");
    }
}
