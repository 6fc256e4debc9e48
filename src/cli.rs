//! The command line: one file a subcommand.

pub(crate) mod admin_client;
pub(crate) mod args;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config_args;
pub(crate) mod dial;
pub(crate) mod doctor;
pub(crate) mod exit;
pub(crate) mod forward;
pub(crate) mod health;
pub(crate) mod help;
mod http;
pub(crate) mod join;
#[cfg(feature = "lab")]
pub(crate) mod lab;
pub(crate) mod listen;
#[cfg(feature = "load")]
pub(crate) mod load;
pub(crate) mod man;
pub(crate) mod out;
pub(crate) mod pipe;
pub(crate) mod probe;
pub(crate) mod serve;
mod status_line;
mod stop;
pub(crate) mod streams;
pub(crate) mod token;
pub(crate) mod top;

use std::{
    ffi::{OsStr, OsString},
    io,
    process::ExitCode,
};

use tokio::runtime::Builder;

use self::{
    args::{Cli, Command},
    exit::{Exit, Failure},
    out::{print, quietly},
    status_line::is_watched,
};
use crate::{config, observe::log, server::open_files};

/// Runs the program with the process's arguments and environment.
pub fn main() -> ExitCode {
    let cli: Cli = match args::parse(std::env::args_os()) {
        Ok(cli) => cli,
        // Help and the version are among these. Whether they can be written makes no difference.
        Err(error) => error.exit(),
    };
    let words = cli.words.clone();
    let code = match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.exit == Exit::Usage => {
            out::clap(&args::usage(&failure.to_string(), &words));
            ExitCode::from(failure.exit as u8)
        }
        Err(failure) => {
            let code = out::report(&failure);
            if failure.exit == Exit::Config && std::env::args_os().len() == 1 && is_watched() {
                out::note(format_args!(
                    "This runs the router. `jumpstarter-router --help` lists what else there is; \
                     `jumpstarter-router lab` runs all of Jumpstarter here."
                ));
            }
            code
        }
    };
    log::flush(log::LAST_LINES);
    code
}

fn run(cli: Cli) -> Result<(), Failure> {
    if has_own_log(cli.command.as_ref()) {
        cli.manner.warnings.iter().for_each(out::warning);
    } else {
        out::begin(&cli.manner)?;
    }
    // Most commands hold connections, and `check` speaks for those that do.
    open_files::raise_limit();
    let env = config::process_env();
    let one = &mut Builder::new_current_thread();
    let many = &mut Builder::new_multi_thread();
    match cli.command {
        None => serve::run(&cli.serve, env),
        Some(Command::Serve(args)) => serve::run(&args, env),
        Some(Command::Check(args)) => {
            check::run(&args, env, &mut io::stdout().lock(), &mut out::Stderr)
        }
        #[cfg(feature = "lab")]
        Some(Command::Lab(args)) => lab::run(args, env),
        #[cfg(feature = "load")]
        Some(Command::Load(args)) => load::run(&args, &env),
        Some(Command::Top(args)) => top::run(&args, &env),
        Some(Command::Streams(args)) => streams::run(&args, &env),
        Some(Command::Token(args)) => token::run(&args, &env),
        Some(Command::Pipe(args)) => exit::run(one, pipe::run(&args, &env)),
        Some(Command::Forward(args)) => exit::run(many, forward::run(&args, &env)),
        Some(Command::Dial(args)) => exit::run(many, dial::run(&args, &env)),
        Some(Command::Listen(args)) => exit::run(many, listen::run(&args, &env)),
        Some(Command::Doctor(args)) => exit::run(one, doctor::run(&args, &env)),
        Some(Command::Probe(args)) => exit::run(one, probe::run(&args, &env)),
        Some(Command::Health(args)) => exit::run(one, health::run(&args, env)),
        Some(Command::Completions(args)) => completions::run(args, &mut args::command()),
        Some(Command::Man(args)) => man::run(&args, args::command()),
    }
}

/// Tells whether a command sets a log up for itself.
fn has_own_log(command: Option<&Command>) -> bool {
    match command {
        None | Some(Command::Serve(_)) => true,
        #[cfg(feature = "lab")]
        Some(Command::Lab(_)) => true,
        Some(_) => false,
    }
}

/// Looks for a variable of the environment; an empty one is as good as none.
fn variable_os<'a>(name: &str, env: &'a [(String, OsString)]) -> Option<&'a OsStr> {
    let found = env.iter().find(|(known, _)| known == name);
    found
        .map(|(_, value)| &**value)
        .filter(|value| !value.is_empty())
}

/// Looks for a variable that is text.
fn variable(name: &str, env: &[(String, OsString)]) -> Option<String> {
    variable_os(name, env)?.to_str().map(ToOwned::to_owned)
}
