//! `check`: validates the configuration with all files it names, and prints the values in effect.

use std::ffi::OsString;
use std::io::{self, Write};

use super::{
    args::{CheckArgs, usage},
    exit::EX_CONFIG,
};
use crate::config;
use crate::server::live;

/// Exit code for wrong usage, as clap has it.
const USAGE: u8 = 2;

/// Runs `check` and gives the exit code: 0, or 78 with every problem on `err`. All but the ports is looked at by the very
/// code that `serve` starts with.
///
/// # Errors
///
/// Failures to write, other than a reader that went away.
pub fn run(
    args: &CheckArgs,
    env: Vec<(String, OsString)>,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    match check(args, env, out, err) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        result => result,
    }
}

fn check(
    args: &CheckArgs,
    env: Vec<(String, OsString)>,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    if args.example {
        out.write_all(config::example().as_bytes())?;
        return Ok(0);
    }
    let sources = match args.config.sources(env) {
        Ok(sources) => sources,
        Err(error) => {
            write!(err, "{}", usage(&error.to_string()))?;
            return Ok(USAGE);
        }
    };
    let loaded = match config::load(&sources) {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in problems.all() {
                writeln!(err, "error: {problem}")?;
            }
            return Ok(EX_CONFIG);
        }
    };
    for warning in &loaded.warnings {
        writeln!(err, "warning: {warning}")?;
    }
    match live::check(&loaded.config) {
        Ok(remarks) => {
            for remark in remarks {
                writeln!(err, "warning: {remark}")?;
            }
            out.write_all(config::effective(&loaded).as_bytes())?;
            out.flush()?;
            Ok(0)
        }
        Err(errors) => {
            for error in errors.all() {
                writeln!(err, "error: {error}")?;
            }
            Ok(EX_CONFIG)
        }
    }
}
