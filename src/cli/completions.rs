//! `completions`: prints a completion script for a shell.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, Command};
use clap_complete::Shell;

use super::{fail, quietly};

/// Options of `completions`.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Runs `completions` for the program that `command` describes.
pub(crate) fn run(args: CompletionsArgs, command: &mut Command) -> ExitCode {
    let script = script(args.shell, command);
    match quietly(io::stdout().lock().write_all(&script)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Writes the script, for the program under its usual name.
fn script(shell: Shell, command: &mut Command) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, command, name, &mut script);
    script
}
