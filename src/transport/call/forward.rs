//! Stands in for a waiting stream's partner that is at the successor: the two lanes are spliced with a stream there, as with a partner's.

use std::{net::IpAddr, pin::pin, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};

use crate::transport::{
    call::{
        peer::{Dialect, PeerSink, PeerSource},
        session::Session,
        successor::{Outcome, Reached},
    },
    counters::ConnectionCounters,
    limits::count::Counted,
    phase::Phase,
    shared::{Offer, Shared},
};
use crate::{
    observe::{
        metrics::{Held, SuccessorStream},
        panics::caught,
    },
    splice::{WHOLE_MESSAGE, drive::Deadlines, scanner::Scanner, side::Side},
};

/// After the stream has ended, its connection may take this long to send the rest.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Splices the stream that made `offer` with the one at the successor. Both have met their partner.
pub(crate) fn start(shared: &Arc<Shared>, reached: Reached, outcome: Outcome, offer: Offer) {
    let first = &offer.entry;
    let counters = Arc::new(ConnectionCounters::default());
    let permit = shared.streams.enter(
        first.subject.clone(),
        reached.address,
        None,
        Instant::now(),
        counters.clone(),
    );
    permit.entry.set_first(first.id);
    permit.entry.control.set_paired();
    shared.metrics.streams.inc();
    outcome.set(SuccessorStream::Forwarded);

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
            deadlines: deadlines(settings.streams.linger),
        },
        other: peer,
        _open: Held::new(&shared.metrics.successor_streams_open),
        _seat: offer.seat,
    };
    let task = Box::pin(forward.run(side, reached.driver));
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

/// Sets no others than those of this side: the peers' are kept where the peers are.
fn deadlines(linger: Duration) -> Deadlines {
    Deadlines {
        pairing: Duration::ZERO,
        idle: None,
        stall: None,
        lifetime: None,
        caller: None,
        linger,
    }
}

type SuccessorSide = Side<PeerSource, PeerSink>;

struct Forward {
    session: Session,
    /// The peer that waited here.
    other: IpAddr,
    _open: Held,
    _seat: Counted,
}

impl Forward {
    async fn run(self, side: SuccessorSide, mut driver: BoxFuture<'static, ()>) {
        let lost = {
            let mut talk = pin!(self.talk(side));
            tokio::select! {
                biased;
                () = &mut talk => false,
                () = &mut driver => {
                    // The stream knows by now.
                    talk.await;
                    true
                }
            }
        };
        if !lost {
            let _ = timeout(LAST_WORDS, driver).await;
        }
    }

    async fn talk(self, mut side: SuccessorSide) {
        let session = &self.session;
        let ending = session.splice(&mut side).await;
        let told = session.conclude(&mut side, ending, true).await;
        let met = Some((self.other, Duration::ZERO));
        session.record(side.totals(), ending, met, told);
    }
}
