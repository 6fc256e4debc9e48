//! `reqresp`: requests at a fixed rate, whether or not the answers come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{
    super::{
        failure::Failure,
        pair::{Peer, Setup, finish},
        plan::Params,
        run::Run,
        stream::Sender,
    },
    Extra,
    pingpong::echo,
};

/// A router with so many requests to answer does not keep up.
const MOST_WAITING: u64 = 200_000;

/// The sending thread looks for the end of the run at least so often.
const LOOK: Duration = Duration::from_millis(20);

/// When each request is due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    start: Instant,
    rate: f64,
    pairs: u64,
}

impl Schedule {
    /// Says when request `n` of pair `pair` is due: pairs take turns.
    fn due(&self, n: u64, pair: u64) -> Instant {
        let index = n * self.pairs + pair;
        self.start + Duration::from_secs_f64(index as f64 / self.rate)
    }
}

/// Sets up the pairs; one thread sends for all of them, since timers of the runtime are good to a millisecond only.
pub(crate) async fn run(run: &Arc<Run>, params: &Params) -> Result<Extra, Failure> {
    let setup = Setup::new(run, params.sizes).await?;
    let pairs = setup.pairs(run, params.args.pairs).await?;
    let schedule = Schedule {
        start: Instant::now() + LOOK,
        rate: params.args.rate,
        pairs: u64::from(params.args.pairs),
    };
    let answered = Arc::new(AtomicU64::new(0));
    let (mut senders, mut returns) = (Vec::new(), Vec::new());
    let mut tasks: Vec<BoxFuture<'static, _>> = Vec::new();
    for (index, pair) in pairs.into_iter().enumerate() {
        senders.push(pair.a.send);
        let (give, returned) = oneshot::channel();
        returns.push(give);
        let (run, answered) = (run.clone(), answered.clone());
        tasks.push(Box::pin(async move {
            let echo = tokio::spawn(echo(run.clone(), pair.b));
            let mut recv = pair.a.recv;
            while !recv.ended() {
                let got = recv.more().await?;
                run.count(got);
                answered.fetch_add(got.messages, Relaxed);
                // The first message of all belonged to setting up.
                let last = recv.received - 1;
                for n in last - got.messages..last {
                    run.latency(schedule.due(n, index as u64).elapsed());
                }
            }
            let b = echo.await.map_err(|_| Failure::Closed)??;
            let send = returned.await.map_err(|_| Failure::Closed)?;
            finish(&run, Peer { send, recv }, b).await
        }));
    }
    let sending = run.clone();
    tasks.push(Box::pin(async move {
        let work = move || {
            let sent = send(&sending, schedule, &mut senders, &answered);
            for (sender, give) in senders.into_iter().zip(returns) {
                // Whoever wanted it may have failed, and has said so.
                let _ = give.send(sender);
            }
            sent
        };
        let sent = tokio::task::spawn_blocking(work).await;
        sent.map_err(|_| Failure::Closed)?
    }));
    run.measure(tasks).await;
    Ok(Extra::new())
}

/// Sends each request when it is due, until the run stops; then ends all lanes.
fn send(
    run: &Run,
    schedule: Schedule,
    senders: &mut [Sender],
    answered: &AtomicU64,
) -> Result<(), Failure> {
    let pairs = senders.len() as u64;
    for index in 0_u64.. {
        let pair = index % pairs;
        let due = schedule.due(index / pairs, pair);
        while let Some(early) = due.checked_duration_since(Instant::now()) {
            if run.stop.is_cancelled() || early.is_zero() {
                break;
            }
            thread::sleep(early.min(LOOK));
        }
        if run.take(2) < 2 {
            break;
        }
        if run.measuring() {
            run.lateness.record(due.elapsed());
        }
        if index.saturating_sub(answered.load(Relaxed)) > MOST_WAITING {
            return Err(Failure::Late("answering at this rate"));
        }
        senders[pair as usize].put()?;
    }
    senders.iter_mut().try_for_each(Sender::finish)
}
