//! `doctor`: says what is wrong between here and a router, and what to do about it.

mod explore;
mod finding;
mod http2;
mod names;
mod pairing;
mod tls;
mod token;
mod way;

use std::ffi::OsString;

use clap::Args;

use self::{explore::Routes, finding::Report};
use super::{
    exit::Failure,
    join::credentials::{RouterArgs, TokenArgs},
};
use crate::common::address;

// No `Debug`: the token is a secret.
/// Options of `doctor`.
#[derive(Args, Clone)]
#[command(after_help = "\
It looks at names and addresses, proxies, TCP, TLS, HTTP/2, the token and both clocks, and last pairs with itself: on one address, from the \
first to each other, and at --second-router. With the router's key (--key-file, ROUTER_KEY) it signs a token of its own. A given token is \
used: it must be the only one to use it. Without either it ends before the pairing.")]
pub struct DoctorArgs {
    /// Where the router is.
    #[command(flatten)]
    pub router: RouterArgs,
    /// How to be let in.
    #[command(flatten)]
    pub token: TokenArgs,
    /// Another router that should meet the first one's streams, as in a cluster
    #[arg(long, value_name = "HOST:PORT", value_parser = address::host_port)]
    pub second_router: Option<String>,
    /// Print JSON, one object a line: check, level (ok, warning, failed, skipped), text, advice
    #[arg(long)]
    pub json: bool,
}

/// Runs `doctor`.
pub(crate) async fn run(args: &DoctorArgs, env: &[(String, OsString)]) -> Result<(), Failure> {
    let mut report = Report::new(args.json);
    // What is wrong with the options ends it before it looks at anything.
    let router = Routes::new(&args.router, env)?;
    let tokens = token::find(&args.token, env)?;
    let second = args.second_router.as_ref().map(|second| RouterArgs {
        router: second.clone(),
        ..args.router.clone()
    });
    let second = second.map(|args| Routes::new(&args, env)).transpose()?;

    let mut ways = router.explore(&mut report).await;
    let clock = ways.iter().find_map(|way| way.clock);
    if let Some(second) = second {
        ways.extend(second.explore(&mut report).await);
    }
    token::clocks(clock, &mut report);
    let Some(tokens) = tokens else {
        report.skipped(
            "token",
            "none was given, so nothing was paired",
            "give the router's key with --key-file FILE, or a token with --token-file FILE",
        );
        return report.finish();
    };
    token::examine(&tokens, env, clock, &mut report);
    ways.retain(|way| way.is_router);
    pairing::try_all(&ways, &tokens, &mut report).await;
    report.finish()
}
