//! `token`: makes router tokens, and says what is in one.

pub(crate) mod inspect;
pub(crate) mod mint;

use std::{ffi::OsString, process::ExitCode};

use clap::{Args, Subcommand};

/// Options of `token`.
#[derive(Args, Clone)]
pub struct TokenCommand {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What `token` can do.
#[derive(Clone, Subcommand)]
pub enum Action {
    /// Sign a token with the router's key, as the controller does
    Mint(mint::MintArgs),
    /// Say what a token holds, and whether the router would accept it
    Inspect(inspect::InspectArgs),
}

/// Runs `token`.
pub(crate) fn run(args: &TokenCommand, env: &[(String, OsString)]) -> ExitCode {
    match &args.action {
        Action::Mint(args) => mint::run(args, env),
        Action::Inspect(args) => inspect::run(args, env),
    }
}
