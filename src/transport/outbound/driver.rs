//! Keeps a connection to another router going: its bytes, its window, and a PING now and then.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use h2::{PingPong, client::Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep, sleep},
};

use crate::transport::{
    counters::ConnectionCounters,
    http2::{window::Growth, windows::Windows},
    outbound::Means,
    outgoing::Outgoing,
    wake_flag::WakeFlag,
};

/// A PING goes out so often; the connection is lost if the one before was not answered. So a router that is silent is
/// noticed in 20 s, before anybody has waited for 30.
pub(crate) const PING: Duration = Duration::from_secs(10);

/// A connection with one stream at a time. Ready when it has ended.
pub(super) struct Driver<T: AsyncRead + AsyncWrite + Unpin> {
    connection: Connection<T, Outgoing>,
    windows: Windows,
    flag: Arc<WakeFlag>,
    tick: Pin<Box<Sleep>>,
    unanswered: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    pub(super) fn new(
        connection: Connection<T, Outgoing>,
        pings: Option<PingPong>,
        means: &Means,
        counters: Arc<ConnectionCounters>,
    ) -> Self {
        let streams = &means.settings.streams;
        let growth = Growth::new(
            streams.initial_window.bytes_u32(),
            streams.max_window.bytes_u32(),
            Instant::now(),
        );
        let flag = WakeFlag::new();
        Self {
            connection,
            windows: Windows::new(
                growth,
                pings,
                means.windows.clone(),
                means.memory.clone(),
                counters,
                flag.clone(),
            ),
            flag,
            tick: Box::pin(sleep(PING)),
            unanswered: false,
        }
    }

    fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        if self.windows.poll_pong(cx) {
            self.unanswered = false;
            self.windows.ponged(&mut self.connection, 1, now, None);
        }
        self.windows.measure();
        while pin!(&mut self.tick).poll(cx).is_ready() {
            if self.unanswered {
                tracing::debug!("a router did not answer a PING");
                return Poll::Ready(());
            }
            self.unanswered = true;
            self.windows.ping();
            self.windows.look(&mut self.connection, 1, now);
            self.tick.as_mut().reset(now + PING);
        }
        Pin::new(&mut self.connection).poll(cx).map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(%error, "the connection to another router ended");
            }
        })
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Driver<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.flag.start_looking(cx.waker());
            self.flag.take();
            if self.poll_once(cx).is_ready() {
                return Poll::Ready(());
            }
            if !self.flag.stop_looking() {
                return Poll::Pending;
            }
        }
    }
}
