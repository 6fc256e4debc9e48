//! An open connection of a besieger: HTTP/2 by hand, as far as its manner goes.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_rustls::client::TlsStream;

use super::{
    client::{Client, PAUSE, Supply},
    frames::{self, HEAD},
};

/// A connection that is not read does not see its end: it is made anew after so long.
const UNREAD: Duration = Duration::from_secs(30);

/// Frames are made until so many bytes wait for the socket.
const AHEAD: usize = 32 * 1024;

/// The connection's credit is returned in steps of this.
const STEP: u32 = 1 << 20;

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
pub struct Session<'a> {
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
    pub fn new(client: &'a Client) -> Self {
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

    /// Until the connection ends.
    pub async fn drive(
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

    /// Calls that are open.
    pub fn calls(&self) -> u64 {
        self.streams.len() as u64
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
        let room = open.credit.min(self.credit).max(0).cast_unsigned();
        let most = left.min(room).min(frames::LARGEST as u64) as usize;
        open.queued = false;
        if most == 0 {
            return;
        }
        let last = ends && most as u64 == left;
        let sent = frames::message_part(&mut self.out, id, size, open.sent, most, last);
        open.sent += sent as u64;
        // At most a frame.
        let part = i64::from(sent as u32);
        open.credit -= part;
        self.credit -= part;
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
