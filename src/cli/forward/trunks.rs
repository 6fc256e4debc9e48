//! Keeps the trunks of the end that accepts connections, and says which connection goes where.
//!
//! A connection has a trunk to itself if it can, as then no other one's bytes are in front of its own. A burst shares one.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::{
    SendStream,
    client::{Connection, ResponseFuture, SendRequest},
};
use tokio::{
    sync::{Notify, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    channel::Channel,
    trunk::{self, CHANNELS, Kind, Why, Wire, lock},
};
use crate::{
    cli::exit::Failure,
    client::{RouterStream, router_stream::Calls},
};

/// Connections that come within so long are a burst.
const BURST: Duration = Duration::from_secs(1);

/// So many trunks are opened for connections that come one by one; then they share.
const OWN: usize = 16;

/// A trunk that carries nothing is kept for so many looks, one a second.
const KEPT: u32 = 30;

/// A trunk takes no more connections after so long. Whatever the router does with old streams, it does not do it to young
/// connections; and they move to the router that others have moved to.
const OLD: Duration = Duration::from_secs(5 * 60);

/// A trunk that was heard from so lately is there.
const FRESH: Duration = Duration::from_secs(5);

/// How long the other end may take to answer on a trunk that was not used for a while: a few round trips.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a trunk that nobody needs any more may take to close.
const FAREWELL: Duration = Duration::from_secs(5);

/// Holds all trunks.
#[derive(Default)]
pub(crate) struct Trunks {
    list: Mutex<Vec<Entry>>,
    tasks: Mutex<JoinSet<()>>,
    added: Notify,
}

struct Entry {
    /// Each of its channels has it, too.
    trunk: Arc<Trunk>,
    /// When the first of the connections that it carries came.
    busy_since: Instant,
    idle: u32,
}

/// Is one stream that has met the other end, and the connections on it.
pub(crate) struct Trunk {
    requests: SendRequest<Bytes>,
    calls: Mutex<Calls>,
    why: Why,
    met: Instant,
    gone: Arc<AtomicBool>,
    _wanted: DropGuard,
}

/// Is a trunk that has no stream yet, and its first connection, which has been asked for.
pub(crate) struct Begun {
    requests: SendRequest<Bytes>,
    connection: Connection<Wire>,
    response: ResponseFuture,
    send: SendStream<Bytes>,
    attach: oneshot::Sender<RouterStream>,
    why: Why,
    /// What the other end has to read first.
    pub early: Bytes,
}

impl Begun {
    /// Begins one.
    pub(crate) async fn new(kind: Kind) -> Result<Self, Failure> {
        let why = Why::default();
        let (attach, stream) = oneshot::channel();
        let (wire, early) = Wire::awaited(stream, why.clone());
        let begun = async {
            let (requests, mut connection) = trunk::near().handshake(wire).await?;
            let mut next = requests.clone().ready().await?;
            let (response, send) = next.send_request(kind.request(), false)?;
            // Once, so that all is written.
            if let Some(ended) = (&mut connection).now_or_never() {
                ended?;
            }
            Ok((requests, connection, response, send))
        };
        let begun = begun.await.map_err(|error| why.of(&error))?;
        let (requests, connection, response, send) = begun;
        Ok(Self {
            requests,
            connection,
            response,
            send,
            attach,
            why,
            early: early.take(),
        })
    }
}

impl Entry {
    fn load(&self) -> usize {
        Arc::strong_count(&self.trunk) - 1
    }

    /// Whether new connections may go there.
    fn is_open(&self) -> bool {
        let trunk = &self.trunk;
        trunk.met.elapsed() < OLD
            && !trunk.gone.load(Ordering::Relaxed)
            && !lock(&trunk.calls).are_over()
    }
}

impl Trunks {
    /// Finds the trunk for the next connection; `None` if it should have a new one.
    pub(crate) fn pick(&self) -> Option<Arc<Trunk>> {
        let mut list = lock(&self.list);
        list.retain(Entry::is_open);
        let is_free = |entry: &Entry| entry.load() == 0;
        let is_burst =
            |entry: &Entry| entry.busy_since.elapsed() < BURST && entry.load() < CHANNELS as usize;
        let mut found = list.iter().position(is_free);
        found = found.or_else(|| list.iter().position(is_burst));
        if found.is_none() && list.len() >= OWN {
            let least = list
                .iter()
                .enumerate()
                .min_by_key(|(_, entry)| entry.load());
            found = least
                .filter(|(_, entry)| entry.load() < CHANNELS as usize)
                .map(|(at, _)| at);
        }
        let entry = &mut list[found?];
        if is_free(entry) {
            entry.busy_since = Instant::now();
        }
        entry.idle = 0;
        Some(entry.trunk.clone())
    }

    /// Adds a trunk whose stream has met the other end, and gives its first connection.
    pub(crate) fn add(&self, begun: Begun, stream: RouterStream) -> Channel<Arc<Trunk>> {
        let Begun {
            requests,
            mut connection,
            response,
            send,
            attach,
            why,
            ..
        } = begun;
        let calls = Mutex::new(stream.calls());
        // The connection waits for it.
        let _ = attach.send(stream);
        let gone = Arc::new(AtomicBool::new(false));
        let wanted = CancellationToken::new();
        let task = {
            let (gone, wanted) = (gone.clone(), wanted.clone());
            async move {
                tokio::select! {
                    // Whoever has a channel is told why.
                    _ = &mut connection => {}
                    () = wanted.cancelled() => drop(timeout(FAREWELL, connection).await),
                }
                gone.store(true, Ordering::Relaxed);
            }
        };
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
        drop(tasks);
        let trunk = Arc::new(Trunk {
            requests,
            calls,
            why: why.clone(),
            met: Instant::now(),
            gone,
            _wanted: wanted.drop_guard(),
        });
        let channel = Channel::asked(response, send, why, trunk.clone());
        lock(&self.list).push(Entry {
            trunk,
            busy_since: Instant::now(),
            idle: 0,
        });
        self.added.notify_one();
        channel
    }

    /// Gives this trunk no more connections. Those that it has go on.
    fn give_up(&self, trunk: &Arc<Trunk>) {
        lock(&self.list).retain(|entry| !Arc::ptr_eq(&entry.trunk, trunk));
    }

    /// Opens a channel on a trunk. Fails if the trunk has turned out to be of no use.
    pub(crate) async fn open(
        &self,
        trunk: Arc<Trunk>,
        kind: Kind,
    ) -> io::Result<Channel<Arc<Trunk>>> {
        let opened = async {
            let requests = trunk.requests.clone().ready().await;
            let asked = requests.and_then(|mut it| it.send_request(kind.request(), false));
            let (response, send) = asked.map_err(|error| trunk.why.of(&error))?;
            let mut channel = Channel::asked(response, send, trunk.why.clone(), trunk.clone());
            if trunk.met.elapsed() > FRESH {
                // What was read from the local side by now would be lost with it.
                let late = |_| io::Error::from(io::ErrorKind::TimedOut);
                timeout(ANSWER, channel.answered()).await.map_err(late)??;
            }
            Ok(channel)
        };
        let opened = opened.await;
        if opened.is_err() {
            self.give_up(&trunk);
        }
        opened
    }

    /// Closes trunks that nobody has needed for a while. Never ends; cancel safe.
    pub(crate) async fn tend(&self) -> Infallible {
        loop {
            if lock(&self.list).is_empty() {
                self.added.notified().await;
            }
            sleep(Duration::from_secs(1)).await;
            lock(&self.list).retain_mut(|entry| {
                entry.idle = if entry.load() == 0 { entry.idle + 1 } else { 0 };
                entry.idle < KEPT && entry.is_open()
            });
        }
    }
}
