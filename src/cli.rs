//! The command line: one file a subcommand.

pub(crate) mod admin_client;
pub(crate) mod args;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config_args;
pub(crate) mod dial;
pub(crate) mod exit;
pub(crate) mod forward;
pub(crate) mod health;
mod http;
pub(crate) mod join;
#[cfg(feature = "lab")]
pub(crate) mod lab;
pub(crate) mod listen;
#[cfg(feature = "load")]
pub(crate) mod load;
pub(crate) mod man;
pub(crate) mod pipe;
pub(crate) mod probe;
pub(crate) mod serve;
mod status_line;
pub(crate) mod streams;
pub(crate) mod token;
pub(crate) mod top;

use std::{io, process::ExitCode};

use clap::CommandFactory as _;

use self::args::{Cli, Command};
use crate::{common::text::chain, config, observe::log, server::open_files};

/// Runs the program with the process's arguments and environment.
pub fn main() -> ExitCode {
    let code = run();
    log::flush(log::LAST_LINES);
    code
}

fn run() -> ExitCode {
    let cli: Cli = match args::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    // Most commands hold connections, and `check` speaks for those that do.
    open_files::raise_limit();
    let env = config::process_env();
    match cli.command {
        None => usual(serve::run(&cli.serve, env)),
        Some(Command::Serve(args)) => usual(serve::run(&args, env)),
        Some(Command::Check(args)) => {
            match check::run(
                &args,
                env,
                &mut io::stdout().lock(),
                &mut io::stderr().lock(),
            ) {
                Ok(code) => ExitCode::from(code),
                Err(error) => fail(&error),
            }
        }
        #[cfg(feature = "lab")]
        Some(Command::Lab(args)) => usual(lab::run(args, env)),
        #[cfg(feature = "load")]
        Some(Command::Load(args)) => load::run(&args, &env),
        Some(Command::Top(args)) => top::run(&args, &env),
        Some(Command::Streams(args)) => streams::run(&args, &env),
        Some(Command::Token(args)) => token::run(&args, &env),
        Some(Command::Pipe(args)) => pipe::run(&args, &env),
        Some(Command::Forward(args)) => forward::run(&args, &env),
        Some(Command::Dial(args)) => dial::run(&args, &env),
        Some(Command::Listen(args)) => listen::run(&args, &env),
        Some(Command::Probe(args)) => probe::run(&args, &env),
        Some(Command::Health(args)) => health::run(&args, env),
        Some(Command::Completions(args)) => completions::run(args, &mut Cli::command()),
        Some(Command::Man(args)) => man::run(&args, Cli::command()),
    }
}

/// The exit code, if the command line made sense; with an error it is left.
fn usual(code: Result<ExitCode, impl std::fmt::Display>) -> ExitCode {
    code.unwrap_or_else(|error| args::usage(&error.to_string()).exit())
}

/// A reader that went away has seen enough.
fn quietly(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Says what went wrong in one line, with its causes.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    log::say(&format!("error: {}", chain(error)));
    ExitCode::FAILURE
}
