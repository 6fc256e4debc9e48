//! Serves a stream from the moment that it is paired to its record, whoever is at the other end.

use std::{future::poll_fn, net::IpAddr, sync::Arc, task::Poll, time::Duration};

use tokio::time::sleep;

use crate::transport::{
    memory::level::Level,
    past::End,
    shared::Shared,
    streams::{EntryPermit, StreamEntry},
};
use crate::{
    grpc::status,
    observe::record::StreamRecord,
    splice::{
        Sink, Source,
        control::Control,
        drive::{self, Deadlines},
        ending::Ending,
        side::{Side, Totals},
    },
};

/// The longest that a peer may take for what is left when that has to be free soon.
const IN_NEED: Duration = Duration::from_secs(1);

/// What is added to why a stream ended, if nobody could be told.
pub(crate) const UNTOLD: &str = "; the peer could not be told";

/// Sets the deadlines of a stream whose peer is at another router: that one keeps the peer's.
pub(crate) fn deadlines_of_router(linger: Duration) -> Deadlines {
    Deadlines {
        pairing: Duration::ZERO,
        idle: None,
        stall: None,
        lifetime: None,
        caller: None,
        linger,
    }
}

/// Holds what a stream that is served needs until its record.
pub(crate) struct Session {
    pub shared: Arc<Shared>,
    pub permit: EntryPermit,
    pub deadlines: Deadlines,
    /// The other end is a peer. What goes to another router is counted there, when it reaches a peer.
    pub to_peer: bool,
}

impl Session {
    pub(crate) fn entry(&self) -> &StreamEntry {
        &self.permit.entry
    }

    pub(crate) fn control(&self) -> &Control {
        &self.entry().control
    }

    /// Forwards until the stream has to end, and says why.
    pub(crate) async fn splice<S: Source, K: Sink>(&self, side: &mut Side<S, K>) -> Ending {
        let metrics = &self.shared.metrics;
        let (mut bytes, mut messages) = (0, 0);
        let (control, arrived) = (self.control(), self.entry().arrived);
        drive::splice(side, control, &self.deadlines, arrived, |totals| {
            if !self.to_peer {
                return;
            }
            if totals.bytes_out > bytes {
                metrics.forwarded_bytes.inc_by(totals.bytes_out - bytes);
                bytes = totals.bytes_out;
            }
            if totals.messages_out > messages {
                metrics
                    .forwarded_messages
                    .inc_by(totals.messages_out - messages);
                messages = totals.messages_out;
            }
        })
        .await
    }

    /// Tells the peer, and says whether it could be told. While memory is short here, which another router that says so
    /// cannot know, a peer that does not take what is left is not waited for.
    pub(crate) async fn conclude<S: Source, K: Sink>(
        &self,
        side: &mut Side<S, K>,
        ending: Ending,
        paired: bool,
    ) -> bool {
        self.control().set_concluding();
        let is_short = self.shared.memory.level() >= Level::NoGrowth;
        let in_need = ending.is_in_need() && is_short;
        let mut linger = self.deadlines.linger;
        if in_need {
            linger = linger.min(IN_NEED);
        }
        let needed = async {
            if in_need {
                // However it trickles away.
                sleep(linger + drive::FAREWELL).await;
            } else {
                self.comes_in_need(ending).await;
            }
        };
        let told = tokio::select! {
            biased;
            told = drive::conclude(side, ending, paired, linger) => Some(told),
            () = needed => None,
        };
        if told.is_none() {
            side.sink().reset();
        }
        told.unwrap_or(false)
    }

    /// Resolves when memory runs short while the peer is told an ending that was not for that.
    async fn comes_in_need(&self, ending: Ending) {
        poll_fn(|cx| match self.control().poll_end(cx) {
            Poll::Ready(cause) if !ending.is_in_need() && Ending::from(cause).is_in_need() => {
                Poll::Ready(())
            }
            _ => Poll::Pending,
        })
        .await;
    }

    /// Leaves the stream's record. `met`: the other side's peer, and how long it was waited for.
    pub(crate) fn record(
        &self,
        totals: Totals,
        ending: Ending,
        met: Option<(IpAddr, Duration)>,
        told: bool,
    ) {
        let entry = self.entry();
        let duration = entry.arrived.elapsed();
        let metrics = &self.shared.metrics;
        if self.to_peer {
            metrics.stream_ends.inc(ending.reason());
            metrics.observe_stream(duration, totals.bytes_in + totals.bytes_out);
        }
        self.shared.streams.leave(entry, &totals);
        let end = End {
            entry,
            totals,
            ending,
            told,
            waited: met.map(|(_, waited)| waited),
            duration,
        };
        self.shared.past.end(&end, self.shared.memory.level());
        let names = entry.names();
        let mut detail = ending.message().into_owned();
        if ending.can_be_told() && !told {
            detail.push_str(UNTOLD);
        }
        StreamRecord {
            id: entry.pair(),
            stream: entry.subject.clone(),
            names,
            peer: entry.peer,
            certificate: entry.certificate.clone(),
            other_peer: met.map(|(peer, _)| peer),
            other_router: entry
                .other_router()
                .map(|router| (router.id.to_string(), router.address.clone())),
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
            messages_in: totals.messages_in,
            messages_out: totals.messages_out,
            waited: met.map_or(duration, |(_, waited)| waited),
            duration,
            ended_by: ending.by().as_str(),
            reason: ending.reason(),
            status: status::name(ending.code()),
            detail: (!detail.is_empty()).then_some(detail),
        }
        .log();
    }
}
