//! `demo`: a router and two peers on this machine, and a report of what the peers saw.
//!
//! Everything is real: sockets, TLS with a verified certificate, signed tokens, ordinary gRPC calls. Only the
//! distance is missing. Each step has a deadline, and the first thing that is not as it should be ends the demo.

mod bulk;
mod console;
mod endings;
mod peer;
mod report;
mod stage;

use std::{future::Future, net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::{runtime::Runtime, time::timeout};
use tonic::Code;

use self::{
    peer::{Pair, Peer},
    report::Report,
    stage::{PAIRING_TIMEOUT, Stage},
};
use super::fail;
use crate::{
    client::call,
    observe::log::{self, LogFormat},
};

/// Round trips of the console step.
const ROUND_TRIPS: u32 = 2_000;

/// Messages of the burst.
const BURST: u32 = 20_000;

/// For every step that moves little.
const STEP: Duration = Duration::from_secs(10);

/// Options of `demo`.
#[derive(Args)]
pub struct DemoArgs {
    /// MiB to move each way
    #[arg(long, value_name = "MIB", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub size: u32,
    /// Address of the router; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

/// Runs the demo. Exit code 0 if all was as it should be, else 1 and a sentence that says what was not.
pub fn run(args: &DemoArgs) -> ExitCode {
    // Only what the report cannot show.
    if let Err(error) = log::init(LogFormat::Text, "warn") {
        return fail(&error);
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let result = runtime.block_on(play(args, &mut Report::on_stdout()));
    runtime.shutdown_timeout(Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

async fn play(args: &DemoArgs, report: &mut Report) -> Result<()> {
    report.title(&format!(
        "Jumpstarter router {} ({}), with two peers on this machine",
        crate::VERSION,
        crate::COMMIT
    ))?;
    let stage = step("starting the router", STEP, Stage::set(args.listen)).await?;
    report.line(
        "router",
        &format!("gRPC on {}, {}", stage.address(), stage.health_report()),
    )?;

    let (client, exporter) = step("connecting the peers", STEP, connect(&stage, report)).await?;
    step("refusing strangers", STEP, strangers(&stage, report)).await?;

    let mut pair = step("pairing", STEP, Pair::meet(&stage, &client, &exporter)).await?;
    let limit = Duration::from_secs(30) + Duration::from_millis(250) * args.size;
    let bulk = step("moving data", limit, bulk::both_ways(&mut pair, args.size)).await?;
    report.line("bulk", &bulk.to_string())?;

    let limit = Duration::from_secs(60);
    let echoes = console::ping_pong(&mut pair, ROUND_TRIPS);
    let echoes = step("console messages", limit, echoes).await?;
    report.line("console", &echoes.to_string())?;
    let burst = console::burst(&mut pair, BURST);
    let burst = step("a burst of messages", limit, burst).await?;
    report.line("burst", &burst.to_string())?;

    let told = endings::kill(&exporter, &mut pair);
    let told = step("telling the survivor", STEP, told).await?;
    told.expect(Code::Unavailable)?;
    report.line("killed", "the exporter's TCP connection, without a word")?;
    report.line("", &format!("the client was told {told}"))?;
    drop(pair);

    let told = endings::nobody_comes(&stage, &client);
    let told = step("waiting in vain", STEP, told).await?;
    told.expect(Code::DeadlineExceeded)?;
    ensure!(
        told.after >= PAIRING_TIMEOUT,
        "the waiting stream was ended too early, after {:?}",
        told.after
    );
    report.line("alone", &format!("a client that waited was told {told}"))?;

    let drain = step("draining", STEP * 2, endings::drain(stage, &client)).await?;
    report.line("drain", &drain.to_string())?;
    report.line("", &drain.pair_report())?;
    report.line("result", "all as it should be")
}

/// Runs a part of the demo, within a deadline.
async fn step<T>(name: &str, limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    match timeout(limit, Box::pin(work)).await {
        Ok(result) => result.with_context(|| format!("{name} failed")),
        Err(_) => bail!("{name} was not done within {limit:?}"),
    }
}

async fn connect(stage: &Stage, report: &mut Report) -> Result<(Peer, Peer)> {
    let connector = stage.connector()?;
    let (client, exporter) = tokio::try_join!(
        Box::pin(Peer::connect(&connector)),
        Box::pin(Peer::connect(&connector))
    )?;
    report.line(
        "peers",
        &format!(
            "client and exporter, {}, certificate verified",
            client.tls()
        ),
    )?;
    Ok((client, exporter))
}

/// Neither side takes anybody for the right one.
async fn strangers(stage: &Stage, report: &mut Report) -> Result<()> {
    ensure!(
        stage.stranger()?.tls().await.is_err(),
        "a peer that trusts another certificate was content with this one"
    );
    let peer = Peer::connect(&stage.connector()?).await?;
    let answer = call(peer.channel(), &stage.forged_token(), Vec::new()).await;
    let Err(status) = answer else {
        bail!("a token signed with another key was admitted");
    };
    ensure!(
        status.code() == Code::Unauthenticated,
        "a token signed with another key was refused with {status}"
    );
    report.line(
        "trust",
        "another certificate: the peer hangs up; another key's token: UNAUTHENTICATED",
    )
}
