//! Knows the halves that wait at this router, announces them, and hears of those that wait elsewhere.
//!
//! Streams touch it under a lock that is held for a few map operations; what takes longer, to publish above all, is done by
//! [`run`] alone. So a slow or dead bus delays nobody who needs no bus.

use std::{
    future::pending,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{
    announcement::{self, Announcement},
    bus::{Bus, Event},
    meet::{Elsewhere, Meet, Order, RouterId, Ticket, Topic},
};
use crate::{
    auth::{Key, Rules},
    observe::metrics::{ClusterAnnouncement, Metrics},
    pairing::table,
};

/// So many announcements go out at once, and then none for [`PAUSE`], however many halves wait: 2,000 a second.
const BATCH: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// When all are announced again, they are this far apart: half of what may go out, so that newcomers find room.
const AGAIN: Duration = Duration::from_millis(1);

/// So many farewells may wait to be published.
const FAREWELLS: usize = 1_000;

/// Publishing takes longer only if the bus does not take what it is given.
const PUBLISH: Duration = Duration::from_secs(1);

/// Holds the halves that wait here, and what other routers have to know of this one.
#[derive(Debug)]
pub(crate) struct Halves {
    meet: Mutex<Meet<Kept>>,
    /// A half came, or has to be announced sooner.
    due: Notify,
    own: Own,
    connected: AtomicBool,
    /// When that last changed.
    since: Mutex<Instant>,
    /// What other routers are told of halves there that are called no more.
    farewells: Mutex<Vec<(Topic, Vec<u8>)>>,
    metrics: Arc<Metrics>,
}

/// Says how other routers know and reach this one.
#[derive(Debug)]
pub(crate) struct Own {
    pub id: RouterId,
    /// SHA-256 of the certificate that it shows to other routers.
    pub certificate: [u8; 32],
    /// Where it listens for them.
    pub listening: SocketAddr,
    /// host:port where they reach it. If it is not set at the start, its address on the way to the bus is.
    pub advertised: OnceLock<String>,
}

/// Holds what is kept with a half while it waits.
#[derive(Debug)]
struct Kept {
    subject: Arc<str>,
    signer: Signer,
    place: table::Ticket,
    order: oneshot::Sender<Order>,
}

/// Names the key that signed a half's token.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    /// The rules by which the half was admitted: its key may not be among the newest.
    pub rules: Arc<Rules>,
    /// Its index among their keys.
    pub key: usize,
}

impl Signer {
    fn key(&self) -> &Key {
        &self.rules.keys.keys()[self.key]
    }
}

/// Makes a half known until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    halves: Arc<Halves>,
    ticket: Ticket,
    order: oneshot::Receiver<Order>,
}

impl Waiting {
    /// Waits until the half has to do something about one elsewhere. For ever if it is called or goes.
    pub(crate) async fn order(&mut self) -> Order {
        match (&mut self.order).await {
            Ok(order) => order,
            Err(_) => pending().await,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.halves.meet().leaves(self.ticket);
    }
}

impl Halves {
    /// Begins with none, and without a bus.
    pub(crate) fn new(own: Own, metrics: Arc<Metrics>) -> Arc<Self> {
        metrics.cluster_configured.set(1);
        Arc::new(Self {
            meet: Mutex::new(Meet::new(own.id)),
            due: Notify::new(),
            own,
            connected: AtomicBool::new(false),
            since: Mutex::new(Instant::now()),
            farewells: Mutex::default(),
            metrics,
        })
    }

    fn meet(&self) -> MutexGuard<'_, Meet<Kept>> {
        self.meet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names this router on the bus.
    pub(crate) fn name(&self) -> String {
        format!("jumpstarter-router {}", self.own.id)
    }

    /// Tells whether others hear of the halves here.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Tells for how long that has been so.
    pub(crate) fn since(&self) -> Duration {
        self.since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }

    fn changes(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Says how other routers know and reach this one.
    pub(crate) fn own(&self) -> &Own {
        &self.own
    }

    /// Makes a half known that waits in the table at `place`. `failed`: its calls that failed in a row.
    pub(crate) fn waits(
        self: &Arc<Self>,
        subject: &Arc<str>,
        signer: &Signer,
        place: table::Ticket,
        failed: u32,
    ) -> Waiting {
        let ticket = Ticket(uuid::Uuid::new_v4().into_bytes());
        let (order, on_order) = oneshot::channel();
        let kept = Kept {
            subject: subject.clone(),
            signer: signer.clone(),
            place,
            order,
        };
        let topic = Topic::of(subject);
        self.meet()
            .waits(topic, ticket, failed, kept, Instant::now());
        self.due.notify_one();
        Waiting {
            halves: self.clone(),
            ticket,
            order: on_order,
        }
    }

    /// Another router calls and shows a ticket: gives the place of the half that it names, which waits no more. `None` if
    /// no half of this subject has that ticket.
    pub(crate) fn take(&self, ticket: Ticket, subject: &str) -> Option<table::Ticket> {
        let mut meet = self.meet();
        let kept = meet.of(ticket)?;
        if *kept.subject != *subject {
            return None;
        }
        meet.leaves(ticket).map(|kept| kept.place)
    }

    /// Says how a half of this subject is called that waits here, as if it waited elsewhere.
    pub(crate) fn beside(&self, subject: &str) -> Option<Elsewhere> {
        let ticket = self.meet().half(&Topic::of(subject))?.0;
        Some(self.elsewhere(ticket, self.own.listening.to_string()))
    }

    /// The half that waits there was called in vain for too long, and the one here ends: so must that one, or it would wait
    /// on alone.
    pub(crate) fn gives_up(&self, at: &Elsewhere, subject: &str, signer: &Signer) {
        // Who is not told waits until it notices by itself.
        if self.is_connected() && self.farewells().len() < FAREWELLS {
            let farewell = self.elsewhere(at.ticket, String::new());
            let farewell = announcement::write(&farewell, signer.key(), subject);
            self.farewells().push((Topic::of(subject), farewell));
            self.due.notify_one();
        }
    }

    fn farewells(&self) -> MutexGuard<'_, Vec<(Topic, Vec<u8>)>> {
        self.farewells
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn elsewhere(&self, ticket: Ticket, address: String) -> Elsewhere {
        Elsewhere {
            router: self.own.id,
            ticket,
            address,
            certificate: self.own.certificate,
        }
    }

    /// Believes an announcement only if it was made with the key of the half that it is for: that one has the same token.
    fn hear(&self, topic: &Topic, bytes: &[u8]) {
        let count = |result| self.metrics.cluster_announcements.inc(result);
        let Some(heard) = Announcement::read(bytes) else {
            return count(ClusterAnnouncement::Unreadable);
        };
        if heard.at.router == self.own.id {
            return;
        }
        let meet = self.meet();
        let Some((_, kept)) = meet.half(topic) else {
            drop(meet);
            return count(ClusterAnnouncement::OfOthers);
        };
        let (signer, subject) = (kept.signer.clone(), kept.subject.clone());
        drop(meet);
        if !heard.is_by(signer.key(), &subject) {
            tracing::info!(
                router = %heard.at.router,
                "an announcement was not made by a router that has the key of the half it is for"
            );
            return count(ClusterAnnouncement::Unproven);
        }
        count(ClusterAnnouncement::Heard);
        let mut meet = self.meet();
        let order = if heard.is_farewell() {
            let called = meet.half(topic).map(|(ticket, _)| ticket) == Some(heard.at.ticket);
            let ended = called.then(|| meet.leaves(heard.at.ticket)).flatten();
            ended.map(|kept| (kept, Order::Unreached))
        } else {
            meet.heard(topic, &heard.at, Instant::now())
        };
        drop(meet);
        let Some((kept, order)) = order else {
            return self.due.notify_one();
        };
        if order == Order::Unreached {
            tracing::info!(
                stream = %kept.subject, router = %heard.at.router, address = heard.at.address,
                "the router where the other side waits should call this one, and does not"
            );
        }
        // The half is gone if this fails.
        let _ = kept.order.send(order);
    }

    /// Gives an announcement that is due, or when the next one is.
    fn take_due(&self, now: Instant) -> Result<(Topic, Vec<u8>), Option<Instant>> {
        if let Some(farewell) = self.farewells().pop() {
            return Ok(farewell);
        }
        let mut meet = self.meet();
        let Some((topic, ticket, kept)) = meet.take_due(now) else {
            return Err(meet.next_due());
        };
        let (signer, subject) = (kept.signer.clone(), kept.subject.clone());
        drop(meet);
        let address = self.own.advertised.get().cloned().unwrap_or_default();
        let elsewhere = self.elsewhere(ticket, address);
        Ok((
            topic,
            announcement::write(&elsewhere, signer.key(), &subject),
        ))
    }

    fn connected(&self, own: Option<IpAddr>) {
        if let Some(own) = own {
            let address = SocketAddr::new(own, self.own.listening.port());
            self.own.advertised.get_or_init(|| address.to_string());
        }
        let Some(address) = self.own.advertised.get() else {
            tracing::error!(
                "the routers' message bus is connected, but it is not known where other routers reach this one; set \
                 cluster.advertise"
            );
            return;
        };
        tracing::info!(router = %self.own.id, %address, "the routers' message bus is connected");
        self.connected.store(true, Ordering::Relaxed);
        self.changes();
        self.metrics.cluster_bus_connected.set(1);
        self.metrics.cluster_bus_connects.inc();
        self.meet().announce_all(AGAIN, Instant::now());
    }

    /// The bus is gone: nobody hears of the halves here.
    pub(crate) fn disconnected(&self) {
        if self.connected.swap(false, Ordering::Relaxed) {
            self.changes();
            tracing::warn!(
                "the routers' message bus is not connected: halves at different routers do not find each other"
            );
        }
        self.farewells().clear();
        self.metrics.cluster_bus_connected.set(0);
    }

    /// Publishes what is due. Returns when there may be more to do.
    async fn announce(&self, bus: &mut impl Bus) -> Next {
        for _ in 0..BATCH {
            let (topic, announcement) = match self.take_due(Instant::now()) {
                Ok(due) => due,
                Err(next) => return Next::At(next),
            };
            let published = timeout(PUBLISH, bus.publish(topic, announcement)).await;
            let result = match published {
                Ok(Ok(())) => ClusterAnnouncement::Sent,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "an announcement could not be published");
                    ClusterAnnouncement::NotSent
                }
                Err(_) => ClusterAnnouncement::NotSent,
            };
            self.metrics.cluster_announcements.inc(result);
            if result == ClusterAnnouncement::NotSent {
                break;
            }
        }
        Next::After(PAUSE)
    }
}

/// Says when there is more to announce.
enum Next {
    /// At that time, or when a half comes.
    At(Option<Instant>),
    /// Not before that.
    After(Duration),
}

/// Announces what waits here, and hears what waits elsewhere, for as long as it is polled.
pub(crate) async fn run(halves: Arc<Halves>, mut bus: impl Bus) {
    let mut next = Next::At(None);
    loop {
        let due = async {
            if !halves.is_connected() {
                return pending().await;
            }
            match next {
                Next::After(pause) => tokio::time::sleep(pause).await,
                Next::At(Some(at)) => {
                    tokio::select! {
                        () = sleep_until(at) => {}
                        () = halves.due.notified() => {}
                    }
                }
                Next::At(None) => halves.due.notified().await,
            }
        };
        tokio::select! {
            biased;
            event = bus.next() => match event {
                Event::Connected { own } => {
                    halves.connected(own);
                    next = Next::After(Duration::ZERO);
                }
                Event::Disconnected => halves.disconnected(),
                Event::Heard(topic, bytes) => halves.hear(&topic, &bytes),
            },
            () = due => next = halves.announce(&mut bus).await,
        }
    }
}

#[cfg(test)]
mod tests;
