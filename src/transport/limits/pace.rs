//! Bytes a second: a peer gets its credit back no faster than it earns it.
//!
//! Nothing is queued for it and nothing is dropped: a sender without credit waits, and its partner gets what was sent.
//! So a rate is kept on average; at once, a stream may send its window and one second's worth.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::transport::{
    limits::{addresses::Address, bucket::Bucket},
    settings::Rates,
    shared::Shared,
};
use crate::{
    observe::metrics::PacedBy,
    splice::{Broken, Source},
};

/// A stream's source whose credit is held back to keep the rates that are set now.
#[derive(Debug)]
pub(crate) struct Paced<S> {
    source: S,
    router: Arc<Shared>,
    address: Arc<Address>,
    /// Credit is returned in steps of at least so many bytes.
    step: u64,
    /// Made when it is first needed.
    pace: Option<Box<Pace>>,
}

impl<S: Source> Paced<S> {
    /// `step`: the least credit that is worth returning, bytes.
    pub(crate) fn new(source: S, router: Arc<Shared>, address: Arc<Address>, step: u64) -> Self {
        Self {
            source,
            router,
            address,
            step,
            pace: None,
        }
    }

    fn rates(&self) -> Rates {
        self.router.settings.load().streams.rates()
    }

    fn release_earned(&mut self, cx: &mut Context<'_>) {
        let rates = self.rates();
        if let Some(pace) = &mut self.pace {
            let held_back = &self.router.metrics.credit_held_back;
            let earned = pace.poll(cx, rates, &self.address.bytes, |by| held_back.inc(by));
            if earned > 0 {
                self.source.release(cx, earned as usize);
            }
        }
    }
}

impl<S: Source> Source for Paced<S> {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.pace.is_some() {
            self.release_earned(cx);
        }
        self.source.poll_data(cx)
    }

    fn release(&mut self, cx: &mut Context<'_>, bytes: usize) {
        if self.pace.is_none() && self.rates() == Rates::default() {
            return self.source.release(cx, bytes);
        }
        let pace = self
            .pace
            .get_or_insert_with(|| Box::new(Pace::new(self.step)));
        pace.withheld += bytes as u64;
        self.release_earned(cx);
    }
}

/// What one stream has to wait for.
#[derive(Debug)]
struct Pace {
    step: u64,
    earned: Bucket,
    /// Bytes that are not yet paid for.
    withheld: u64,
    /// Bytes that are paid for when `sleep` ends.
    next: u64,
    sleep: Pin<Box<Sleep>>,
}

impl Pace {
    fn new(step: u64) -> Self {
        Self {
            step,
            earned: Bucket::default(),
            withheld: 0,
            next: 0,
            sleep: Box::pin(sleep_until(Instant::now())),
        }
    }

    /// How many bytes are earned since the last call. Wakes when there are more.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        rates: Rates,
        address: &Bucket,
        mut held_back: impl FnMut(PacedBy),
    ) -> u64 {
        let mut earned = 0;
        loop {
            if self.next > 0 {
                if self.sleep.as_mut().poll(cx).is_pending() {
                    return earned;
                }
                earned += std::mem::take(&mut self.next);
            }
            if self.withheld == 0 {
                return earned;
            }
            // A step at a time, so that much at once does not come back late.
            let piece = match self.withheld {
                last if last < 2 * self.step => last,
                _ => self.step,
            };
            self.withheld -= piece;
            let owe = |bucket: &Bucket, rate: Option<u64>| bucket.owe(piece, rate?);
            let by_stream = owe(&self.earned, rates.stream);
            let by_address = owe(address, rates.address);
            match by_stream.max(by_address) {
                None => earned += piece,
                Some(at) => {
                    let by_address = by_address > by_stream;
                    held_back(if by_address {
                        PacedBy::Address
                    } else {
                        PacedBy::Stream
                    });
                    self.next = piece;
                    self.sleep.as_mut().reset(at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    const STEP: u64 = 1_000;

    /// Sends `bytes` in all, with a window of three steps, to a reader that takes all at once.
    async fn send(rates: Rates, address: &Bucket, bytes: u64) -> (u64, u64) {
        let mut pace = Pace::new(STEP);
        let (mut by_stream, mut by_address) = (0, 0);
        let mut released = 0;
        pace.withheld = 3 * STEP;
        while released < bytes {
            let earned = poll_fn(|cx| {
                let earned = pace.poll(cx, rates, address, |by| match by {
                    PacedBy::Stream => by_stream += 1,
                    PacedBy::Address => by_address += 1,
                });
                if earned > 0 {
                    Poll::Ready(earned)
                } else {
                    Poll::Pending
                }
            })
            .await;
            released += earned;
            pace.withheld += earned;
        }
        (by_stream, by_address)
    }

    fn seconds(took: Duration) -> u64 {
        (took + Duration::from_millis(500)).as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_keeps_its_rate() {
        let rates = Rates {
            stream: Some(5_000),
            address: None,
        };
        let start = Instant::now();
        let (by_stream, by_address) = send(rates, &Bucket::default(), 300_000).await;
        // The first second's worth is there at once.
        assert_eq!(seconds(start.elapsed()), 59);
        assert!(by_stream > 200 && by_address == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn streams_of_one_address_share_its_rate() {
        let rates = Rates {
            stream: Some(8_000),
            address: Some(10_000),
        };
        let address = Bucket::default();
        let start = Instant::now();
        let (one, other, third) = tokio::join!(
            send(rates, &address, 200_000),
            send(rates, &address, 200_000),
            send(rates, &address, 200_000),
        );
        assert_eq!(seconds(start.elapsed()), 59);
        for (_, by_address) in [one, other, third] {
            assert!(by_address > 100, "{by_address}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        let start = Instant::now();
        let held_back = send(Rates::default(), &Bucket::default(), 1 << 40).await;
        assert_eq!((start.elapsed(), held_back), (Duration::ZERO, (0, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn much_at_once_comes_back_step_by_step_and_faster_once_the_rate_rises() {
        let mut pace = Pace::new(STEP);
        let address = Bucket::default();
        let slow = Rates {
            stream: Some(STEP),
            address: None,
        };
        pace.withheld = 1_000 * STEP + 1;
        let start = Instant::now();
        let mut next = async |rates| {
            poll_fn(|cx| match pace.poll(cx, rates, &address, |_| {}) {
                0 => Poll::Pending,
                earned => Poll::Ready(earned),
            })
            .await
        };
        assert_eq!(next(slow).await, STEP, "the first second's worth");
        assert_eq!(next(slow).await, STEP);
        assert_eq!(seconds(start.elapsed()), 1);
        let all = next(Rates::default()).await;
        assert_eq!(all, 998 * STEP + 1, "none is lost");
        assert_eq!(seconds(start.elapsed()), 2);
    }
}
