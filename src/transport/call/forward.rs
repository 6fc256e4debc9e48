//! Stands in for a waiting stream's partner that is at another router: the two lanes are spliced with a stream there, as with
//! a partner's.

use std::{net::IpAddr, pin::pin, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};

use crate::transport::{
    call::{
        peer::{Dialect, PeerSink, PeerSource},
        reached::Reached,
        session::{Session, deadlines_of_router},
    },
    limits::count::Counted,
    outbound::Connected,
    phase::Phase,
    shared::{Offer, Shared},
};
use crate::{
    observe::{metrics::Held, panics::caught},
    splice::{WHOLE_MESSAGE, scanner::Scanner, side::Side},
};

/// After the stream has ended, its connection may take this long to send the rest.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Splices the stream that made `offer` with the one at another router. Both have met their partner. `open` counts it.
pub(crate) fn start(shared: &Arc<Shared>, reached: Reached, open: Held, offer: Offer) {
    let first = &offer.entry;
    let counters = reached.counters;
    let connection = counters.clone();
    let permit = shared.streams.enter(
        first.subject.clone(),
        reached.address,
        None,
        Instant::now(),
        counters.clone(),
    );
    permit.entry.set_first(first.id);
    permit.entry.set_relay();
    permit.entry.control.set_paired();
    if let Some((router, _)) = &reached.kept_for {
        permit.entry.set_other_router(router);
        first.set_other_router(router);
    }

    let settings = shared.settings.load();
    let dialect = Dialect::Successor {
        believed: reached.believed,
    };
    let source = PeerSource::new(reached.receive, counters, dialect);
    let control = permit.entry.control.clone();
    let sink = PeerSink::opened(reached.send, control, dialect);
    let compressed = reached.encodings.sends.is_some();
    let scanner = Scanner::new(
        settings.streams.max_message_size.bytes() as u64,
        WHOLE_MESSAGE,
        compressed,
    );
    let (peer, lanes) = (first.peer, offer.lanes.into_inner());
    let window = settings.streams.initial_window.bytes_u32();
    let side = Side::new(source, sink, scanner, lanes, window);
    let forward = Forward {
        session: Session {
            shared: shared.clone(),
            permit,
            deadlines: deadlines_of_router(settings.streams.linger),
            to_peer: false,
        },
        other: peer,
        _open: open,
        _seat: offer.seat,
    };
    let kept_for = reached.kept_for.map(|(router, sender)| {
        let address = reached.address;
        let kept = move |driver| Connected {
            address,
            sender,
            driver,
            counters: connection,
        };
        (router, kept)
    });
    let again = shared.clone();
    let driver = reached.driver;
    let task = Box::pin(async move {
        let left = forward.run(side, driver).await;
        match (left, kept_for) {
            (Some(driver), Some((router, kept))) => again.keep(router.id, kept(driver)),
            // The rest has to be sent.
            (Some(driver), None) => drop(timeout(LAST_WORDS, driver).await),
            (None, _) => {}
        }
    });
    let stop = shared.life.until(Phase::is_stopped);
    let metrics = shared.metrics.clone();
    shared.forwarding.tasks.spawn(async move {
        let what = "a forwarded stream's task panicked; the peer was told";
        tokio::select! {
            biased;
            () = stop => {}
            _ = caught(&metrics, peer, what, task) => {}
        }
    });
}

type RouterSide = Side<PeerSource, PeerSink>;

struct Forward {
    session: Session,
    /// The peer that waited here.
    other: IpAddr,
    _open: Held,
    _seat: Counted,
}

impl Forward {
    /// Gives the connection back unless it was lost.
    async fn run(
        self,
        side: RouterSide,
        mut driver: BoxFuture<'static, ()>,
    ) -> Option<BoxFuture<'static, ()>> {
        let mut talk = pin!(self.talk(side));
        tokio::select! {
            biased;
            () = &mut talk => return Some(driver),
            () = &mut driver => {}
        }
        // The stream knows by now, or learns it by this: a router that is silent has said nothing of an end.
        drop(driver);
        talk.await;
        None
    }

    async fn talk(self, mut side: RouterSide) {
        let session = &self.session;
        let ending = session.splice(&mut side).await;
        let told = session.conclude(&mut side, ending, true).await;
        let met = Some((self.other, Duration::ZERO));
        session.record(side.totals(), ending, met, told);
    }
}
