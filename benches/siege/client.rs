//! One connection of a besieger: its calls, what they send, and how it reads.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use jumpstarter_router::inside::auth::{Claims, mint};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{frames, session::Session};

/// After an end or a refusal, before the next try.
pub const PAUSE: Duration = Duration::from_millis(500);

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What all connections of a siege share.
pub struct Target {
    pub address: SocketAddr,
    pub tls: TlsConnector,
    pub authority: String,
    /// Besiegers come from these addresses in turn; without any, from where the system says.
    pub from: Vec<IpAddr>,
    pub turn: AtomicUsize,
    /// Signs the tokens.
    pub key: Vec<u8>,
    /// Handshakes at the same time.
    pub doors: Semaphore,
    pub counts: Counts,
}

/// What a siege has done so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that are open, those made, and those that were refused.
    pub open: AtomicU64,
    pub connected: AtomicU64,
    pub refused: AtomicU64,
    /// Calls that are open, those made, and those that the router ended.
    pub calling: AtomicU64,
    pub called: AtomicU64,
    pub ended: AtomicU64,
    /// Bytes of messages.
    pub sent: AtomicU64,
    pub received: AtomicU64,
}

/// What a call sends.
#[derive(Clone, Copy, Debug)]
pub enum Supply {
    /// Nothing at all.
    Nothing,
    /// One message and the end.
    Request(u32),
    /// The first bytes of one message of that size.
    Part { size: u32, bytes: u64 },
    /// Messages of that size, as fast as the router takes them.
    Flood(u32),
}

/// What a call shows.
#[derive(Clone, Debug)]
pub enum Token {
    /// None is needed.
    None,
    /// A good one with this subject, which the two calls of a pair have in common.
    Good(String),
    /// One that another key has signed.
    Bad,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: &'static str,
    pub token: Token,
    /// Bytes of headers that say nothing.
    pub padding: usize,
    /// Whether the headers come to an end.
    pub complete: bool,
    pub supply: Supply,
}

/// How a connection behaves.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// The window of each of its streams. Nothing of it is given back, unless it drips.
    pub window: u32,
    /// Gives each stream one byte of credit a second.
    pub drips: bool,
    /// Whether it reads its socket.
    pub reads: bool,
    /// Whether it comes again when the router has ended a call or the connection.
    pub persists: bool,
}

/// A connection and its calls.
pub struct Client {
    pub target: Arc<Target>,
    pub manner: Manner,
    pub calls: Vec<Call>,
}

impl Target {
    /// A TCP connection from the next address.
    pub async fn tcp(&self) -> io::Result<TcpStream> {
        let socket = if self.address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if !self.from.is_empty() {
            let turn = self.turn.fetch_add(1, Relaxed);
            // Or else each closed connection would keep its port for a minute.
            socket.set_reuseaddr(true)?;
            socket.bind((self.from[turn % self.from.len()], 0).into())?;
        }
        socket.connect(self.address).await
    }

    async fn tls(&self) -> io::Result<TlsStream<TcpStream>> {
        // Never closed.
        let _door = self.doors.acquire().await;
        let name = self.address.ip().into();
        let connect = async { self.tls.connect(name, self.tcp().await?).await };
        timeout(PATIENCE, connect).await?
    }
}

impl Client {
    /// Besieges until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                let counts = &self.target.counts;
                match self.target.tls().await {
                    Ok(io) => {
                        counts.connected.fetch_add(1, Relaxed);
                        counts.open.fetch_add(1, Relaxed);
                        let (reader, writer) = tokio::io::split(io);
                        let mut session = Session::new(&self);
                        // However it ends: the router's doing.
                        let _ = session.drive(reader, writer).await;
                        let left = session.calls();
                        counts.calling.fetch_sub(left, Relaxed);
                        counts.ended.fetch_add(left, Relaxed);
                        counts.open.fetch_sub(1, Relaxed);
                    }
                    Err(_) => drop(counts.refused.fetch_add(1, Relaxed)),
                }
                if !self.manner.persists {
                    std::future::pending::<()>().await;
                }
                sleep(PAUSE).await;
            }
        })
        .await;
    }

    /// The head of a call.
    pub fn headers(&self, call: &Call) -> Vec<u8> {
        let mut block = Vec::with_capacity(512 + call.padding);
        frames::header(&mut block, ":method", "POST");
        frames::header(&mut block, ":scheme", "https");
        frames::header(&mut block, ":path", call.path);
        frames::header(&mut block, ":authority", &self.target.authority);
        frames::header(&mut block, "content-type", "application/grpc");
        frames::header(&mut block, "te", "trailers");
        let token = |key, subject| mint(key, &Claims::new(subject, SystemTime::now()));
        let token = match &call.token {
            Token::None => None,
            Token::Good(subject) => Some(token(&self.target.key, subject.as_str())),
            Token::Bad => Some(token(b"a key that no router has, 32 bytes", "siege")),
        };
        if let Some(token) = token {
            frames::header(&mut block, "authorization", &format!("Bearer {token}"));
        }
        if call.padding > 0 {
            frames::header(&mut block, "x-padding", &"x".repeat(call.padding));
        }
        block
    }
}
