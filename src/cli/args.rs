//! The command line.

use std::ffi::OsString;
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::completions::CompletionsArgs;
use super::config_args::{ConfigArgs, GoFlags, flag, in_the_open, secret};
use super::dial::DialArgs;
use super::doctor::DoctorArgs;
use super::forward::ForwardArgs;
use super::health::HealthArgs;
use super::help;
#[cfg(feature = "lab")]
use super::lab::LabArgs;
use super::listen::ListenArgs;
#[cfg(feature = "load")]
use super::load::args::LoadArgs;
use super::man::ManArgs;
use super::out::Manner;
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
    /// How much is said, and what is wrong with the command line.
    #[arg(skip)]
    pub manner: Manner,
    /// The words of the command.
    #[arg(skip)]
    pub words: Vec<String>,
}

/// What the program can do.
#[derive(Subcommand)]
pub enum Command {
    /// Run the router; also what happens without a subcommand
    Serve(ConfigArgs),
    /// Check the configuration and its files; print what is in effect
    Check(CheckArgs),
    /// Run all of Jumpstarter on this machine, without Kubernetes
    #[cfg(feature = "lab")]
    #[command(args_override_self = true, long_about = super::lab::ABOUT)]
    Lab(LabArgs),
    /// Measure a router with many pairs, and check all that they get
    #[cfg(feature = "load")]
    #[command(args_override_self = true)]
    Load(Box<LoadArgs>),
    /// Show the streams of a running router in a terminal
    Top(TopArgs),
    /// List, show or end streams of a running router, or drain it
    #[command(subcommand)]
    Streams(streams::Action),
    /// Make a router token, or say what is wrong with one
    #[command(subcommand)]
    Token(token::Action),
    /// Join standard input and output with those of another process
    Pipe(Box<PipeArgs>),
    /// Forward TCP or Unix sockets through a router
    Forward(Box<ForwardArgs>),
    /// Reach the exporter of a lease from a pipe or from local sockets
    Dial(Box<DialArgs>),
    /// Take the place of an exporter, with a local service behind it
    Listen(Box<ListenArgs>),
    /// Say what is wrong between here and a router, and what to do
    Doctor(Box<DoctorArgs>),
    /// Pair with itself through a router, and say how long that takes
    Probe(Box<ProbeArgs>),
    /// Ask a running router whether it is ready, for probes and scripts
    Health(HealthArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print a manual page, or write one for each command
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

/// Describes the program with all its commands and their texts.
pub fn command() -> clap::Command {
    help::complete(Cli::command())
}

/// A usage error in the program's own words, of the command with these words.
pub(crate) fn usage(text: &str, words: &[String]) -> clap::Error {
    let mut program = command();
    program.build();
    let found = words
        .iter()
        .try_fold(&program, |command, word| command.find_subcommand(word));
    let mut found = found.unwrap_or(&program).clone();
    found.error(ErrorKind::ValueValidation, text)
}

/// Parses a command line, program name first.
///
/// # Errors
///
/// Usage errors, and the texts of `--help` and `--version`; `clap::Error::exit` prints each and
/// exits with the right code.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let (args, upstream) =
        go_flags(args.into_iter().collect()).map_err(|text| usage(&text, &[]))?;
    let matches = command().try_get_matches_from(args)?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))?;
    (cli.manner, cli.words) = given(&matches);
    match &mut cli.command {
        None => cli.serve.upstream = upstream,
        Some(Command::Serve(config)) => config.upstream = upstream,
        Some(Command::Check(check)) => check.config.upstream = upstream,
        Some(_) if upstream == GoFlags::default() => {}
        Some(_) => {
            return Err(usage(
                "upstream's flags belong to serve and check",
                &cli.words,
            ));
        }
    }
    Ok(cli)
}

/// Finds out what all commands have in common: how much they say, and secrets that others on this machine can see.
fn given(matches: &ArgMatches) -> (Manner, Vec<String>) {
    let (mut matches, mut words) = (matches, Vec::new());
    while let Some((word, below)) = matches.subcommand() {
        words.push(word.to_owned());
        matches = below;
    }
    let has = |id: &str| matches.ids().any(|known| known == id);
    let typed = |id: &str| has(id) && matches.value_source(id) == Some(ValueSource::CommandLine);
    let flag = |id: &str| matches.try_get_one::<bool>(id).ok().flatten().copied();
    let mut manner = Manner {
        verbose: matches.try_get_one::<u8>("verbose").ok().flatten().copied(),
        quiet: flag("quiet").unwrap_or(false),
        warnings: Vec::new(),
    };
    let serves = matches!(
        words.first().map(|word| &**word),
        None | Some("serve" | "check")
    );
    for (id, instead) in [
        ("token", "--token-file FILE or JUMPSTARTER_ROUTER_TOKEN"),
        ("key", "--key-file FILE or ROUTER_KEY"),
    ] {
        // Of the router `--key` names a file, and a token to inspect may be a file as well.
        if typed(id) && !serves && words.last().is_none_or(|word| word != "inspect") {
            manner
                .warnings
                .push(in_the_open(&format!("--{id}"), instead));
        }
    }
    let is_lab = words.first().is_some_and(|word| word == "lab");
    let set = matches.try_get_many::<String>("set").ok().flatten();
    let set = set.into_iter().flatten().filter(|_| is_lab);
    manner.warnings.extend(set.filter_map(|set| secret(set)));
    (manner, words)
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
mod tests;
