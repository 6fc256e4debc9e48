//! `completions`: prints a completion script for a shell.

use clap::{Args, Command};
use clap_complete::Shell;

use super::{exit::Failure, print};

/// Options of `completions`.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Runs `completions` for the program that `command` describes.
pub(crate) fn run(args: CompletionsArgs, command: &mut Command) -> Result<(), Failure> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, name, &mut script);
    print(script)
}
