//! Messages as a console sends them: small, and either one at a time or very many at once.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;

use super::peer::{Pair, next};
use crate::client::stream::data;

/// Bytes of a message.
const SIZE: usize = 64;

/// How long the round trips took.
pub struct Echoes {
    /// Sorted.
    times: Vec<Duration>,
}

impl Echoes {
    fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.times.len() * percent).div_ceil(100).max(1);
        self.times.get(rank - 1).copied().unwrap_or_default()
    }
}

impl fmt::Display for Echoes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} round trips of {SIZE} B, client to exporter and back: p50 {} us, p99 {} us",
            self.times.len(),
            self.percentile(50).as_micros(),
            self.percentile(99).as_micros()
        )
    }
}

/// The client sends a message and waits for its echo, `rounds` times.
pub async fn ping_pong(pair: &mut Pair, rounds: u32) -> Result<Echoes> {
    let Pair { client, exporter } = pair;
    let echo = async {
        for _ in 0..rounds {
            let message = next(&mut exporter.receive).await?;
            give(&exporter.send, message).await?;
        }
        Ok(())
    };
    let ask = async {
        let mut times = Vec::new();
        for number in 0..rounds {
            let sent = message(number);
            let started = Instant::now();
            give(&client.send, sent.clone()).await?;
            let back = next(&mut client.receive).await?;
            times.push(started.elapsed());
            ensure!(back == sent, "echo {number} is not what was sent");
        }
        Ok::<_, anyhow::Error>(times)
    };
    let (mut times, ()) = tokio::try_join!(ask, echo)?;
    times.sort_unstable();
    Ok(Echoes { times })
}

/// How a burst went.
pub struct Burst {
    messages: u32,
    took: Duration,
}

impl fmt::Display for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, took } = self;
        let millis = took.as_millis();
        let rate = f64::from(*messages) / took.as_secs_f64() / 1000.0;
        write!(
            f,
            "{messages} messages of {SIZE} B at once: {millis} ms, {rate:.0} thousand/s, all in order"
        )
    }
}

/// The exporter sends `messages` as fast as it can; the client must get them in order.
pub async fn burst(pair: &mut Pair, messages: u32) -> Result<Burst> {
    let Pair { client, exporter } = pair;
    let started = Instant::now();
    let send = exporter.send.clone();
    let sender = tokio::spawn(async move {
        for number in 0..messages {
            give(&send, message(number)).await?;
        }
        Ok::<_, anyhow::Error>(())
    });
    for number in 0..messages {
        let got = next(&mut client.receive).await?;
        ensure!(
            got == message(number),
            "message {number} came changed or out of order"
        );
    }
    let took = started.elapsed();
    sender.await??;
    Ok(Burst { messages, took })
}

fn message(number: u32) -> Bytes {
    let mut bytes = vec![b'.'; SIZE];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes.into()
}

async fn give(
    send: &tokio::sync::mpsc::Sender<crate::protocol::v1::StreamRequest>,
    message: Bytes,
) -> Result<()> {
    send.send(data(message))
        .await
        .map_err(|_| anyhow!("the router takes no more messages"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times = (1..=200).map(Duration::from_micros).collect();
        let echoes = Echoes { times };
        assert_eq!(echoes.percentile(50).as_micros(), 100);
        assert_eq!(echoes.percentile(99).as_micros(), 198);
        let none = Echoes { times: Vec::new() };
        assert_eq!(none.percentile(99), Duration::ZERO);
    }
}
