//! Hand-made HTTP/2 frames (RFC 9113 section 4.1), for what no well-behaved library sends.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::within;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// One header as a literal without indexing (RFC 7541 section 6.2.2).
pub fn header(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0];
    for text in [name, value] {
        let mut length = text.len();
        if length < 127 {
            block.push(u8::try_from(length).unwrap());
        } else {
            block.push(127);
            length -= 127;
            while length >= 128 {
                block.push(u8::try_from(length % 128).unwrap() | 128);
                length /= 128;
            }
            block.push(u8::try_from(length).unwrap());
        }
        block.extend(text.as_bytes());
    }
    block
}

/// The headers of a call of the router's stream.
pub fn call_headers(token: &str) -> Vec<u8> {
    [
        header(":method", "POST"),
        header(":scheme", "https"),
        header(":path", "/jumpstarter.v1.RouterService/Stream"),
        header(":authority", "localhost"),
        header("content-type", "application/grpc"),
        header("te", "trailers"),
        header("authorization", &format!("Bearer {token}")),
    ]
    .concat()
}

/// A frame as it came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// One end of an HTTP/2 connection that does only what it is told to.
pub struct Raw<T>(pub T);

impl<T: AsyncRead + AsyncWrite + Unpin> Raw<T> {
    /// Sends the preface and empty settings.
    pub async fn open(io: T) -> Self {
        let mut raw = Self(io);
        assert!(raw.send(PREFACE).await);
        assert!(raw.send(&frame(SETTINGS, 0, 0, &[])).await);
        raw
    }

    /// False once the connection is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = async { self.0.write_all(bytes).await.is_ok() && self.0.flush().await.is_ok() };
        within("sending", sent).await
    }

    /// Sends all of it in pieces while reading what comes. A router that hangs up early is fine.
    pub async fn flood(&mut self, bytes: &[u8]) {
        let (mut reader, mut writer) = tokio::io::split(&mut self.0);
        let read = async {
            let mut sink = vec![0; 16384];
            while matches!(reader.read(&mut sink).await, Ok(count) if count > 0) {}
        };
        let write = async {
            for piece in bytes.chunks(16384) {
                if writer.write_all(piece).await.is_err() || writer.flush().await.is_err() {
                    break;
                }
            }
        };
        within("a flood", async {
            tokio::select! { () = read => {} () = write => {} }
        })
        .await;
    }

    /// The next frame; `None` at the connection's end.
    pub async fn next(&mut self) -> Option<Frame> {
        within("a frame", async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            Some(Frame {
                kind: head[3],
                flags: head[4],
                stream,
                payload,
            })
        })
        .await
    }

    /// Reads until a frame of that kind; `None` if the connection ends first.
    pub async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Reads to the end and gives the error code of the last GOAWAY, if there was one.
    pub async fn goaway_then_end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        code
    }
}
