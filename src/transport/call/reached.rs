//! A call that this router repeats at another one for a stream that waits here, and what it finds there.

use std::{net::IpAddr, sync::Arc};

use futures_util::future::BoxFuture;
use h2::{RecvStream, SendStream, client::SendRequest};
use http::{HeaderValue, Request};

use crate::transport::{
    counters::ConnectionCounters,
    outbound::{Answered, Connected},
    outgoing::Outgoing,
    shared::Shared,
    streams::OtherRouter,
};
use crate::{
    grpc::{
        call,
        headers::{self, Encodings},
    },
    observe::metrics::{ByLabel, Label},
};

/// Holds what of a call is repeated.
#[derive(Debug)]
pub(crate) struct Repeated<'c> {
    pub authorization: &'c HeaderValue,
    pub encodings: &'c Encodings,
}

impl Repeated<'_> {
    /// Makes the call for another router.
    pub(super) fn request(&self, shared: &Shared) -> Request<()> {
        let target = shared.forwarding.own.get().map(|own| own.target.clone());
        let mut request = call::request(target.unwrap_or_default(), self.authorization.clone());
        let map = request.headers_mut();
        map.insert(headers::FORWARDED_BY, shared.forwarding.process.clone());
        if let Some(encoding) = &self.encodings.sends {
            map.insert("grpc-encoding", encoding.clone());
        }
        if let Some(encodings) = &self.encodings.accepts {
            map.insert("grpc-accept-encoding", encodings.clone());
        }
        request
    }
}

/// Holds a stream at another router that has met its partner there.
pub(crate) struct Reached {
    pub address: IpAddr,
    /// The partner's.
    pub encodings: Encodings,
    /// It is known to be a router, so it is believed how the partner's stream ended.
    pub believed: bool,
    pub send: SendStream<Outgoing>,
    pub receive: RecvStream,
    /// The connection, which has this one stream. It must be polled for anything to pass.
    pub driver: BoxFuture<'static, ()>,
    pub counters: Arc<ConnectionCounters>,
    /// The router, if it is of this one's cluster, and what keeps the connection for it once the stream is over.
    pub kept_for: Option<(Arc<OtherRouter>, SendRequest<Outgoing>)>,
}

impl Reached {
    pub(super) fn new(
        connected: Connected,
        answered: Answered,
        believed: bool,
        router: Option<OtherRouter>,
    ) -> Self {
        Self {
            address: connected.address,
            encodings: Encodings::of(&answered.headers),
            believed,
            send: answered.send,
            receive: answered.receive,
            driver: connected.driver,
            counters: connected.counters,
            kept_for: router.map(|router| (Arc::new(router), connected.sender)),
        }
    }

    /// Names the router, if it is of this one's cluster.
    pub(super) fn router(&self) -> Option<&Arc<OtherRouter>> {
        self.kept_for.as_ref().map(|(router, _)| router)
    }
}

/// Counts, once, how it went.
pub(crate) struct Outcome<L: Label> {
    counter: ByLabel<L>,
    result: L,
}

impl<L: Label> Outcome<L> {
    /// Counts `result` if nobody says another.
    pub(super) fn new(counter: &ByLabel<L>, result: L) -> Self {
        let counter = counter.clone();
        Self { counter, result }
    }

    pub(super) fn set(mut self, result: L) {
        self.result = result;
    }
}

impl<L: Label> Drop for Outcome<L> {
    fn drop(&mut self) {
        self.counter.inc(self.result);
    }
}
