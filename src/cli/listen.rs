//! `listen`: takes the place of an exporter at a controller, with a service of its own behind it instead of drivers.

use std::{ffi::OsString, time::Duration};

use clap::Args;
use tokio::{task::JoinSet, time::timeout};

use super::{
    exit::Failure,
    forward::{
        LimitArgs,
        address::Address,
        relay::{Connection, Relay},
        until_stopped,
    },
    join::controller::{ExporterArgs, WireArgs},
    out::say,
    pipe::{WaysArgs, patiently, standard},
};
use crate::{
    client::{Grant, Listener, Session},
    protocol::v1::ExporterStatus,
};

/// The controller has so long to hear that this exporter goes.
const FAREWELL: Duration = Duration::from_secs(2);

/// A caller comes to the router so soon, if at all: stock clients wait no longer.
const CALLER: Duration = Duration::from_secs(20);

/// Options of `listen`.
#[derive(Args, Clone)]
#[command(after_help = "\
Clients reach the service with `jumpstarter-router dial`. It offers no drivers, so `jmp shell` and `j` are of no use with it.")]
pub struct ListenArgs {
    /// Whose exporter this is.
    #[command(flatten)]
    pub exporter: ExporterArgs,
    /// How to get there.
    #[command(flatten)]
    pub wire: WireArgs,
    /// Only for this lease, of an exporter that is registered by other means [default: register, and serve every lease]
    #[arg(long, value_name = "NAME")]
    pub lease: Option<String>,
    /// Connect to this service for each call: a port, host:port, or unix:PATH; without it, join standard input and output with
    /// the first call
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<Address>,
    /// Which ways, without `--to`.
    #[command(flatten)]
    pub ways: WaysArgs,
    /// The rest.
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// Runs `listen`.
pub(crate) async fn run(args: &ListenArgs, env: &[(String, OsString)]) -> Result<(), Failure> {
    let session = args.exporter.session(args.wire, env)?;
    let ended = until_stopped(Box::pin(work(args, &session))).await;
    if args.lease.is_none() {
        // A controller that cannot be told finds out by itself.
        let _ = timeout(FAREWELL, session.unregister("the listener ends")).await;
    }
    ended
}

async fn work(args: &ListenArgs, session: &Session) -> Result<(), Failure> {
    let relay = Relay::new(args.limits);
    if let Some(lease) = &args.lease {
        let calls = session.listen(lease.rsplit('/').next().unwrap_or_default());
        say!("listening for calls on {lease} at {}", session.endpoint());
        return serve(args, session, &relay, calls).await;
    }
    session.register().await?;
    session
        .report_status(ExporterStatus::Available, "registered")
        .await?;
    leases(args, session, &relay).await
}

/// Serves one lease after the other.
async fn leases(args: &ListenArgs, session: &Session, relay: &Relay) -> Result<(), Failure> {
    let mut leases = session.leases();
    say!("registered at {}, waiting for a lease", session.endpoint());
    let mut current = None;
    loop {
        let Some(lease) = current.take() else {
            current = leases.next().await?;
            continue;
        };
        let calls = session.listen(&lease);
        relay.note(format_args!("leased: {lease}"));
        let served = async {
            session
                .report_status(ExporterStatus::LeaseReady, "ready")
                .await?;
            serve(args, session, relay, calls).await
        };
        let next = tokio::select! {
            served = served => return served,
            next = other_lease(&mut leases, &lease) => next?,
        };
        relay.note(format_args!("the lease has ended: {lease}"));
        session
            .report_status(ExporterStatus::Available, "the lease has ended")
            .await?;
        current = next;
    }
}

/// Waits until the exporter is not in this lease any more.
async fn other_lease(
    leases: &mut crate::client::Leases,
    lease: &str,
) -> Result<Option<String>, Failure> {
    loop {
        let next = leases.next().await?;
        if next.as_deref() != Some(lease) {
            return Ok(next);
        }
    }
}

/// Joins calls with the service, or the first one with standard input and output.
async fn serve(
    args: &ListenArgs,
    session: &Session,
    relay: &Relay,
    mut calls: Listener,
) -> Result<(), Failure> {
    let Some(to) = &args.to else {
        let call = patiently("a call", calls.accept()).await?;
        return standard(session.open(&call).await?, args.ways).await;
    };
    let mut connections = JoinSet::new();
    loop {
        let connection = relay.seat().await;
        let call = loop {
            tokio::select! {
                call = calls.accept() => break call?,
                Some(_) = connections.join_next() => {}
            }
        };
        connections.spawn(join(connection, session.clone(), call, to.clone()));
    }
}

async fn join(connection: Connection, session: Session, call: Grant, to: Address) {
    // First the service, so that a caller never waits for one that is not there.
    let local = match to.connect().await {
        Ok(local) => local,
        Err(error) => {
            connection.say(format_args!("refused: cannot connect to {to}: {error}"));
            // The caller waits at the router, and is told by somebody who comes and goes.
            if let Ok(mut stream) = session.open(&call).await {
                let _ = timeout(CALLER, stream.answered()).await;
                stream.cancel().await;
            }
            return;
        }
    };
    match session.open(&call).await {
        Ok(stream) => {
            connection.say(format_args!("through {}", call.endpoint));
            connection.carry(local, stream).await;
        }
        Err(error) => connection.say(format_args!("closed: {}", Failure::from(error))),
    }
}
