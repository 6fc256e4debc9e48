//! Much data both ways at once, with checksums.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::Streaming;

use super::peer::{Pair, next};
use crate::{
    client::stream::data,
    protocol::v1::{StreamRequest, StreamResponse},
};

/// Payload of a frame; stock peers send no larger ones.
const FRAME: usize = 64 * 1024;

/// How the transfer went.
pub struct Bulk {
    mib: u32,
    took: Duration,
}

impl fmt::Display for Bulk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mib, took } = self;
        let seconds = took.as_secs_f64();
        let rate = f64::from(2 * mib) / seconds;
        write!(
            f,
            "{mib} MiB each way at once in 64 KiB frames: {seconds:.2} s, {rate:.0} MiB/s in all, checksums agree"
        )
    }
}

/// Sends `mib` MiB each way and compares what was sent with what arrived.
pub async fn both_ways(pair: &mut Pair, mib: u32) -> Result<Bulk> {
    let frames = mib * ((1024 * 1024 / FRAME) as u32);
    let started = Instant::now();
    let Pair { client, exporter } = pair;
    // On tasks of their own, so that both processors have something to do.
    let up = tokio::spawn(send(client.send.clone(), 1, frames));
    let down = tokio::spawn(send(exporter.send.clone(), 2, frames));
    let (got_down, got_up) = tokio::try_join!(
        receive(&mut client.receive, frames),
        receive(&mut exporter.receive, frames),
    )?;
    let took = started.elapsed();
    let (up, down) = tokio::try_join!(up, down)?;
    ensure!(
        up == got_up,
        "what the exporter received is not what the client sent"
    );
    ensure!(
        down == got_down,
        "what the client received is not what the exporter sent"
    );
    Ok(Bulk { mib, took })
}

/// Sends frames that never repeat, and gives their checksum.
async fn send(to: mpsc::Sender<StreamRequest>, seed: u64, frames: u32) -> Sum {
    let mut noise = Noise(seed);
    let mut sum = Sum::default();
    for _ in 0..frames {
        let frame = noise.frame();
        sum.add(&frame);
        if to.send(data(frame)).await.is_err() {
            // The stream has ended; whoever reads it says why.
            break;
        }
    }
    sum
}

async fn receive(from: &mut Streaming<StreamResponse>, frames: u32) -> Result<Sum> {
    let mut sum = Sum::default();
    for number in 0..frames {
        let frame = next(from).await?;
        ensure!(
            frame.len() == FRAME,
            "frame {number} arrived with {} bytes instead of {FRAME}",
            frame.len()
        );
        sum.add(&frame);
    }
    Ok(sum)
}

/// FNV-1a over words of 8 bytes instead of single ones, turned so that high bits count, too. Order matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sum(u64);

impl Default for Sum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            let mixed = (self.0 ^ u64::from_le_bytes(padded)).wrapping_mul(0x0100_0000_01b3);
            self.0 = mixed.rotate_left(29);
        }
    }
}

/// `SplitMix64`.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn frame(&mut self) -> Bytes {
        let mut frame = Vec::with_capacity(FRAME);
        while frame.len() < FRAME {
            frame.extend_from_slice(&self.next().to_le_bytes());
        }
        frame.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> Sum {
        let mut sum = Sum::default();
        sum.add(bytes);
        sum
    }

    #[test]
    fn the_checksum_notices_changes_and_swaps() {
        let frame = Noise(1).frame();
        let same = sum(&frame);
        let mut other = frame.to_vec();
        other[FRAME - 1] ^= 0x80;
        assert_ne!(sum(&other), same);
        let mut other = frame.to_vec();
        other.rotate_left(8);
        assert_ne!(sum(&other), same);
    }

    #[test]
    fn no_frame_repeats() {
        let mut noise = Noise(1);
        assert_ne!(noise.frame(), noise.frame());
    }
}
