//! How streams end, and what the peers are told.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tonic::{Code, Status, Streaming};

use super::{
    peer::{Pair, Peer, describe, next},
    stage::{Stage, readiness},
};
use crate::{
    client::{call, stream::data},
    grpc::status,
    protocol::v1::{FrameType, StreamResponse},
};

/// How long the demo's pair may go on after the drain began.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// What a peer was told: a GOAWAY frame, then a status.
pub struct Told {
    /// From what happened to the GOAWAY frame.
    pub after: Duration,
    status: Status,
}

impl Told {
    /// The status must be this one, and say why.
    pub fn expect(&self, code: Code) -> Result<()> {
        ensure!(
            self.status.code() == code && !self.status.message().is_empty(),
            "{} was expected with a reason, and {} came",
            status::name(code),
            describe(&self.status)
        );
        Ok(())
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = describe(&self.status);
        write!(f, "after {}: GOAWAY frame, {status}", millis(self.after))
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

async fn told(receive: &mut Streaming<StreamResponse>, since: Instant) -> Result<Told> {
    let frame = match receive.message().await {
        Ok(Some(frame)) => frame,
        Ok(None) => bail!("the stream ended with OK instead of a GOAWAY frame"),
        Err(status) => bail!("{} came without a GOAWAY frame", describe(&status)),
    };
    let after = since.elapsed();
    ensure!(
        frame.frame_type() == FrameType::Goaway && frame.payload.is_empty(),
        "a GOAWAY frame was expected, and a {} frame with {} bytes came",
        frame.frame_type().as_str_name(),
        frame.payload.len()
    );
    match receive.message().await {
        Err(status) => Ok(Told { after, status }),
        Ok(None) => bail!("OK came after the GOAWAY frame"),
        Ok(Some(_)) => bail!("a frame came after the GOAWAY frame"),
    }
}

/// Kills the exporter while the client is only reading.
pub async fn kill(exporter: &Peer, pair: &mut Pair) -> Result<Told> {
    let killed = Instant::now();
    exporter.kill().context("the connection cannot be cut")?;
    told(&mut pair.client.receive, killed).await
}

/// A client calls, and no exporter does.
pub async fn nobody_comes(stage: &Stage, client: &Peer) -> Result<Told> {
    let called = Instant::now();
    let token = stage.token("nobody comes");
    let mut call = call(client.channel(), &token, Vec::new())
        .await
        .map_err(|status| anyhow!(describe(&status)))?;
    told(&mut call.receive, called).await
}

/// How the drain went.
pub struct Drain {
    waiter: Told,
    took: Duration,
}

impl Drain {
    /// What the open pair saw.
    pub fn pair_report(&self) -> String {
        format!(
            "the open pair went on, closed and got OK on both sides; the router stopped after {}",
            millis(self.took)
        )
    }
}

impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/readyz 503; a waiting client was told {}", self.waiter)
    }
}

/// Drains the router while one stream waits and one pair is open.
pub async fn drain(stage: Stage, client: &Peer) -> Result<Drain> {
    let exporter = Peer::connect(&stage.connector()?).await?;
    let mut pair = Pair::meet(&stage, client, &exporter).await?;
    let token = stage.token("waits");
    let waiter = tokio::spawn(call_waiter(client.channel(), token));
    let metrics = stage.server.router().metrics.clone();
    while metrics.streams_waiting.get() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    let health = stage.health();
    let began = Instant::now();
    let drain = tokio::spawn(stage.server.drain(DRAIN_TIMEOUT));
    let mut waiter = waiter.await??;
    let waiter = told(&mut waiter.receive, began).await?;
    waiter.expect(Code::Unavailable)?;
    let status = readiness(health).await?;
    ensure!(status == 503, "/readyz says {status} during the drain");

    let payload = bytes::Bytes::from_static(b"still here");
    let sent = pair.client.send.send(data(payload.clone())).await;
    ensure!(sent.is_ok(), "the open pair was cut by the drain");
    let got = next(&mut pair.exporter.receive).await?;
    ensure!(got == payload, "a message was changed during the drain");
    let Pair {
        client,
        exporter: other,
    } = pair;
    drop((client.send, other.send));
    for mut receive in [client.receive, other.receive] {
        match receive.message().await {
            Ok(None) => {}
            Ok(Some(_)) => bail!("a frame came after both sides had closed"),
            Err(status) => bail!("{} came after both sides had closed", describe(&status)),
        }
    }
    let drained = drain.await?;
    ensure!(drained.ended == 0, "{} streams were cut off", drained.ended);
    ensure!(metrics.panics.get() == 0, "a task of the router panicked");
    Ok(Drain {
        waiter,
        took: began.elapsed(),
    })
}

async fn call_waiter(
    channel: tonic::transport::Channel,
    token: String,
) -> Result<crate::client::Call> {
    call(channel, &token, Vec::new())
        .await
        .map_err(|status| anyhow!(describe(&status)))
}
