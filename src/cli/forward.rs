//! `forward`: carries TCP, Unix sockets and UDP through a router, many connections.
//!
//! [`near`] accepts connections, [`far`] connects to a service; [`hello`] is how they find each other over one subject.
//! Connections are [channels](channel) on [trunks](trunk); [`trunks`] says which goes where.

pub(crate) mod address;
pub(crate) mod channel;
pub(crate) mod end;
pub(crate) mod far;
pub(crate) mod hello;
pub(crate) mod meetings;
pub(crate) mod near;
pub(crate) mod relay;
pub(crate) mod trunk;
pub(crate) mod trunks;
pub(crate) mod udp;
pub(crate) mod unix_end;

use std::ffi::OsString;

use clap::{ArgGroup, Args};

use self::end::End;
use super::{
    exit::Failure,
    join::credentials::{RouterArgs, TokenArgs},
    stop::Stop,
};

/// What the help says of it.
const MORE: &str = "\
One end listens, the other connects to a service; both name the same token or subject. One process with --to for a subject.

UDP, here TFTP; both ends say udp:
  jumpstarter-router forward --router HOST:PORT --token-file FILE --to udp:192.0.2.1:69
  jumpstarter-router forward --router HOST:PORT --token-file FILE --listen udp:192.0.2.77:69

With --token-file, no new connections are made once the token has expired: those that exist go on, and then it ends with \
4. With --subject and the router's key there is no such limit.";

// No `Debug`: the token is a secret.
/// Options of `forward`.
#[derive(Args, Clone)]
#[command(after_help = MORE, group = ArgGroup::new("end").args(["listen", "to"]).required(true))]
pub struct ForwardArgs {
    /// Accept connections here: a port, host:port, unix:PATH, or udp:host:port for datagrams
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<End>,
    /// Connect to this service for each connection of the other end: a port, host:port, unix:PATH, or udp:host:port
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<End>,
    /// Where the router is.
    #[command(flatten)]
    pub router: RouterArgs,
    /// Who may join.
    #[command(flatten)]
    pub token: TokenArgs,
    /// The rest.
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// What `forward`, `dial` and `listen` have in common.
#[derive(Args, Clone, Copy, Debug)]
pub struct LimitArgs {
    /// Connections at the same time; more have to wait
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub max_connections: u32,
    /// Say nothing but warnings and errors
    #[arg(long)]
    pub quiet: bool,
}

/// Runs `forward`.
pub(crate) async fn run(args: &ForwardArgs, env: &[(String, OsString)]) -> Result<(), Failure> {
    let tokens = args.token.tokens(env)?;
    let connector = args.router.connector(env)?;
    let relay = relay::Relay::new(args.limits);
    match (&args.listen, &args.to) {
        (Some(End::Stream(listen)), _) => {
            let listener = relay::listen(listen).await?;
            // A wrong address or certificate shows now, and not with the first connection.
            drop(connector.io().await?);
            relay::announce(&listener, connector.endpoint());
            until_stopped(near::run(listener, &connector, &tokens, &relay)).await
        }
        (Some(End::Datagrams(listen)), _) => {
            let socket = udp::near::bind(listen).await?;
            drop(connector.io().await?);
            let address = format!("udp:{}", socket.local_addr()?);
            relay::announce_at(&address, connector.endpoint());
            until_stopped(udp::near::run(socket, &connector, &tokens, &relay)).await
        }
        (None, Some(to)) => until_stopped(far::run(to, &connector, &tokens, &relay)).await,
        // The command line has one of them.
        (None, None) => Ok(()),
    }
}

/// Runs until it fails or somebody ends this process, which is no failure.
pub(crate) async fn until_stopped(
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let ended = tokio::select! {
        // Work that knows what a signal means for it has the word.
        biased;
        ended = work => ended,
        _ = stop.wait() => Ok(()),
    };
    // What was dropped is cancelled, and the other sides are told meanwhile.
    tokio::time::sleep(relay::FAREWELL).await;
    ended
}
