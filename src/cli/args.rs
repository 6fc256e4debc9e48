//! The command line.

use std::ffi::OsString;
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use super::completions::CompletionsArgs;
use super::config_args::{ConfigArgs, GoFlags, flag};
use super::dial::DialArgs;
use super::forward::ForwardArgs;
use super::health::HealthArgs;
#[cfg(feature = "lab")]
use super::lab::LabArgs;
use super::listen::ListenArgs;
#[cfg(feature = "load")]
use super::load::args::LoadArgs;
use super::man::ManArgs;
use super::pipe::PipeArgs;
use super::probe::ProbeArgs;
use super::streams;
use super::token;
use super::top::TopArgs;
use crate::tls::provider::Provider;

/// What exactly runs, for reports of defects.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let (version, commit, tls) = (crate::VERSION, crate::COMMIT, Provider::Auto.resolve());
    format!("{version}\ncommit: {commit}\nTLS provider: {tls}")
});

/// Pairs two gRPC streams by token and forwards frames between them.
#[derive(Parser)]
#[command(
    name = "jumpstarter-router",
    version,
    long_version = LONG_VERSION.as_str(),
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What to do; without it, serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of `serve`, which may be given without naming it.
    #[command(flatten)]
    pub serve: ConfigArgs,
}

/// What the program can do.
#[derive(Subcommand)]
pub enum Command {
    /// Run the router; also what happens without a subcommand
    Serve(ConfigArgs),
    /// Validate the configuration and the files it names, and print the values in effect
    Check(CheckArgs),
    /// Run a whole Jumpstarter installation on this machine, without Kubernetes
    #[cfg(feature = "lab")]
    #[command(args_override_self = true, long_about = super::lab::ABOUT)]
    Lab(LabArgs),
    /// Measure a router: play both peers of many pairs and check all they get
    #[cfg(feature = "load")]
    #[command(args_override_self = true)]
    Load(Box<LoadArgs>),
    /// Show the streams of a running router in a terminal
    Top(TopArgs),
    /// List or end streams of a running router, live or past, or drain it
    #[command(
        subcommand,
        after_help = "Exit codes: 0 done, 1 the router cannot be asked or refused, 2 wrong usage"
    )]
    Streams(streams::Action),
    /// Make a router token, or say what is wrong with one
    #[command(subcommand)]
    Token(token::Action),
    /// Join standard input and output with another process through a router
    Pipe(Box<PipeArgs>),
    /// Forward TCP or Unix sockets through a router
    Forward(Box<ForwardArgs>),
    /// Join standard input and output, or local connections, with the exporter of a lease
    Dial(Box<DialArgs>),
    /// Take the place of an exporter, with a local service behind it
    Listen(Box<ListenArgs>),
    /// Try a router: pair with itself through it, and say how long that takes
    Probe(Box<ProbeArgs>),
    /// Ask a running router whether it is ready, for probes that run a command
    Health(HealthArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each subcommand
    Man(ManArgs),
}

/// Options of `check`.
#[derive(Args)]
pub struct CheckArgs {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print a configuration file with every key and its default, and do nothing else
    #[arg(long)]
    pub example: bool,
    /// Connect to the message bus of cluster.servers, too
    #[arg(long)]
    pub bus: bool,
}

/// A usage error in the program's own words.
pub(crate) fn usage(text: &str) -> clap::Error {
    Cli::command().error(ErrorKind::ValueValidation, text)
}

/// Parses a command line, program name first.
///
/// # Errors
///
/// Usage errors, and the texts of `--help` and `--version`; `clap::Error::exit` prints each and
/// exits with the right code.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let (args, upstream) = go_flags(args.into_iter().collect()).map_err(|text| usage(&text))?;
    let mut cli = Cli::try_parse_from(args)?;
    match &mut cli.command {
        None => cli.serve.upstream = upstream,
        Some(Command::Serve(config)) => config.upstream = upstream,
        Some(Command::Check(check)) => check.config.upstream = upstream,
        Some(_) if upstream == GoFlags::default() => {}
        Some(_) => return Err(usage("upstream's flags belong to serve and check")),
    }
    Ok(cli)
}

/// Upstream's flags: name, whether it takes a value, and the key it sets if any.
const GO_FLAGS: [(&str, bool, Option<&str>); 7] = [
    ("metrics-bind-address", true, Some("listen.metrics_address")),
    ("kubeconfig", true, None),
    ("zap-devel", false, None),
    ("zap-encoder", true, None),
    ("zap-log-level", true, None),
    ("zap-stacktrace-level", true, None),
    ("zap-time-encoding", true, None),
];

/// Takes upstream's flags out of a command line. They follow the rules of Go: one or two dashes,
/// the value after `=` or as the next argument, and no value as the next argument for booleans.
///
/// # Errors
///
/// A flag that needs a value and has none.
pub(crate) fn go_flags(args: Vec<OsString>) -> Result<(Vec<OsString>, GoFlags), String> {
    let mut rest = Vec::new();
    let mut found = GoFlags::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            rest.push(arg);
            break;
        }
        let Some((name, takes_value, key, value)) = arg.to_str().and_then(split) else {
            rest.push(arg);
            continue;
        };
        let value = match value {
            Some(value) => value.to_owned(),
            None if takes_value => {
                let next = args.next().and_then(|next| next.into_string().ok());
                next.ok_or_else(|| format!("flag needs an argument: -{name}"))?
            }
            None => String::new(),
        };
        match key {
            Some(key) => found.overrides.push(flag(key, &value, &format!("-{name}"))),
            None => found
                .notes
                .push(format!("flag -{name} is accepted but has no effect")),
        }
    }
    rest.extend(args);
    Ok((rest, found))
}

type Split<'a> = (&'static str, bool, Option<&'static str>, Option<&'a str>);

/// Recognizes one of upstream's flags and the value attached to it.
fn split(arg: &str) -> Option<Split<'_>> {
    let flag = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?;
    let (flag, value) = match flag.split_once('=') {
        Some((flag, value)) => (flag, Some(value)),
        None => (flag, None),
    };
    let (name, takes_value, key) = GO_FLAGS.into_iter().find(|(name, ..)| *name == flag)?;
    Some((name, takes_value, key, value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::Override;

    #[test]
    fn go_flags_of_upstream() {
        let split = |args: &[&str]| go_flags(args.iter().map(OsString::from).collect());
        let metrics = |value: &str| Override {
            key: "listen.metrics_address".to_owned(),
            value: value.to_owned(),
            flag: "-metrics-bind-address".to_owned(),
        };
        for args in [
            &["r", "-metrics-bind-address=:8080", "x"][..],
            &["r", "--metrics-bind-address=:8080", "x"],
            &["r", "-metrics-bind-address", ":8080", "x"],
            &["r", "--metrics-bind-address", ":8080", "x"],
        ] {
            let (rest, found) = split(args).unwrap();
            assert_eq!(rest, ["r", "x"]);
            assert!(found.overrides == [metrics(":8080")] && found.notes.is_empty());
        }
        let (rest, found) = split(&[
            "r",
            "-zap-devel",
            "-kubeconfig",
            "k",
            "-zap-encoder=json",
            "-zap-devel=false",
        ])
        .unwrap();
        assert_eq!(rest, ["r"]);
        assert_eq!(found.notes.len(), 4);
        assert!(split(&["r", "-kubeconfig"]).is_err());
        let (rest, found) = split(&["r", "-zap-develop", "--", "-zap-devel"]).unwrap();
        assert_eq!(rest, ["r", "-zap-develop", "--", "-zap-devel"]);
        assert!(found == GoFlags::default());
    }
}
