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
mod stop;
pub(crate) mod streams;
pub(crate) mod token;
pub(crate) mod top;

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write as _},
    process::ExitCode,
};

use clap::CommandFactory as _;
use tokio::runtime::Builder;

use self::{
    args::{Cli, Command},
    exit::{Exit, Failure},
};
use crate::{config, observe::log, server::open_files};

/// Runs the program with the process's arguments and environment.
pub fn main() -> ExitCode {
    let code = match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.exit == Exit::Usage => args::usage(&failure.to_string()).exit(),
        Err(failure) => failure.report(),
    };
    log::flush(log::LAST_LINES);
    code
}

fn run() -> Result<(), Failure> {
    let cli: Cli = match args::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    // Most commands hold connections, and `check` speaks for those that do.
    open_files::raise_limit();
    let env = config::process_env();
    let one = &mut Builder::new_current_thread();
    let many = &mut Builder::new_multi_thread();
    match cli.command {
        None => serve::run(&cli.serve, env),
        Some(Command::Serve(args)) => serve::run(&args, env),
        Some(Command::Check(args)) => check::run(
            &args,
            env,
            &mut io::stdout().lock(),
            &mut io::stderr().lock(),
        ),
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
        Some(Command::Completions(args)) => completions::run(args, &mut Cli::command()),
        Some(Command::Man(args)) => man::run(&args, Cli::command()),
    }
}

/// A reader that went away has seen enough.
fn quietly(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Writes to standard output.
fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    quietly(io::stdout().lock().write_all(text.as_ref()))
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
