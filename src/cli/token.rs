//! `token`: makes router tokens, and says what is in one.

pub(crate) mod inspect;
pub(crate) mod mint;

use std::ffi::OsString;

use clap::Subcommand;

use super::exit::Failure;

/// What `token` can do.
#[derive(Clone, Subcommand)]
pub enum Action {
    /// Sign a token with the router's key, as the controller does
    Mint(mint::MintArgs),
    /// Say what a token holds, and whether the router would accept it
    Inspect(inspect::InspectArgs),
}

/// Runs `token`.
pub(crate) fn run(action: &Action, env: &[(String, OsString)]) -> Result<(), Failure> {
    match action {
        Action::Mint(args) => mint::run(args, env),
        Action::Inspect(args) => inspect::run(args, env),
    }
}
