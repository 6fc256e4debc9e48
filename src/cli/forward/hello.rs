//! Lets the two ends of `forward` find out about each other.
//!
//! All streams of a forward share one subject, and a router pairs any two streams of a subject. So each end says first
//! what it is, in the payload of a PING frame, which peers of other kinds do not look at:
//!
//! | from | says | when |
//! |---|---|---|
//! | both | `listen` or `to` | at once, while it waits for a partner |
//! | `to` | `met` | when it has heard `listen`: it lives, and this pair is the right one |
//! | `to` | `ready`, or `failed` with a reason | when it has tried to connect to its service |
//!
//! Each end has at most one stream that waits for a partner, so a pair is mostly one of each. Two of the same kind meet
//! when two processes of one kind share a token, or when a stream that was given up is still known to the router; then
//! both try again after a random pause.

use std::{fmt, time::Duration};

use tokio::time::timeout;

use crate::{
    client::{RouterStream, StreamError},
    common::text::printable,
    protocol::v1::FrameType,
};

const PREFIX: &str = "forward/1 ";

/// How long the reason of a failure may be, in characters.
const LONGEST: usize = 512;

/// Says why an end tries again whose partner is gone before it said anything: an end that has met another one like itself, or
/// whose process is gone.
pub(crate) const BROKEN_OFF: &str = "the other side broke off before it said what it is";

/// What the ends say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// This end accepts connections.
    Listen,
    /// This end connects to a service.
    To,
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
            Self::Listen => "listen",
            Self::To => "to",
            Self::Met => "met",
            Self::Ready => "ready",
            Self::Failed(_) => "failed",
        }
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(payload).ok()?.strip_prefix(PREFIX)?;
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(match word {
            "listen" => Self::Listen,
            "to" => Self::To,
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
    let text = hello.to_string();
    stream.write_frame(FrameType::Ping, text.as_bytes()).await
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
        for hello in [Hello::Listen, Hello::To, Hello::Met, Hello::Ready, failed] {
            assert_eq!(Hello::parse(hello.to_string().as_bytes()), Some(hello));
        }
        for text in ["", "to", "forward/1 ", "forward/2 to", "forward/1 too"] {
            assert_eq!(Hello::parse(text.as_bytes()), None, "{text}");
        }
        let Some(Hello::Failed(rude)) =
            Hello::parse(format!("forward/1 failed {HOSTILE}").as_bytes())
        else {
            panic!("not understood")
        };
        assert_harmless(&rude);
    }
}
