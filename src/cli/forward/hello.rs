//! Lets the two ends of `forward` find out about each other.
//!
//! All streams of a forward share one subject, and a router pairs any two streams of a subject. So each end says first
//! what it is, in the payload of a PING frame, which peers of other kinds do not look at:
//!
//! | from | says | when |
//! |---|---|---|
//! | both | `listen trunk` or `to trunk` | at once, while it waits for a partner |
//! | `listen` | `open`, with the beginning of a trunk's HTTP/2 | behind `listen trunk`: so the first connection waits for nothing more |
//! | `to` | `met` | when it has heard `listen`: it lives, and this pair is the right one |
//! | `to` | `ready`, or `failed` with a reason | without `trunk`: when it has tried to connect to its service |
//!
//! If both have said `trunk`, the stream is a [trunk](super::trunk) after `met`. An end of before says the one word only, and
//! reads no further than that; with it the stream carries one connection.
//!
//! Each end has at most one stream that waits for a partner, so a pair is mostly one of each. Two of the same kind meet
//! when two processes of one kind share a token, or when a stream that was given up is still known to the router; then
//! both try again after a random pause.

use std::{fmt, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;

use crate::{
    client::{RouterStream, StreamError},
    common::text::printable,
    protocol::v1::FrameType,
};

const PREFIX: &str = "forward/1 ";

/// What is behind it is no text.
const OPEN: &[u8] = b"forward/1 open ";

/// How long the reason of a failure may be, in characters.
pub(crate) const LONGEST: usize = 512;

/// Says why an end tries again whose partner is gone before it said anything: an end that has met another one like itself, or
/// whose process is gone.
pub(crate) const BROKEN_OFF: &str = "the other side broke off before it said what it is";

/// Says what an end can make of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    /// It carries one connection.
    One,
    /// It is a trunk, if the other end says so, too.
    Many,
}

/// The word behind the first one.
const MANY: &str = "trunk";

impl Carries {
    fn parse(rest: &str) -> Self {
        if rest.split(' ').any(|word| word == MANY) {
            Self::Many
        } else {
            Self::One
        }
    }
}

/// What the ends say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// This end accepts connections.
    Listen(Carries),
    /// This end connects to a service.
    To(Carries),
    /// This end has begun a trunk so.
    Open(Bytes),
    /// The `to` end has heard the other.
    Met,
    /// The `to` end has connected to its service.
    Ready,
    /// The `to` end could not connect, for this reason.
    Failed(String),
}

impl Hello {
    fn word(&self) -> &'static str {
        match self {
            Self::Listen(_) => "listen",
            Self::To(_) => "to",
            Self::Open(_) => "open",
            Self::Met => "met",
            Self::Ready => "ready",
            Self::Failed(_) => "failed",
        }
    }

    fn parse(payload: &Bytes) -> Option<Self> {
        if payload.starts_with(OPEN) {
            return Some(Self::Open(payload.slice(OPEN.len()..)));
        }
        let text = std::str::from_utf8(payload).ok()?.strip_prefix(PREFIX)?;
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(match word {
            "listen" => Self::Listen(Carries::parse(rest)),
            "to" => Self::To(Carries::parse(rest)),
            "met" => Self::Met,
            "ready" => Self::Ready,
            "failed" => {
                // Text of a stranger, who should not reach the terminal with more than words.
                let short: String = rest.chars().take(LONGEST).collect();
                Self::Failed(printable(&short))
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.word())?;
        match self {
            Self::Failed(why) => write!(f, " {why}"),
            Self::Listen(Carries::Many) | Self::To(Carries::Many) => write!(f, " {MANY}"),
            _ => Ok(()),
        }
    }
}

/// Says what came instead of the expected word.
#[derive(Debug)]
pub(crate) enum Unexpected {
    /// Nothing came in time.
    Silence,
    /// Another word came.
    Word(Hello),
    /// Something came that `forward` does not send.
    Stranger,
    /// The stream ended.
    Ended(StreamError),
}

impl From<StreamError> for Unexpected {
    fn from(error: StreamError) -> Self {
        Self::Ended(error)
    }
}

/// Says a word.
pub(crate) async fn say(stream: &mut RouterStream, hello: &Hello) -> Result<(), StreamError> {
    let mut said = hello.to_string().into_bytes();
    if let Hello::Open(begun) = hello {
        said.push(b' ');
        said.extend(begun);
    }
    stream.write_frame(FrameType::Ping, &said).await
}

/// Waits for the other's next word; for as long as the router lets a stream wait, or at most `patience`.
pub(crate) async fn hear(
    stream: &mut RouterStream,
    patience: Option<Duration>,
) -> Result<Hello, Unexpected> {
    let Some(patience) = patience else {
        return next(stream).await;
    };
    timeout(patience, next(stream))
        .await
        .unwrap_or(Err(Unexpected::Silence))
}

async fn next(stream: &mut RouterStream) -> Result<Hello, Unexpected> {
    loop {
        let Some(frame) = stream.read_frame().await? else {
            return Err(Unexpected::Stranger);
        };
        match frame.kind {
            FrameType::Ping => {
                if let Some(hello) = Hello::parse(&frame.payload) {
                    return Ok(hello);
                }
            }
            // The router's, before the status that says why.
            FrameType::Goaway if frame.payload.is_empty() => {}
            _ => return Err(Unexpected::Stranger),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::text::tests::{HOSTILE, assert_harmless};

    #[test]
    fn words_are_understood_and_nothing_else_is() {
        let failed = Hello::Failed("no such file".to_owned());
        let ends = [Carries::One, Carries::Many].map(|it| [Hello::Listen(it), Hello::To(it)]);
        let words = [Hello::Met, Hello::Ready, failed];
        for hello in ends.into_iter().flatten().chain(words) {
            assert_eq!(Hello::parse(&Bytes::from(hello.to_string())), Some(hello));
        }
        // What is behind a word that is known, an end of another version may understand.
        for (text, hello) in [
            ("forward/1 to", Hello::To(Carries::One)),
            ("forward/1 to more trunk", Hello::To(Carries::Many)),
            ("forward/1 listen trunks", Hello::Listen(Carries::One)),
        ] {
            assert_eq!(
                Hello::parse(&Bytes::from_static(text.as_bytes())),
                Some(hello)
            );
        }
        let open = Hello::Open(Bytes::from_static(b"\xff\0 "));
        let said = Bytes::from_static(b"forward/1 open \xff\0 ");
        assert_eq!(Hello::parse(&said), Some(open));
        for text in ["", "to", "forward/1 ", "forward/2 to", "forward/1 too"] {
            assert_eq!(
                Hello::parse(&Bytes::from_static(text.as_bytes())),
                None,
                "{text}"
            );
        }
        let Some(Hello::Failed(rude)) =
            Hello::parse(&Bytes::from(format!("forward/1 failed {HOSTILE}")))
        else {
            panic!("not understood")
        };
        assert_harmless(&rude);
    }
}
