//! Endings: why a stream ends, and what each of the two peers is told. The table in `causes` has a row for each cause.
//!
//! The peer that brought it about by a reset, or by losing its connection, is told nothing; one that memory is short
//! because of is reset. All others get a GOAWAY frame and the row's status, but for a good end, which is OK alone.
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

mod causes;
mod text;

use std::borrow::Cow;

use tonic::Code;

pub use self::causes::Cause;
use self::causes::View;
use super::{Broken, scanner::Fault};

/// An in-band `FRAME_TYPE_GOAWAY` with an empty payload, as one gRPC message: prefix, then field 2 = 7.
pub const GOAWAY_MESSAGE: &[u8] = &[0, 0, 0, 0, 2, 0x10, 7];

/// Says who brought an ending about, seen from one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Both peers did, by closing.
    Both,
    /// The peer itself did.
    ThisSide,
    /// Its partner did.
    OtherSide,
    /// The router did.
    Router,
}

impl By {
    /// Names them for the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both sides",
            Self::ThisSide => "this side",
            Self::OtherSide => "other side",
            Self::Router => "router",
        }
    }
}

/// Describes an ending as one of the two peers sees it.
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
    /// Lists every value of [`Ending::reason`], for metrics.
    pub const REASONS: &'static [&'static str] = causes::REASONS;

    /// Turns it into the same ending as the other peer sees it.
    #[must_use]
    pub fn for_other(self) -> Self {
        Self {
            cause: self.cause,
            other: !self.other,
        }
    }

    /// Tells whether the peer is still there to be told.
    pub fn can_be_told(self) -> bool {
        self.other || !matches!(self.cause, Cause::Cancelled | Cause::Lost | Cause::Memory)
    }

    /// Tells whether memory ran out, so that what the stream keeps must be free soon.
    pub fn is_in_need(self) -> bool {
        matches!(self.cause, Cause::Memory | Cause::MemoryIdle)
    }

    /// Says who brought it about.
    pub fn by(self) -> By {
        match self.cause.row().by {
            By::ThisSide if self.other => By::OtherSide,
            by => by,
        }
    }

    /// Gives what the table says of this peer.
    fn view(self) -> &'static View {
        let views = self.cause.row().views;
        views.get(usize::from(self.other)).unwrap_or(&views[0])
    }

    /// Gives a stable word for metrics and logs.
    pub fn reason(self) -> &'static str {
        self.view().reason
    }

    /// Gives the gRPC status code the peer gets.
    pub fn code(self) -> Code {
        match (self.cause, self.other) {
            // The one fault that is a limit, and has the code of limits.
            (Cause::Fault(Fault::TooLarge { .. }), false) => Code::ResourceExhausted,
            _ => self.view().code,
        }
    }

    /// Gives the gRPC status message the peer gets.
    pub fn message(self) -> Cow<'static, str> {
        let message = self.view().message;
        if message.contains("{}") {
            message.replacen("{}", &self.cause.shown(), 1).into()
        } else {
            message.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::protocol::v1::{FrameType, StreamResponse};

    #[test]
    fn every_reason_is_listed_once() {
        let listed: BTreeSet<_> = Ending::REASONS.iter().copied().collect();
        assert_eq!(listed.len(), Ending::REASONS.len());
        let views = Cause::samples()
            .into_iter()
            .flat_map(|cause| cause.row().views);
        assert_eq!(listed, views.map(|view| view.reason).collect());
    }

    #[test]
    fn the_texts_say_what_a_cause_carries() {
        let text = |cause: Cause| Ending::from(cause).message().into_owned();
        let after = std::time::Duration::from_secs(90);
        assert_eq!(
            text(Cause::Idle(after)),
            "nothing was sent either way for 1m 30s (streams.idle_timeout); connect again"
        );
        assert_eq!(
            Ending::from(Cause::Fault(Fault::UnknownFlag { flag: 9 }))
                .for_other()
                .message(),
            "the other side's stream was ended: message prefix starts with 0x09, expected 0 or 1"
        );
        for cause in Cause::samples() {
            assert!(!text(cause).contains('{'), "{cause:?}");
        }
    }

    #[test]
    fn whoever_is_told_of_a_failure_gets_an_error_with_a_text() {
        for cause in Cause::samples().split_off(1) {
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
