//! The end of a connection.

use std::{future::poll_fn, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{io::AsyncReadExt as _, time::timeout};

use crate::{
    observe::metrics::ConnectionEnd,
    transport::http2::wire::{Gather, Http2, Wire},
};

/// How long a peer may take to read that its connection is closed.
const PARTING: Duration = Duration::from_secs(1);

/// After a connection is gone its streams have this long to tell their partners. They need no waiting for that.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Says why HTTP/2 ended.
pub(super) fn end_of(error: &h2::Error) -> ConnectionEnd {
    if error.is_io() {
        ConnectionEnd::TransportError
    } else if error.is_go_away() && error.is_remote() {
        ConnectionEnd::PeerClosed
    } else {
        ConnectionEnd::ProtocolError
    }
}

/// Reads until the peer has closed, or is gone.
async fn closed<T: Gather>(mut wire: Wire<T>) {
    wire.allow(Some(usize::MAX), true);
    let mut bytes = [0; 1024];
    while wire.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}

/// Lets the peer and the streams know, then drops what is left.
pub(super) async fn close<T: Gather>(
    mut http2: Box<Http2<T>>,
    mut streams: FuturesUnordered<BoxFuture<'static, ()>>,
    wire: Wire<T>,
    end: ConnectionEnd,
) {
    let reason = match end {
        ConnectionEnd::PeerClosed
        | ConnectionEnd::TransportError
        | ConnectionEnd::ProtocolError => None,
        _ => Some(h2::Reason::NO_ERROR),
    };
    wire.set_deferred(false);
    if let Some(reason) = reason {
        http2.abrupt_shutdown(reason);
        let flushed = poll_fn(|cx| http2.poll_closed(cx).map(|_| ()));
        let _ = timeout(PARTING, flushed).await;
    }
    // The streams learn that the connection is gone even if HTTP/2 has not noticed, as when a push failed.
    drop(http2);
    let _ = timeout(LAST_WORDS, async {
        while streams.next().await.is_some() {}
    })
    .await;
    if end == ConnectionEnd::Memory && timeout(PARTING, closed(wire.clone())).await.is_err() {
        // The kernel would keep it for minutes, and counts it as this process's.
        wire.abandon();
    }
}
