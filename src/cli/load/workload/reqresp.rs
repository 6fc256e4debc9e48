//! `reqresp`: requests at a fixed rate, whether or not the answers come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    super::{
        failure::Failure,
        pair::{Peer, Setup, drain, total},
        plan::Params,
        run::{Run, Task},
        stream::{Receiver, Sender},
    },
    Extra,
    pingpong::echo,
};

/// So many requests without an answer are too many: the router does not keep up.
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
    /// When request `n` of pair `pair` is due: pairs take turns.
    fn due(&self, n: u64, pair: u64) -> Instant {
        let index = n * self.pairs + pair;
        self.start + Duration::from_secs_f64(index as f64 / self.rate)
    }
}

/// Sets up the pairs; one thread sends for all of them, since timers of the runtime are good to a millisecond only.
pub async fn run(run: &Arc<Run>, params: &Params) -> Result<Extra, Failure> {
    let setup = Setup::new(run, params.sizes).await?;
    let pairs = setup.pairs(run, params.pairs).await?;
    let schedule = Schedule {
        start: Instant::now() + LOOK,
        rate: params.rate,
        pairs: params.pairs as u64,
    };
    let answered = Arc::new(AtomicU64::new(0));
    let (done, finished) = watch::channel(None);
    let mut senders = Vec::new();
    let mut tasks: Vec<Task> = Vec::new();
    for (index, pair) in pairs.into_iter().enumerate() {
        let lane = (pair.a.send.lane().id(), pair.b.send.lane().id());
        senders.push(pair.a.send);
        let answers = Answers {
            run: run.clone(),
            schedule,
            pair: index as u64,
            lane,
            answered: answered.clone(),
            finished: finished.clone(),
        };
        tasks.push(Box::pin(answers.receive(pair.a.recv, pair.b)));
    }
    let sending = run.clone();
    tasks.push(Box::pin(async move {
        let work = move || {
            let sent = send(&sending, schedule, &mut senders, &answered);
            let totals = senders.iter().map(|sender| sender.sent).collect();
            done.send_replace(Some(totals));
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

/// The receiving half of one pair.
struct Answers {
    run: Arc<Run>,
    schedule: Schedule,
    pair: u64,
    lane: (u32, u32),
    answered: Arc<AtomicU64>,
    finished: watch::Receiver<Option<Vec<u64>>>,
}

impl Answers {
    async fn receive(mut self, mut recv: Receiver, b: Peer) -> Result<(), Failure> {
        let echo = tokio::spawn(echo(self.run.clone(), b));
        while !recv.ended() {
            let Some(got) = recv.receive().await? else {
                return Err(Failure::Ended(recv.status()));
            };
            self.run.count(got);
            self.answered.fetch_add(got.messages, Relaxed);
            // The first message of all belonged to setting up.
            let last = recv.received - 1;
            for n in last - got.messages..last {
                let due = self.schedule.due(n, self.pair);
                self.run.latency(due.elapsed());
            }
        }
        let b = echo.await.map_err(|_| Failure::Closed)??;
        let (a_recv, b_recv) = tokio::try_join!(drain(&self.run, recv), drain(&self.run, b.recv))?;
        let totals = self.finished.wait_for(Option::is_some).await;
        let sent = totals.map_err(|_| Failure::Closed)?;
        let sent = sent.as_ref().map_or(0, |sent| sent[self.pair as usize]);
        total(self.lane.0, sent, &b_recv)?;
        total(self.lane.1, b.send.sent, &a_recv)
    }
}
