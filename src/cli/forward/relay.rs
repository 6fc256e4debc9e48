//! Carries a connection once it has a stream, and says how it went.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::sleep,
};
use tokio_util::either::Either;

use super::{
    LimitArgs,
    address::{Address, Listener, Local},
    unix_end::UnixEnd,
};
use crate::{
    cli::{
        exit::{Exit, Failure},
        join::carry::{Carried, carry},
        out::{self, say},
    },
    common::text::bytes,
};

/// How long the streams that are dropped at the end may take to be cancelled.
pub(crate) const FAREWELL: Duration = Duration::from_millis(200);

/// The pause after a failure to accept a connection.
const PAUSE: Duration = Duration::from_secs(1);

/// Holds what the connections of a process share.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    seats: Arc<Semaphore>,
    quiet: bool,
    count: Arc<AtomicU64>,
}

/// Stands for one connection, from its acceptance to its end.
#[derive(Debug)]
pub(crate) struct Connection {
    number: u64,
    quiet: bool,
    _seat: Option<OwnedSemaphorePermit>,
}

impl Relay {
    /// Makes room for so many connections.
    pub(crate) fn new(limits: LimitArgs) -> Self {
        Self {
            seats: Arc::new(Semaphore::new(limits.max_connections as usize)),
            quiet: limits.quiet,
            count: Arc::default(),
        }
    }

    /// Accepts the next connection once there is room for it. Fails if one of `connections` did so for good: so would the
    /// next one. Cancel safe.
    pub(crate) async fn accept(
        &self,
        listener: &Listener,
        connections: &mut JoinSet<Result<(), Failure>>,
    ) -> Result<(Connection, Local), Failure> {
        let connection = self.seat().await;
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((local, from)) => {
                        connection.say(format_args!("from {from}"));
                        return Ok((connection, local));
                    }
                    Err(error) => {
                        // Out of file descriptors, mostly: it gets better when connections end.
                        connection.say(format_args!("cannot accept: {error}"));
                        sleep(PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next() => {
                    if let Ok(Err(failure)) = ended {
                        return Err(failure);
                    }
                }
            }
        }
    }

    /// Waits until there is room for another connection, which is not taken yet.
    pub(crate) async fn room(&self) {
        let _ = self.seats.acquire().await;
    }

    /// Takes a seat if there is one.
    pub(crate) fn try_seat(&self) -> Option<Connection> {
        let seat = self.seats.clone().try_acquire_owned().ok()?;
        Some(self.connection(Some(seat)))
    }

    /// Waits for room for another connection.
    pub(crate) async fn seat(&self) -> Connection {
        // Never closed, so there is a seat sooner or later.
        let seat = self.seats.clone().acquire_owned().await.ok();
        self.connection(seat)
    }

    fn connection(&self, seat: Option<OwnedSemaphorePermit>) -> Connection {
        Connection {
            number: self.count.fetch_add(1, Ordering::Relaxed) + 1,
            quiet: self.quiet,
            _seat: seat,
        }
    }

    /// Takes no more connections, for this reason; those that there are go on to their end.
    pub(crate) async fn wind_up<T: 'static>(
        &self,
        mut connections: JoinSet<T>,
        failure: Failure,
    ) -> Failure {
        while connections.try_join_next().is_some() {}
        if !connections.is_empty() {
            let count = connections.len();
            self.note(format_args!("no new connections: {failure}; {count} go on"));
        }
        while connections.join_next().await.is_some() {}
        failure
    }

    /// Says something that is not about a single connection.
    pub(crate) fn note(&self, text: impl fmt::Display) {
        if !self.quiet {
            say!("{text}");
        }
    }
}

impl Connection {
    /// Carries until both sides have closed, and says how it was.
    pub(crate) async fn carry<S>(self, local: Local, mut stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut local = seen(local);
        let carried = Carried::default();
        let start = Instant::now();
        let ended = carry(&mut local, &mut stream, &carried).await;
        let (sent, received) = carried.totals();
        let how = format!(
            "{} sent, {} received, {:.1} s",
            bytes(sent),
            bytes(received),
            start.elapsed().as_secs_f64()
        );
        match ended {
            Ok(()) => {
                if let Either::Right(socket) = local {
                    socket.finish();
                }
                self.say(how);
            }
            Err(error) => {
                drop(stream);
                self.abort(local, format_args!("{}; {how}", Failure::from(error)));
            }
        }
    }

    /// Ends a connection of which nothing was carried, for this reason.
    pub(crate) fn refuse(&self, local: Local, why: impl fmt::Display) {
        self.abort(seen(local), why);
    }

    /// Closes a connection so that its peer does not take it for a proper end. If it may, this is said even to who wants
    /// to hear nothing of connections.
    fn abort(&self, local: Either<TcpStream, UnixEnd>, why: impl fmt::Display) {
        let is_seen = match local {
            Either::Left(socket) => SockRef::from(&socket)
                .set_linger(Some(Duration::ZERO))
                .is_ok(),
            Either::Right(socket) => socket.abort(),
        };
        let number = self.number;
        if is_seen {
            self.say(format_args!("closed: {why}"));
        } else {
            // Said even with --quiet.
            out::warning(format_args!(
                "connection {number} broke, and the program at the Unix socket sees a proper end: {why}"
            ));
        }
    }

    /// Says something about this connection.
    pub(crate) fn say(&self, text: impl fmt::Display) {
        if !self.quiet {
            say!("connection {}: {text}", self.number);
        }
    }
}

/// Makes a connection one at which a broken end can be seen.
fn seen(local: Local) -> Either<TcpStream, UnixEnd> {
    match local {
        Either::Left(socket) => Either::Left(socket),
        Either::Right(socket) => Either::Right(UnixEnd::new(socket)),
    }
}

/// Listens, or says why not.
pub(crate) async fn listen(address: &Address) -> Result<Listener, Failure> {
    address.listen().await.map_err(|error| {
        Failure::new(
            Exit::Broken,
            format_args!("cannot listen on {address}: {error}"),
        )
    })
}

/// Says where connections are accepted; scripts wait for this line.
pub(crate) fn announce(listener: &Listener, router: &str) {
    announce_at(&listener.address().unwrap_or_default(), router);
}

/// Does so for any address.
pub(crate) fn announce_at(address: &str, router: &str) {
    say!("listening on {address}, forwarding through {router}");
}
