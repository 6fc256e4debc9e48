//! One HTTP/2 connection to a router, for one stream, as stock peers have it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Ping, PingPong, client::SendRequest};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::{
    io::InspectReader,
    sync::{CancellationToken, DropGuard},
};

use super::connect::{Answer, CONNECT_TIMEOUT, ConnectError, Connector, Keepalive};
use crate::{common::dial::plain, grpc::call};

/// What h2 holds of a stream before it was written: enough to keep the connection busy.
const SEND_BUFFER: usize = 256 * 1024;

/// What is on its way when nobody wants the stream any more has so long to be written.
const FAREWELL: Duration = Duration::from_secs(1);

/// Keeps the connection's task running. When it is dropped, the task ends by itself within [`FAREWELL`].
#[derive(Debug)]
pub(super) struct Line {
    wanted: Option<DropGuard>,
    task: JoinHandle<()>,
    lost: Arc<OnceLock<String>>,
    answered: Arc<AtomicBool>,
    began: Arc<OnceLock<Answer>>,
    /// Says through which proxy it goes, if through one.
    through: String,
}

/// Connects, and sets HTTP/2 up.
pub(super) async fn open(
    connector: &Connector,
) -> Result<(SendRequest<Bytes>, Line), ConnectError> {
    let io = Box::pin(connector.io()).await?;
    let through = connector.proxy();
    let through = through.map_or_else(String::new, |proxy| format!(" (through {proxy})"));
    let set_up = handshake(io, connector.window, connector.keepalive, through);
    let late = |_| ConnectError::Timeout {
        endpoint: connector.endpoint().to_owned(),
    };
    let set_up = timeout(CONNECT_TIMEOUT, set_up).await.map_err(late)?;
    set_up.map_err(|error| connector.no_http2(error))
}

async fn handshake<T>(
    io: T,
    window: u32,
    keepalive: Keepalive,
    through: String,
) -> Result<(SendRequest<Bytes>, Line), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let began = Arc::new(OnceLock::new());
    let first = began.clone();
    let io = InspectReader::new(io, move |bytes: &[u8]| {
        first.get_or_init(|| Answer::of(bytes));
    });
    let (requests, mut connection) = call::http2(window, SEND_BUFFER).handshake(io).await?;
    let pings = connection.ping_pong();
    let wanted = CancellationToken::new();
    let lost = Arc::new(OnceLock::new());
    let answered = Arc::new(AtomicBool::new(false));
    let task = {
        let (wanted, lost, answered) = (wanted.clone(), lost.clone(), answered.clone());
        async move {
            let why = tokio::select! {
                ended = &mut connection => match ended {
                    Ok(()) => return,
                    Err(error) => described(&error),
                },
                why = silence(pings, keepalive, &answered) => why,
                () = wanted.cancelled() => {
                    // The reset of the stream, and what was sent before.
                    let _ = timeout(FAREWELL, connection).await;
                    return;
                }
            };
            let _ = lost.set(why);
        }
    };
    let line = Line {
        wanted: Some(wanted.drop_guard()),
        task: tokio::spawn(task),
        lost,
        answered,
        began,
        through,
    };
    Ok((requests, line))
}

/// Says what went wrong, as plainly as it can be said.
fn described(error: &h2::Error) -> String {
    error.get_io().map_or_else(|| error.to_string(), plain)
}

/// Sends PINGs; resolves when one is not answered. The first goes out at once: nothing else shows that what has taken the
/// connection speaks HTTP/2.
async fn silence(pings: Option<PingPong>, keepalive: Keepalive, answered: &AtomicBool) -> String {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    let mut patience = keepalive.timeout.min(CONNECT_TIMEOUT);
    loop {
        match timeout(patience, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {
                answered.store(true, Ordering::Relaxed);
                patience = keepalive.timeout;
                sleep(keepalive.interval).await;
            }
            // The connection knows why.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => {
                let time = humantime::format_duration(patience);
                return format!("no answer to a PING within {time}");
            }
        }
    }
}

impl Line {
    /// Whether what is at the other end has shown that it speaks HTTP/2.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Says why the connection is gone, where `error` is what its stream knows.
    pub(super) fn why(&self, error: &h2::Error) -> String {
        let why = match (self.began.get(), self.lost.get()) {
            (Some(other), _) if !self.is_answered() && *other != Answer::Http2 => {
                format!("it sent {other}")
            }
            (_, Some(why)) => why.clone(),
            (_, None) => described(error),
        };
        why + &self.through
    }

    /// Waits until all was written and the connection is closed, a second at most.
    pub(super) async fn close(mut self) {
        drop(self.wanted.take());
        // The task has a deadline of its own. It does not panic, and is not aborted.
        let _ = self.task.await;
    }
}
