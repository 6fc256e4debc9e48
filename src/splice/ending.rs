//! The table of endings: why a stream ends, and what each of the two peers is told.
//!
//! | cause | the peer it happened to | the other peer |
//! |---|---|---|
//! | both half-closed | OK | OK |
//! | reset by the peer | - | GOAWAY frame, UNAVAILABLE |
//! | connection lost | - | GOAWAY frame, UNAVAILABLE |
//! | malformed messages | GOAWAY frame, INTERNAL or `RESOURCE_EXHAUSTED` | GOAWAY frame, UNAVAILABLE |
//! | its own deadline (`grpc-timeout`) | GOAWAY frame, `DEADLINE_EXCEEDED` | GOAWAY frame, UNAVAILABLE |
//! | defect in the router | GOAWAY frame, INTERNAL | GOAWAY frame, UNAVAILABLE |
//! | nobody came | GOAWAY frame, `DEADLINE_EXCEEDED` | |
//! | encodings do not match | GOAWAY frame, UNIMPLEMENTED | the same |
//! | drain | GOAWAY frame, UNAVAILABLE | the same |
//! | administrator | GOAWAY frame, ABORTED | the same |
//! | memory ran out, and it kept most while it read least | reset | GOAWAY frame, `RESOURCE_EXHAUSTED` |
//! | memory ran out, and the pair moved nothing | GOAWAY frame, `RESOURCE_EXHAUSTED` | the same |
//! | idle, too old, stalled, its connection too old | GOAWAY frame, `DEADLINE_EXCEEDED` | the same |
//!
//! What was accepted before always arrives first. The GOAWAY frame comes before the status because a stock
//! peer that is only reading notices nothing else: a bare error status stops one of its two copy loops, and
//! the other waits for ever. It is left out only inside a message that is too long to be held back.
//! The status follows once the peer has closed in answer, or half a second later
//! ([`FAREWELL`](super::drive::FAREWELL)).
//! Nobody is told CANCELLED: grpc.aio turns that status into a cancellation of the task that reads, and a stock
//! exporter then keeps the connection.
//!
//! A peer that takes nothing while it is being told is reset once it has made no progress for the linger time.

mod text;

use std::{borrow::Cow, time::Duration};

use tonic::Code;

use super::{Broken, scanner::Fault};

/// An in-band `FRAME_TYPE_GOAWAY` with an empty payload, as one gRPC message: prefix, then field 2 = 7.
pub const GOAWAY_MESSAGE: &[u8] = &[0, 0, 0, 0, 2, 0x10, 7];

/// What ended a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Both peers half-closed and all was delivered.
    Completed,
    /// The peer reset the stream.
    Cancelled,
    /// The peer's connection is gone.
    Lost,
    /// The peer's bytes are no gRPC messages, or too large ones.
    Fault(Fault),
    /// The peer's `grpc-timeout` passed.
    Deadline,
    /// A defect in the router.
    Panicked,
    /// No partner came within the pairing timeout.
    Unpaired(Duration),
    /// One peer compresses in a way the other does not accept.
    Encoding,
    /// The router is shutting down.
    Draining,
    /// An administrator ended it.
    Administrator,
    /// Memory ran out, and the peer left bytes waiting.
    Memory,
    /// Memory ran out, and the pair moved nothing: it stood inside a message, or idle among many.
    MemoryIdle,
    /// Nothing moved for so long.
    Idle(Duration),
    /// The peer took next to nothing for so long while bytes waited for it.
    Stalled(Duration),
    /// The peer sent next to nothing for so long of a message that it had begun.
    Unfinished(Duration),
    /// The stream lasted longer than allowed.
    TooOld(Duration),
    /// The peer's connection did.
    ConnectionTooOld(Duration),
}

/// Who brought an ending about, seen from one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Both peers, by closing.
    Both,
    /// The peer itself.
    ThisSide,
    /// Its partner.
    OtherSide,
    /// The router.
    Router,
}

impl By {
    /// For logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both sides",
            Self::ThisSide => "this side",
            Self::OtherSide => "other side",
            Self::Router => "router",
        }
    }
}

/// An ending as one of the two peers sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What happened.
    pub cause: Cause,
    /// It happened to the other peer.
    pub other: bool,
}

impl From<Cause> for Ending {
    fn from(cause: Cause) -> Self {
        Self {
            cause,
            other: false,
        }
    }
}

impl From<Broken> for Ending {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Cancelled => Cause::Cancelled.into(),
            Broken::Lost => Cause::Lost.into(),
            Broken::Told(ending) => ending,
        }
    }
}

impl Ending {
    /// Every value of [`Ending::reason`], for metrics.
    pub const REASONS: &'static [&'static str] = &[
        "completed",
        "cancelled",
        "peer_cancelled",
        "lost",
        "peer_lost",
        "fault",
        "peer_fault",
        "deadline",
        "peer_deadline",
        "panicked",
        "peer_panicked",
        "unpaired",
        "encoding",
        "draining",
        "administrator",
        "memory",
        "peer_memory",
        "memory_idle",
        "idle",
        "stalled",
        "peer_stalled",
        "unfinished",
        "peer_unfinished",
        "too_old",
        "connection_too_old",
        "peer_connection_too_old",
    ];

    /// The same ending as the other peer sees it.
    #[must_use]
    pub fn for_other(self) -> Self {
        Self {
            cause: self.cause,
            other: !self.other,
        }
    }

    /// Whether the peer is still there to be told.
    pub fn can_be_told(self) -> bool {
        self.other || !matches!(self.cause, Cause::Cancelled | Cause::Lost | Cause::Memory)
    }

    /// Whether memory ran out, so that what the stream keeps must be free soon.
    pub fn is_in_need(self) -> bool {
        matches!(self.cause, Cause::Memory | Cause::MemoryIdle)
    }

    /// Who brought it about.
    pub fn by(self) -> By {
        match self.cause {
            Cause::Completed => By::Both,
            Cause::Cancelled | Cause::Lost | Cause::Fault(_) | Cause::Deadline => {
                if self.other {
                    By::OtherSide
                } else {
                    By::ThisSide
                }
            }
            _ => By::Router,
        }
    }

    /// A stable word for metrics and logs.
    pub fn reason(self) -> &'static str {
        match (self.cause, self.other) {
            (Cause::Completed, _) => "completed",
            (Cause::Cancelled, false) => "cancelled",
            (Cause::Cancelled, true) => "peer_cancelled",
            (Cause::Lost, false) => "lost",
            (Cause::Lost, true) => "peer_lost",
            (Cause::Fault(_), false) => "fault",
            (Cause::Fault(_), true) => "peer_fault",
            (Cause::Deadline, false) => "deadline",
            (Cause::Deadline, true) => "peer_deadline",
            (Cause::Panicked, false) => "panicked",
            (Cause::Panicked, true) => "peer_panicked",
            (Cause::Unpaired(_), _) => "unpaired",
            (Cause::Encoding, _) => "encoding",
            (Cause::Draining, _) => "draining",
            (Cause::Administrator, _) => "administrator",
            (Cause::Memory, false) => "memory",
            (Cause::Memory, true) => "peer_memory",
            (Cause::MemoryIdle, _) => "memory_idle",
            (Cause::Idle(_), _) => "idle",
            (Cause::Stalled(_), false) => "stalled",
            (Cause::Stalled(_), true) => "peer_stalled",
            (Cause::Unfinished(_), false) => "unfinished",
            (Cause::Unfinished(_), true) => "peer_unfinished",
            (Cause::TooOld(_), _) => "too_old",
            (Cause::ConnectionTooOld(_), false) => "connection_too_old",
            (Cause::ConnectionTooOld(_), true) => "peer_connection_too_old",
        }
    }

    /// The gRPC status code the peer gets.
    pub fn code(self) -> Code {
        match (self.cause, self.other) {
            (Cause::Completed, _) => Code::Ok,
            (Cause::Cancelled, false) => Code::Cancelled,
            (Cause::Memory | Cause::MemoryIdle, _)
            | (Cause::Fault(Fault::TooLarge { .. }), false) => Code::ResourceExhausted,
            (Cause::Fault(_) | Cause::Panicked, false) => Code::Internal,
            (Cause::Deadline, false)
            | (
                Cause::Unpaired(_)
                | Cause::Idle(_)
                | Cause::Stalled(_)
                | Cause::Unfinished(_)
                | Cause::TooOld(_)
                | Cause::ConnectionTooOld(_),
                _,
            ) => Code::DeadlineExceeded,
            (Cause::Encoding, _) => Code::Unimplemented,
            (Cause::Administrator, _) => Code::Aborted,
            (
                Cause::Cancelled
                | Cause::Deadline
                | Cause::Lost
                | Cause::Draining
                | Cause::Fault(_)
                | Cause::Panicked,
                _,
            ) => Code::Unavailable,
        }
    }

    /// The gRPC status message the peer gets.
    pub fn message(self) -> Cow<'static, str> {
        match (self.cause, self.other) {
            (Cause::Completed, _) => "".into(),
            (Cause::Cancelled, false) => "the stream was cancelled".into(),
            (Cause::Cancelled, true) => "the other side cancelled its stream".into(),
            (Cause::Lost, false) => "the connection was lost".into(),
            (Cause::Lost, true) => "the other side's connection was lost".into(),
            (Cause::Fault(fault), false) => fault.to_string().into(),
            (Cause::Fault(fault), true) => {
                format!("the other side's stream was ended: {fault}").into()
            }
            (Cause::Deadline, false) => "the deadline of the call has passed".into(),
            (Cause::Deadline, true) => "the deadline of the other side's call has passed".into(),
            (Cause::Panicked, false) => "the router failed on this stream; see its log".into(),
            (Cause::Panicked, true) => "the router failed on the other side's stream".into(),
            (Cause::Unpaired(after), _) => format!(
                "the other side did not connect within {} (pairing.timeout); check that it runs and was \
                 given this router",
                humantime::format_duration(after)
            )
            .into(),
            (Cause::Encoding, _) => {
                "one side compresses its messages in a way the other does not accept".into()
            }
            (Cause::Draining, _) => "the router is shutting down; connect again".into(),
            (Cause::Administrator, _) => "ended by an administrator".into(),
            (Cause::Memory, false) => {
                "the router is short of memory (memory.limit), and this peer did not read".into()
            }
            (Cause::Memory, true) => {
                "the router is short of memory (memory.limit), and the other side did not read; \
                 connect again"
                    .into()
            }
            (Cause::MemoryIdle, _) => "the router is short of memory (memory.limit), and this pair moved nothing; \
                 connect again"
                .into(),
            (Cause::Idle(after), _) => format!(
                "nothing was sent either way for {} (streams.idle_timeout); connect again",
                humantime::format_duration(after)
            )
            .into(),
            (Cause::Stalled(after), false) => format!(
                "this side took next to nothing for {} while bytes waited for it (streams.stall_timeout); \
                 connect again, and read",
                humantime::format_duration(after)
            )
            .into(),
            (Cause::Stalled(after), true) => format!(
                "the other side took next to nothing for {} while bytes waited for it \
                 (streams.stall_timeout); connect again",
                humantime::format_duration(after)
            )
            .into(),
            (Cause::Unfinished(after), false) => format!(
                "this side sent next to nothing for {} of a message that it had begun (streams.stall_timeout); \
                 connect again, and send messages whole",
                humantime::format_duration(after)
            )
            .into(),
            (Cause::Unfinished(after), true) => format!(
                "the other side sent next to nothing for {} of a message that it had begun \
                 (streams.stall_timeout); connect again",
                humantime::format_duration(after)
            )
            .into(),
            (Cause::TooOld(after), _) => format!(
                "the stream reached the longest time allowed, {} (streams.max_duration); connect \
                 again",
                humantime::format_duration(after)
            )
            .into(),
            (Cause::ConnectionTooOld(after), other) => format!(
                "{} connection reached the longest time allowed, {} (connections.max_age and \
                 connections.max_age_grace); connect again",
                if other { "the other side's" } else { "the" },
                humantime::format_duration(after)
            )
            .into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::v1::{FrameType, StreamResponse};

    pub(super) const CAUSES: &[Cause] = &[
        Cause::Completed,
        Cause::Cancelled,
        Cause::Lost,
        Cause::Fault(Fault::UndeclaredCompression),
        Cause::Deadline,
        Cause::Panicked,
        Cause::Unpaired(Duration::from_secs(1)),
        Cause::Encoding,
        Cause::Draining,
        Cause::Administrator,
        Cause::Memory,
        Cause::Idle(Duration::from_secs(1)),
        Cause::Stalled(Duration::from_secs(1)),
        Cause::Unfinished(Duration::from_secs(1)),
        Cause::MemoryIdle,
        Cause::TooOld(Duration::from_secs(1)),
        Cause::ConnectionTooOld(Duration::from_secs(1)),
    ];

    #[test]
    fn every_reason_is_listed_once() {
        let mut found: Vec<_> = CAUSES
            .iter()
            .flat_map(|&cause| [Ending::from(cause), Ending::from(cause).for_other()])
            .map(Ending::reason)
            .collect();
        found.sort_unstable();
        found.dedup();
        let mut listed = Ending::REASONS.to_vec();
        listed.sort_unstable();
        assert_eq!(found, listed);
    }

    #[test]
    fn whoever_is_told_of_a_failure_gets_an_error_with_a_text() {
        for &cause in &CAUSES[1..] {
            for ending in [Ending::from(cause), Ending::from(cause).for_other()] {
                assert_ne!(ending.code(), Code::Ok, "{ending:?}");
                assert!(
                    ending.code() != Code::Cancelled || !ending.can_be_told(),
                    "{ending:?}"
                );
                assert!(!ending.message().is_empty(), "{ending:?}");
            }
        }
    }

    #[test]
    fn the_goaway_message_is_what_peers_decode() {
        let decoded = <StreamResponse as prost::Message>::decode(&GOAWAY_MESSAGE[5..]).ok();
        assert_eq!(
            decoded,
            Some(StreamResponse {
                payload: bytes::Bytes::new(),
                frame_type: FrameType::Goaway.into(),
            })
        );
        assert_eq!(GOAWAY_MESSAGE[..5], [0, 0, 0, 0, 2]);
    }
}
