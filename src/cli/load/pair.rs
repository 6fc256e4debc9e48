//! Two peers that have met through the router.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::time::timeout;

use super::{
    dial::End,
    failure::Failure,
    pattern::{Lane, Sizes},
    run::Run,
    stream::{Got, Receiver, Sender},
    verify::Verifier,
};

/// Within this a pair must be there, and be gone after both its peers have finished.
const PATIENCE: Duration = Duration::from_secs(20);

/// One end of a pair.
#[derive(Debug)]
pub struct Peer {
    /// Sends this peer's messages.
    pub send: Sender,
    /// Receives the other's.
    pub recv: Receiver,
}

/// Two peers that have exchanged their first messages.
#[derive(Debug)]
pub struct Pair {
    /// The peer that called first.
    pub a: Peer,
    /// The other one.
    pub b: Peer,
    /// Their first messages, which are not part of what a run counts.
    pub first: Got,
}

/// What pairs are made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How long the messages are.
    pub sizes: Sizes,
    /// The stream windows of the two peers.
    pub windows: (u32, u32),
    /// Open connections for all first and all second peers; without them each stream makes its own.
    pub shared: Option<(SendRequest<Bytes>, SendRequest<Bytes>)>,
}

impl Setup {
    /// Makes pairs whose peers have the window of the run.
    pub async fn new(run: &Run, sizes: Sizes) -> Result<Self, Failure> {
        Self::with(run, sizes, (run.window, run.window)).await
    }

    /// Makes pairs with these windows, on shared connections if the run has them.
    pub async fn with(run: &Run, sizes: Sizes, windows: (u32, u32)) -> Result<Self, Failure> {
        let shared = if run.share {
            let a = run.dialer.connect(windows.0, End::First);
            let b = run.dialer.connect(windows.1, End::Second);
            Some(tokio::try_join!(a, b)?)
        } else {
            None
        };
        Ok(Self {
            sizes,
            windows,
            shared,
        })
    }

    /// Connects two peers and exchanges their first messages.
    pub async fn pair(&self, run: &Run) -> Result<Pair, Failure> {
        timeout(PATIENCE, self.meet(run))
            .await
            .map_err(|_| Failure::Late("setting up a pair"))?
    }

    async fn meet(&self, run: &Run) -> Result<Pair, Failure> {
        let (subject, id) = run.next_pair();
        let token = run.dialer.token(&subject);
        let there = Lane::new(2 * id, self.sizes, run.pattern.clone());
        let back = Lane::new(2 * id + 1, self.sizes, run.pattern.clone());
        let (on_a, on_b) = self.shared.clone().unzip();
        let call =
            async |end, open: Option<SendRequest<Bytes>>, window, send: &Lane, recv: &Lane| {
                let connection = match open {
                    Some(connection) => connection,
                    None => run.dialer.connect(window, end).await?,
                };
                let (stream, response) = run.dialer.call(connection, &token).await?;
                let mut send = Sender::new(stream, send.clone());
                let mut recv = Receiver::new(response, Verifier::new(recv.clone(), run.verify));
                if let Err(failure) = send.put() {
                    return Err(recv.why(failure).await);
                }
                Ok::<_, Failure>(Peer { send, recv })
            };
        let (mut a, mut b) = tokio::try_join!(
            call(End::First, on_a, self.windows.0, &there, &back),
            call(End::Second, on_b, self.windows.1, &back, &there)
        )?;
        let (to_a, to_b) = tokio::try_join!(a.recv.expect(1), b.recv.expect(1))?;
        let first = Got {
            messages: to_a.messages + to_b.messages,
            bytes: to_a.bytes + to_b.bytes,
        };
        Ok(Pair { a, b, first })
    }

    /// Makes `n` pairs, some at a time.
    pub async fn pairs(&self, run: &Run, n: u32) -> Result<Vec<Pair>, Failure> {
        use futures_util::{StreamExt, TryStreamExt, stream};
        stream::iter(0..n)
            .map(|_| self.pair(run))
            .buffer_unordered(16)
            .try_collect()
            .await
    }
}

impl Pair {
    /// Has both peers say that they are done, and checks what is still under way.
    pub async fn end(mut self, run: &Run) -> Result<(), Failure> {
        self.a.send.finish()?;
        self.b.send.finish()?;
        finish(run, self.a, self.b).await
    }
}

/// Receives the rest of a pair whose peers have both said that they are done: everything sent must have been received.
pub(crate) async fn finish(run: &Run, mut a: Peer, mut b: Peer) -> Result<(), Failure> {
    tokio::try_join!(drain(run, &mut a.recv), drain(run, &mut b.recv))?;
    for (from, to) in [(&a, &b), (&b, &a)] {
        let (sent, received) = (from.send.sent, to.recv.received);
        if sent != received {
            let lane = from.send.lane().id();
            return Err(Failure::Total(format!(
                "lane {lane}: {sent} messages sent, {received} received"
            )));
        }
    }
    Ok(())
}

async fn drain(run: &Run, receiver: &mut Receiver) -> Result<(), Failure> {
    let rest = async {
        while let Some(got) = receiver.receive().await? {
            run.count(got);
        }
        if receiver.ended() {
            Ok(())
        } else {
            Err(Failure::Ended(receiver.status()))
        }
    };
    timeout(PATIENCE, rest)
        .await
        .map_err(|_| Failure::Late("ending a pair"))??;
    run.ended_with(receiver.status());
    Ok(())
}
