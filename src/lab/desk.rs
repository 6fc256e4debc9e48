//! The lab in operation: leases, the clock, and who waits for what.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    leases::{Dial, Leases, Time},
    refusal::Refusal,
    routers::Routing,
    store::{Store, StoreError},
    tokens::Tokens,
};
use crate::{
    auth::{Claims, mint},
    common::{lock, since_epoch},
    observe::names::Names,
    transport::shared::Shared,
};

/// How long a call to an exporter waits for it to be ready. Stock clients try again for as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// So many tokens may wait for an exporter.
const QUEUE: usize = 8;

/// How often the clock is looked at when nothing is due, in case it was set.
const LOOK: Duration = Duration::from_secs(10);

/// What a side of a stream is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// host:port of the router.
    pub endpoint: String,
    /// The token, which is the same for both sides.
    pub token: String,
}

/// The lab in operation.
pub(crate) struct Desk {
    book: Mutex<Book>,
    /// Moves with every change.
    changed: watch::Sender<()>,
    /// The version of the book that is on the disk; `None` if none is kept.
    saved: Option<watch::Sender<u64>>,
    to_save: Notify,
    /// The ways to exporters that ask for tokens, by lease.
    listeners: Mutex<HashMap<String, mpsc::Sender<Route>>>,
    routing: Routing,
    /// Those of this process, which are told who takes part in a stream.
    routers: OnceLock<Vec<Arc<Shared>>>,
    /// Who is who.
    pub tokens: Tokens,
    /// Ends what would go on for ever.
    pub stop: CancellationToken,
}

struct Book {
    leases: Leases,
    /// Grows with what there is to save.
    version: u64,
}

impl Desk {
    /// Makes a lab with these leases. With `keep`, changes count once [`keep`](Self::keep) has saved them.
    pub(crate) fn new(leases: Leases, tokens: Tokens, routing: Routing, keep: bool) -> Self {
        Self {
            book: Mutex::new(Book { leases, version: 0 }),
            changed: watch::Sender::default(),
            saved: keep.then(|| watch::Sender::new(0)),
            to_save: Notify::new(),
            listeners: Mutex::default(),
            routing,
            routers: OnceLock::new(),
            tokens,
            stop: CancellationToken::new(),
        }
    }

    /// Looks at the leases.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Leases) -> T) -> T {
        look(&lock(&self.book).leases)
    }

    /// Changes something, and returns once that is safe.
    ///
    /// # Errors
    ///
    /// Those of `change`, or the lab is being stopped and nobody knows whether it was saved.
    pub(crate) async fn change<T>(
        &self,
        change: impl FnOnce(&mut Leases, Time) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let result = self.change_now(change)?;
        if let Some(saved) = &self.saved {
            let (mut saved, version) = (saved.subscribe(), lock(&self.book).version);
            tokio::select! {
                biased;
                done = saved.wait_for(|saved| *saved >= version) => {
                    done.map_err(|_| Refusal::Stopping)?;
                }
                () = self.stop.cancelled() => return Err(Refusal::Stopping),
            }
        }
        Ok(result)
    }

    /// Changes something that nobody waits for to be saved.
    pub(crate) fn change_now<T>(&self, change: impl FnOnce(&mut Leases, Time) -> T) -> T {
        let mut book = lock(&self.book);
        let result = change(&mut book.leases, now());
        if book.leases.has_unsaved() {
            if self.saved.is_some() {
                book.version += 1;
                self.to_save.notify_one();
            } else {
                book.leases.take_unsaved();
            }
        }
        drop(book);
        self.changed.send_replace(());
        result
    }

    /// Tells of every change.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Begins and ends leases on time.
    pub(crate) async fn tick(self: Arc<Self>) -> Infallible {
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            let now = now();
            let next = self.read(|leases| leases.next_deadline(now));
            let wait = next.map_or(LOOK, |next| next.saturating_sub(now).min(LOOK));
            tokio::select! {
                () = tokio::time::sleep(wait) => {
                    if next.is_some_and(|next| next <= self::now()) {
                        self.change_now(Leases::settle);
                    }
                }
                // It cannot fail: the desk holds the sender.
                _ = changes.changed() => {}
            }
        }
    }

    /// Saves what changes, until that fails.
    pub(crate) async fn keep(self: Arc<Self>, store: Store) -> StoreError {
        let store = Arc::new(store);
        loop {
            let (changes, version) = {
                let mut book = lock(&self.book);
                (book.leases.take_unsaved(), book.version)
            };
            if changes.is_empty() {
                self.to_save.notified().await;
                continue;
            }
            let store = store.clone();
            let saved = tokio::task::spawn_blocking(move || store.save(&changes)).await;
            match saved {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
            if let Some(saved) = &self.saved {
                saved.send_replace(version);
            }
        }
    }

    /// Takes in that the exporter of a lease asks for tokens. Who asked before gets no more.
    pub(crate) fn listen(self: &Arc<Self>, lease: &str) -> Listening {
        let (tokens, incoming) = mpsc::channel(QUEUE);
        lock(&self.listeners).insert(lease.to_owned(), tokens);
        self.changed.send_replace(());
        Listening {
            desk: self.clone(),
            lease: lease.to_owned(),
            incoming,
        }
    }

    /// Finds a way from a client to the exporter of its lease. Waits for an exporter that will soon be ready.
    pub(crate) async fn dial(&self, client: &str, lease: &str) -> Result<Route, Refusal> {
        let deadline = Instant::now() + PATIENCE;
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            // Before the exporters seem to be gone, because their streams are ended, too.
            if self.stop.is_cancelled() {
                return Err(Refusal::Stopping);
            }
            let refusal = match self.read(|leases| leases.dial(client, lease))? {
                Dial::Soon(refusal) => refusal,
                Dial::Now => match self.offer(lease) {
                    Err(refusal @ Refusal::NotListening(_)) => refusal,
                    done => return done,
                },
            };
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(deadline) => return Err(refusal),
                () = self.stop.cancelled() => return Err(Refusal::Stopping),
            }
        }
    }

    /// Makes a token and gives it to the exporter; it is the client's, too. With several routers each has it for another.
    fn offer(&self, lease: &str) -> Result<Route, Refusal> {
        let claims = Claims::new(Uuid::new_v4().to_string(), SystemTime::now());
        let names = self.names(lease);
        let listeners = lock(&self.listeners);
        let Some(listener) = listeners.get(lease) else {
            return Err(Refusal::NotListening(lease.to_owned()));
        };
        for router in self.routers.get().into_iter().flatten() {
            router.name(&claims.sub, names.as_ref());
        }
        let sides = self.routing.next();
        let token = mint(self.routing.key(), &claims);
        let route = |endpoint: &str| Route {
            endpoint: endpoint.to_owned(),
            token: token.clone(),
        };
        match listener.try_send(route(sides.exporter)) {
            Ok(()) => {
                if self.routing.is_apart() {
                    let (client_router, exporter_router) = (sides.client, sides.exporter);
                    let stream = claims.sub.as_str();
                    tracing::info!(
                        lease,
                        stream,
                        client_router,
                        exporter_router,
                        "the sides of a stream were sent to two routers"
                    );
                }
                Ok(route(sides.client))
            }
            Err(mpsc::error::TrySendError::Full(_)) => Err(Refusal::ListenerFull(lease.to_owned())),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                Err(Refusal::NotListening(lease.to_owned()))
            }
        }
    }
}

impl Desk {
    /// Says which routers of this process are to know who takes part in a stream.
    pub(crate) fn set_routers(&self, routers: Vec<Arc<Shared>>) {
        let _ = self.routers.set(routers);
    }

    /// Names who meets under a lease.
    fn names(&self, lease: &str) -> Option<Arc<Names>> {
        self.read(|leases| {
            let found = leases.lease(lease).ok()?;
            Some(Arc::new(Names {
                client: Some(found.client.as_str().into()),
                exporter: found.held().map(Into::into),
                lease: Some(lease.into()),
            }))
        })
    }
}

/// An exporter that asks for tokens.
pub(crate) struct Listening {
    desk: Arc<Desk>,
    lease: String,
    incoming: mpsc::Receiver<Route>,
}

impl Listening {
    /// Waits for the next token; `None`: another process asks now.
    pub(crate) async fn next(&mut self) -> Option<Route> {
        self.incoming.recv().await
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.incoming.close();
        let mut listeners = lock(&self.desk.listeners);
        // Another process may listen by now.
        if listeners
            .get(&self.lease)
            .is_some_and(mpsc::Sender::is_closed)
        {
            listeners.remove(&self.lease);
        }
    }
}

/// Tells the time by this machine's clock.
pub(crate) fn now() -> Time {
    since_epoch(SystemTime::now())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        config::Secret,
        lab::{
            leases::{Exporter, Phase, Terms},
            selector::Labels,
        },
        protocol::v1::ExporterStatus,
    };

    fn routing(endpoints: &[&str]) -> Routing {
        let endpoints = endpoints.iter().map(|&endpoint| endpoint.to_owned());
        let key = Secret::new(b"a key of a router under test, 32 bytes".to_vec());
        Routing::new(endpoints.collect(), key)
    }

    fn desk(keep: bool) -> Arc<Desk> {
        let exporter = Exporter::new(Labels::new(), true, "uuid".to_owned());
        let leases = Leases::new([("x".to_owned(), exporter)].into());
        let tokens = Tokens::new(b"a key of a lab under test, of 32 bytes".to_vec()).unwrap();
        let desk = Arc::new(Desk::new(leases, tokens, routing(&["router:1"]), keep));
        let connected = desk.change_now(|leases, now| leases.connect("x", now));
        connected.unwrap();
        desk
    }

    fn terms(milliseconds: u64) -> Terms {
        Terms {
            exporter: Some("x".to_owned()),
            duration: Duration::from_millis(milliseconds),
            ..Terms::default()
        }
    }

    async fn request(desk: &Desk, name: &str, milliseconds: u64) {
        let terms = terms(milliseconds);
        let made = desk.change(|leases, now| {
            leases.request("me", name, terms, now)?;
            Ok(())
        });
        made.await.unwrap();
    }

    fn report(desk: &Desk, status: ExporterStatus) {
        let done = desk.change_now(|leases, now| leases.report("x", status, String::new(), now));
        done.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn dial_waits_for_the_exporter_and_both_get_the_same() {
        let desk = desk(false);
        request(&desk, "a", 60_000).await;
        report(&desk, ExporterStatus::Available);
        let dial = tokio::spawn({
            let desk = desk.clone();
            async move { desk.dial("me", "a").await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        report(&desk, ExporterStatus::LeaseReady);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!dial.is_finished(), "nobody listens");
        let mut listening = desk.listen("a");
        let route = dial.await.unwrap().unwrap();
        assert_eq!(listening.next().await, Some(route.clone()));
        assert_eq!(route.endpoint, "router:1");
        assert_eq!(route.token.split('.').count(), 3);

        for _ in 0..QUEUE {
            desk.dial("me", "a").await.unwrap();
        }
        let full = desk.dial("me", "a").await;
        assert_eq!(full, Err(Refusal::ListenerFull("a".to_owned())));

        let mut newer = desk.listen("a");
        for _ in 0..QUEUE {
            assert!(listening.next().await.is_some(), "what was accepted comes");
        }
        assert_eq!(listening.next().await, None);
        drop(listening);
        let route = desk.dial("me", "a").await.unwrap();
        assert_eq!(newer.next().await, Some(route));
    }

    #[tokio::test(start_paused = true)]
    async fn dial_does_not_wait_for_ever() {
        let desk = desk(false);
        request(&desk, "a", 600_000).await;
        let began = Instant::now();
        let refused = desk.dial("me", "a").await;
        assert_eq!(refused, Err(Refusal::NotListening("a".to_owned())));
        report(&desk, ExporterStatus::Available);
        let refused = desk.dial("me", "a").await;
        assert_eq!(refused, Err(Refusal::NotReady("Available")));
        assert_eq!(began.elapsed(), PATIENCE * 2);
        desk.stop.cancel();
        assert_eq!(desk.dial("me", "a").await, Err(Refusal::Stopping));
    }

    #[tokio::test]
    async fn leases_end_by_themselves() {
        let desk = desk(false);
        let tick = tokio::spawn(desk.clone().tick());
        let mut changes = desk.changes();
        request(&desk, "a", 150).await;
        request(&desk, "b", 60_000).await;
        let holds = |name: &str| desk.read(|leases| leases.lease(name).unwrap().holds().is_some());
        assert!(holds("a") && !holds("b"));
        tokio::time::timeout(Duration::from_secs(10), async {
            while !holds("b") {
                changes.changed().await.unwrap();
            }
        })
        .await
        .unwrap();
        desk.read(|leases| {
            let a = leases.lease("a").unwrap();
            let Phase::Ended { at, .. } = a.phase else {
                panic!("{a:?}")
            };
            assert_eq!(at, a.created + Duration::from_millis(150));
        });
        tick.abort();
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let desk = desk(true);
        let early = {
            let desk = desk.clone();
            tokio::spawn(async move { request(&desk, "a", 60_000).await })
        };
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!early.is_finished(), "nothing is saved yet");
        let keep = tokio::spawn(desk.clone().keep(Store::open(&path).unwrap()));
        early.await.unwrap();
        for n in 0..20 {
            request(&desk, &format!("l{n}"), 60_000).await;
        }
        keep.abort();
        let _ = keep.await;
        drop(desk);
        // The last write may still be on its way to an end in its own thread.
        let store = loop {
            match Store::open(&path) {
                Ok(store) => break store,
                Err(StoreError::InUse(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(store.load().unwrap().len(), 21);
    }
}
