//! `pingpong`: each pair has one message under way.

use std::{sync::Arc, time::Instant};

use super::super::{
    failure::Failure,
    pair::{Pair, Peer, finish},
    run::Run,
};

/// Plays round trips on one pair until the run stops. Each peer is a task, as each is a process in life.
pub(crate) async fn play(run: Arc<Run>, pair: Pair) -> Result<(), Failure> {
    let Pair { mut a, b, .. } = pair;
    let echo = tokio::spawn(echo(run.clone(), b));
    while run.take(2) == 2 {
        let begin = Instant::now();
        if let Err(failure) = a.send.send().await {
            return Err(a.recv.why(failure).await);
        }
        run.count(a.recv.expect(1).await?);
        run.latency(begin.elapsed());
    }
    a.send.finish()?;
    let b = echo.await.map_err(|_| Failure::Closed)??;
    finish(&run, a, b).await
}

/// Answers each message with one, until there are no more.
pub(crate) async fn echo(run: Arc<Run>, mut peer: Peer) -> Result<Peer, Failure> {
    while !peer.recv.ended() {
        let got = peer.recv.more().await?;
        run.count(got);
        for _ in 0..got.messages {
            peer.send.send().await?;
        }
    }
    peer.send.finish()?;
    Ok(peer)
}
