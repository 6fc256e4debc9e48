//! `check`: validates the configuration with all files it names, and prints the values in effect.

use std::ffi::OsString;
use std::io::{self, Write};

#[cfg(feature = "cluster")]
use tokio::runtime::Builder;

use super::{
    args::CheckArgs,
    exit::{Exit, Failure},
    out::{self, quietly},
};
use crate::config::{self, Config, Sources};
#[cfg(feature = "cluster")]
use crate::server::cluster;
use crate::server::live;

/// Runs `check`, with every problem on `err`. All but the ports is looked at by the very code that `serve` starts with.
///
/// # Errors
///
/// A configuration that is wrong, and failures to write, other than a reader that went away.
pub fn run(
    args: &CheckArgs,
    env: Vec<(String, OsString)>,
    values: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), Failure> {
    if args.example {
        return quietly(values.write_all(config::example().as_bytes()));
    }
    match check(&args.config.sources(env)?, args.bus, values, err) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::silent(Exit::Config)),
        Err(error) => quietly(Err(error)),
    }
}

/// Tells whether all is well.
fn check(
    sources: &Sources,
    bus: bool,
    values: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<bool> {
    let loaded = match config::load(sources) {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in problems.all() {
                writeln!(err, "{} {problem}", out::ERROR)?;
            }
            return Ok(false);
        }
    };
    for warning in &loaded.warnings {
        writeln!(err, "{} {warning}", out::WARNING)?;
    }
    match live::check(&loaded.config) {
        Ok(remarks) => {
            for remark in remarks {
                writeln!(err, "{} {remark}", out::WARNING)?;
            }
            if bus && !check_bus(&loaded.config, err)? {
                return Ok(false);
            }
            values.write_all(config::effective(&loaded).as_bytes())?;
            values.flush()?;
            Ok(true)
        }
        Err(errors) => {
            for error in errors.all() {
                writeln!(err, "{} {error}", out::ERROR)?;
            }
            Ok(false)
        }
    }
}

/// Tells whether the message bus can be used, as far as there is one.
#[cfg(feature = "cluster")]
fn check_bus(config: &Config, err: &mut impl Write) -> io::Result<bool> {
    let tried = Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(cluster::try_bus(config));
    match tried {
        Ok(Some(server)) => writeln!(err, "the bus is connected: {server}")?,
        Ok(None) => writeln!(
            err,
            "{} there is no bus: cluster.servers is empty",
            out::WARNING
        )?,
        Err(error) => {
            writeln!(err, "{} {error}", out::ERROR)?;
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(not(feature = "cluster"))]
fn check_bus(_: &Config, err: &mut impl Write) -> io::Result<bool> {
    writeln!(
        err,
        "{} this program was built without the feature \"cluster\"",
        out::ERROR
    )?;
    Ok(false)
}
