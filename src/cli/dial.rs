//! `dial`: a stream to the exporter of a lease, through its controller, for standard input and output or for local
//! connections.

use std::ffi::OsString;

use clap::Args;
use tokio::task::JoinSet;

use super::{
    exit::Failure,
    forward::{
        LimitArgs,
        address::{Address, Listener, Local},
        relay::{self, Connection, Relay},
        until_stopped,
    },
    join::controller::{ClientArgs, WireArgs},
    pipe::{WaysArgs, patiently, standard},
};
use crate::client::Session;

/// Options of `dial`.
#[derive(Args, Clone)]
#[command(
    after_help = "A stock exporter speaks gRPC on its streams, so Jumpstarter's own tools can use a lease through a socket."
)]
pub struct DialArgs {
    /// Who dials what.
    #[command(flatten)]
    pub client: ClientArgs,
    /// How to get there.
    #[command(flatten)]
    pub wire: WireArgs,
    /// Accept connections here, and dial for each: a port, host:port, or unix:PATH; without it, join standard input and output
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<Address>,
    /// Which ways, without `--listen`.
    #[command(flatten)]
    pub ways: WaysArgs,
    /// The rest.
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// Runs `dial`.
pub(crate) async fn run(args: &DialArgs, env: &[(String, OsString)]) -> Result<(), Failure> {
    let session = args.client.session(args.wire, env)?;
    let lease = args.client.lease(env)?;
    let Some(address) = &args.listen else {
        let stream = patiently("the exporter", session.connect(&lease)).await?;
        return standard(stream, args.ways).await;
    };
    let relay = Relay::new(args.limits);
    let listener = relay::listen(address).await?;
    relay::announce(&listener, session.endpoint());
    until_stopped(accept(listener, &session, &lease, &relay)).await
}

async fn accept(
    listener: Listener,
    session: &Session,
    lease: &str,
    relay: &Relay,
) -> Result<(), Failure> {
    let mut connections = JoinSet::new();
    loop {
        match relay.accept(&listener, &mut connections).await {
            Ok((connection, local)) => {
                connections.spawn(serve(connection, local, session.clone(), lease.to_owned()));
            }
            // The lease has ended, or the token has.
            Err(failure) => {
                drop(listener);
                return Err(relay.wind_up(connections, failure).await);
            }
        }
    }
}

async fn serve(
    connection: Connection,
    local: Local,
    session: Session,
    lease: String,
) -> Result<(), Failure> {
    match session.connect(&lease).await {
        Ok(stream) => {
            connection.carry(local, stream).await;
            Ok(())
        }
        Err(error) => {
            let failure = Failure::from(error);
            connection.refuse(local, &failure);
            if failure.is_lasting {
                Err(failure)
            } else {
                Ok(())
            }
        }
    }
}
