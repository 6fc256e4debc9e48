//! One connection of a besieger: its calls, what they send, and how it reads.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use bytes::{Buf as _, BytesMut};
use jumpstarter_router::auth::{Claims, mint};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use super::frames::{self, HEAD};

/// After an end or a refusal, before the next try.
pub const PAUSE: Duration = Duration::from_millis(500);

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that is not read does not see its end: it is made anew after so long.
const UNREAD: Duration = Duration::from_secs(30);

/// Frames are made until so many bytes wait for the socket.
const AHEAD: usize = 32 * 1024;

/// The connection's credit is returned in steps of this.
const STEP: u32 = 1 << 20;

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
                        let left = session.streams.len() as u64;
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

    fn headers(&self, call: &Call) -> Vec<u8> {
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

/// Writes something, or flushes if there is nothing to write.
async fn write(writer: &mut WriteHalf<TlsStream<TcpStream>>, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        writer.flush().await?;
        return Ok(0);
    }
    writer.write(bytes).await
}

/// A call that is open.
#[derive(Debug)]
struct Open {
    /// Its place among the client's calls.
    call: usize,
    credit: i64,
    sent: u64,
    /// Whether it waits for its turn to send.
    queued: bool,
}

/// An open connection.
struct Session<'a> {
    client: &'a Client,
    out: BytesMut,
    input: BytesMut,
    /// What the connection may send, and each new stream.
    credit: i64,
    initial: i64,
    owed: u32,
    next: u32,
    streams: HashMap<u32, Open>,
    /// Calls to be made, now and later.
    opening: VecDeque<usize>,
    later: VecDeque<(Instant, usize)>,
    ready: VecDeque<u32>,
    leaving: bool,
    /// Whether the router has said its settings.
    settled: bool,
    /// After headers that do not end nothing else may be sent.
    mute: bool,
}

impl<'a> Session<'a> {
    fn new(client: &'a Client) -> Self {
        let mut out = BytesMut::new();
        frames::opening(&mut out, client.manner.window);
        Self {
            client,
            out,
            input: BytesMut::new(),
            credit: i64::from(frames::FIRST_WINDOW),
            initial: i64::from(frames::FIRST_WINDOW),
            owed: 0,
            next: 1,
            streams: HashMap::new(),
            opening: (0..client.calls.len()).collect(),
            later: VecDeque::new(),
            ready: VecDeque::new(),
            leaving: false,
            settled: false,
            mute: false,
        }
    }

    async fn drive(
        &mut self,
        mut reader: ReadHalf<TlsStream<TcpStream>>,
        mut writer: WriteHalf<TlsStream<TcpStream>>,
    ) -> io::Result<()> {
        let manner = self.client.manner;
        let renewal = Instant::now() + UNREAD;
        let mut clock = interval(Duration::from_secs(1));
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flushed = true;
        while !(self.leaving && self.streams.is_empty()) {
            self.fill();
            self.input.reserve(4096);
            tokio::select! {
                read = reader.read_buf(&mut self.input), if manner.reads => {
                    if read? == 0 {
                        return Ok(());
                    }
                    while self.take_frame()? {}
                }
                written = write(&mut writer, &self.out), if !(self.out.is_empty() && flushed) => {
                    flushed = self.out.is_empty();
                    self.out.advance(written?);
                }
                _ = clock.tick(), if manner.drips || !self.later.is_empty() => self.tick(),
                () = sleep_until(renewal), if !manner.reads => return Ok(()),
            }
        }
        Ok(())
    }

    /// Makes frames while there is room.
    fn fill(&mut self) {
        while self.out.len() < AHEAD && !self.mute {
            if let Some(call) = self.opening.front().copied() {
                if !(self.settled || self.client.calls[call].complete) {
                    break;
                }
                self.opening.pop_front();
                self.open(call);
            } else if self.credit > 0
                && let Some(id) = self.ready.pop_front()
            {
                self.send(id);
            } else {
                break;
            }
        }
    }

    fn open(&mut self, at: usize) {
        let call = &self.client.calls[at];
        let id = self.next;
        self.next += 2;
        let block = self.client.headers(call);
        let flags = if call.complete {
            frames::END_HEADERS
        } else {
            0
        };
        frames::head(&mut self.out, frames::HEADERS, flags, id, block.len());
        self.out.extend_from_slice(&block);
        let counts = &self.client.target.counts;
        counts.called.fetch_add(1, Relaxed);
        counts.calling.fetch_add(1, Relaxed);
        let sends = !matches!(call.supply, Supply::Nothing);
        let open = Open {
            call: at,
            credit: self.initial,
            sent: 0,
            queued: sends,
        };
        self.streams.insert(id, open);
        self.mute = !call.complete;
        if sends {
            self.ready.push_back(id);
        }
    }

    /// Sends one frame, and queues the stream again if it could send more.
    fn send(&mut self, id: u32) {
        let Some(open) = self.streams.get_mut(&id) else {
            return;
        };
        let (size, all, ends) = match self.client.calls[open.call].supply {
            Supply::Nothing => return,
            Supply::Request(size) => (size, u64::from(size) + 5, true),
            Supply::Part { size, bytes } => (size, bytes, false),
            Supply::Flood(size) => (size, u64::MAX, false),
        };
        let left = all - open.sent;
        let room = open.credit.min(self.credit).max(0) as u64;
        let most = left.min(room).min(frames::LARGEST as u64) as usize;
        open.queued = false;
        if most == 0 {
            return;
        }
        let last = ends && most as u64 == left;
        let sent = frames::message_part(&mut self.out, id, size, open.sent, most, last);
        open.sent += sent as u64;
        open.credit -= sent as i64;
        self.credit -= sent as i64;
        self.client
            .target
            .counts
            .sent
            .fetch_add(sent as u64, Relaxed);
        if open.sent < all && open.credit > 0 {
            open.queued = true;
            self.ready.push_back(id);
        }
    }

    fn grant(&mut self, id: u32, by: i64) {
        if let Some(open) = self.streams.get_mut(&id) {
            open.credit += by;
            if open.credit > 0 && !open.queued {
                open.queued = true;
                self.ready.push_back(id);
            }
        }
    }

    /// Takes one whole frame from what has arrived, if there is one.
    fn take_frame(&mut self) -> io::Result<bool> {
        let Some(head) = self.input.first_chunk::<HEAD>() else {
            return Ok(false);
        };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags, id) = (head[3], head[4], frames::number(&head[5..]));
        if length > frames::LARGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.input.len() < HEAD + length {
            return Ok(false);
        }
        let frame = self.input.split_to(HEAD + length);
        let payload = &frame[HEAD..];
        match kind {
            _ if self.mute => self.leaving |= kind == frames::GOAWAY,
            frames::DATA => self.received(length as u32),
            frames::SETTINGS if flags & frames::ACK == 0 => {
                if let Some(window) = frames::initial_window(payload) {
                    self.new_initial(i64::from(window));
                }
                frames::answer(&mut self.out, frames::SETTINGS, &[]);
                self.settled = true;
            }
            frames::PING if flags & frames::ACK == 0 => {
                frames::answer(&mut self.out, frames::PING, payload);
            }
            frames::GOAWAY => {
                self.leaving = true;
                self.opening.clear();
            }
            frames::WINDOW_UPDATE if id == 0 => self.credit += i64::from(frames::number(payload)),
            frames::WINDOW_UPDATE => self.grant(id, i64::from(frames::number(payload))),
            _ => {}
        }
        let ends =
            matches!(kind, frames::DATA | frames::HEADERS) && flags & frames::END_STREAM != 0;
        if ends || kind == frames::RST_STREAM {
            self.ended(id, ends);
        }
        Ok(true)
    }

    fn received(&mut self, bytes: u32) {
        let counts = &self.client.target.counts;
        counts.received.fetch_add(u64::from(bytes), Relaxed);
        self.owed += bytes;
        if self.owed >= STEP {
            frames::window_update(&mut self.out, 0, std::mem::take(&mut self.owed));
        }
    }

    fn new_initial(&mut self, window: i64) {
        let by = window - std::mem::replace(&mut self.initial, window);
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            self.grant(id, by);
        }
    }

    fn ended(&mut self, id: u32, half: bool) {
        let Some(open) = self.streams.remove(&id) else {
            return;
        };
        let counts = &self.client.target.counts;
        counts.calling.fetch_sub(1, Relaxed);
        counts.ended.fetch_add(1, Relaxed);
        if half && !self.mute && !matches!(self.client.calls[open.call].supply, Supply::Request(_))
        {
            frames::cancel(&mut self.out, id);
        }
        if self.client.manner.persists && !self.leaving {
            self.later.push_back((Instant::now() + PAUSE, open.call));
        }
    }

    /// What is due once a second.
    fn tick(&mut self) {
        let now = Instant::now();
        while let Some((due, call)) = self.later.front() {
            if *due > now {
                break;
            }
            self.opening.push_back(*call);
            self.later.pop_front();
        }
        if self.client.manner.drips && !self.mute && self.out.len() < AHEAD {
            for id in self.streams.keys() {
                frames::window_update(&mut self.out, *id, 1);
            }
        }
    }
}
