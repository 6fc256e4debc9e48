//! `man`: prints the manual page, or writes one for each subcommand, as packages want them.

use std::{fs, path::PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

use super::{exit::Failure, print};

/// Options of `man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Write a page for each subcommand into this directory, which is made if need be
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
}

/// Runs `man` for the program that `command` describes.
pub(crate) fn run(args: &ManArgs, command: Command) -> Result<(), Failure> {
    // Pages are made on another machine than they are read on, so they do not say what suits this processor.
    let command = command.version(crate::VERSION).long_version(crate::VERSION);
    if let Some(directory) = &args.directory {
        fs::create_dir_all(directory)?;
        return Ok(clap_mangen::generate_to(command, directory)?);
    }
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    print(page)
}
