//! The table of endings: one row for each cause, and everything that follows from it.

use std::time::Duration;

use tonic::Code;

use super::{By, text::Detail};
use crate::splice::scanner::Fault;

/// Says what one cause means.
pub(super) struct Row {
    /// Who brought it about, seen from the peer it happened to.
    pub by: By,
    /// What is said of the peer it happened to and, where that differs, what is said of its partner.
    pub views: &'static [View],
}

/// Says what is told of one peer.
pub(super) struct View {
    /// The word for metrics and logs.
    pub reason: &'static str,
    /// The gRPC status code the peer gets.
    pub code: Code,
    /// The gRPC status message the peer gets; what the cause carries takes the place of `{}`.
    pub message: &'static str,
}

/// Stands for what a row carries, or for `()`.
macro_rules! carried {
    () => {
        ()
    };
    ($name:ident) => {
        $name
    };
}

macro_rules! causes {
    ($(
        $(#[$doc:meta])+
        $name:ident $(($carried:ident: $kind:ty))?, by $by:ident:
            $($reason:literal $code:ident $message:literal)|+;
    )+) => {
        /// What ended a stream.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Cause {
            $($(#[$doc])+ $name $(($kind))?,)+
        }

        /// Lists every reason that an ending can have.
        pub(super) const REASONS: &[&str] = &[$($($reason,)+)+];

        impl Cause {
            pub(super) fn row(self) -> Row {
                match self {
                    $(Self::$name { .. } => Row {
                        by: By::$by,
                        views: &[$(View { reason: $reason, code: Code::$code, message: $message }),+],
                    },)+
                }
            }

            /// Shows what the cause carries to people.
            pub(super) fn shown(self) -> String {
                match self {
                    $(Self::$name $(($carried))? => carried!($($carried)?).shown(),)+
                }
            }

            /// Gives the cause as a word and numbers, for [`Cause::read`].
            pub(super) fn written(self) -> (&'static str, Vec<u64>) {
                let name = self.row().views[0].reason;
                match self {
                    $(Self::$name $(($carried))? => carried!($($carried)?).written(name),)+
                }
            }

            pub(super) fn read(word: &str, numbers: &[u64]) -> Option<Self> {
                $({
                    let [name, ..] = [$($reason),+];
                    if let Some(carried!($($carried)?)) = Detail::read(name, word, numbers) {
                        return Some(Self::$name $(($carried))?);
                    }
                })+
                None
            }

            /// Lists every cause, with each kind of thing that it can carry.
            #[cfg(test)]
            pub(crate) fn samples() -> Vec<Self> {
                let mut all = Vec::new();
                $(for carried!($($carried)?) in Detail::samples() {
                    all.push(Self::$name $(($carried))?);
                })+
                all
            }
        }
    };
}

causes! {
    /// Both peers half-closed and all was delivered.
    Completed, by Both: "completed" Ok "";

    /// The peer reset the stream.
    Cancelled, by ThisSide:
        "cancelled" Cancelled "the stream was cancelled"
        | "peer_cancelled" Unavailable "the other side cancelled its stream";

    /// The peer's connection is gone.
    Lost, by ThisSide:
        "lost" Unavailable "the connection was lost"
        | "peer_lost" Unavailable "the other side's connection was lost";

    /// The peer's bytes are no gRPC messages, or too large ones.
    Fault(fault: Fault), by ThisSide:
        "fault" Internal "{}"
        | "peer_fault" Unavailable "the other side's stream was ended: {}";

    /// The peer's `grpc-timeout` passed.
    Deadline, by ThisSide:
        "deadline" DeadlineExceeded "the deadline of the call has passed"
        | "peer_deadline" Unavailable "the deadline of the other side's call has passed";

    /// The router has a defect.
    Panicked, by Router:
        "panicked" Internal "the router failed on this stream; see its log"
        | "peer_panicked" Unavailable "the router failed on the other side's stream";

    /// No partner came within the pairing timeout.
    Unpaired(after: Duration), by Router:
        "unpaired" DeadlineExceeded
        "the other side did not connect within {} (pairing.timeout); check that it runs and was given this router";

    /// The same, while the routers' message bus was not connected.
    UnpairedBusAway(after: Duration), by Router:
        "unpaired_bus_away" DeadlineExceeded
        "the other side did not connect within {} (pairing.timeout); it may wait at another router, as the routers' message \
         bus was not reached";

    /// The partner waits at another router that cannot be called, or cannot call this one.
    RouterUnreached, by Router:
        "router_unreached" Unavailable "the other side waits at a router that does not answer; connect again";

    /// The partner waits at another router that has no room for the call.
    RouterFull, by Router:
        "router_full" ResourceExhausted
        "the other side waits at a router that is short of memory or streams; try again later";

    /// One peer compresses in a way the other does not accept.
    Encoding, by Router:
        "encoding" Unimplemented "one side compresses its messages in a way the other does not accept";

    /// The router is shutting down.
    Draining, by Router: "draining" Unavailable "the router is shutting down; connect again";

    /// An administrator ended it.
    Administrator, by Router: "administrator" Aborted "ended by an administrator";

    /// Memory ran out, and the peer left bytes waiting.
    Memory, by Router:
        "memory" ResourceExhausted "the router is short of memory (memory.limit), and this peer did not read"
        | "peer_memory" ResourceExhausted
        "the router is short of memory (memory.limit), and the other side did not read; connect again";

    /// Memory ran out, and the pair moved nothing: it stood inside a message, or idle among many.
    MemoryIdle, by Router:
        "memory_idle" ResourceExhausted
        "the router is short of memory (memory.limit), and this pair moved nothing; connect again";

    /// Nothing moved for so long.
    Idle(after: Duration), by Router:
        "idle" DeadlineExceeded "nothing was sent either way for {} (streams.idle_timeout); connect again";

    /// The peer took next to nothing for so long while bytes waited for it.
    Stalled(after: Duration), by Router:
        "stalled" DeadlineExceeded
        "this side took next to nothing for {} while bytes waited for it (streams.stall_timeout); \
         connect again, and read"
        | "peer_stalled" DeadlineExceeded
        "the other side took next to nothing for {} while bytes waited for it (streams.stall_timeout); \
         connect again";

    /// The peer sent next to nothing for so long of a message that it had begun.
    Unfinished(after: Duration), by Router:
        "unfinished" DeadlineExceeded
        "this side sent next to nothing for {} of a message that it had begun (streams.stall_timeout); \
         connect again, and send messages whole"
        | "peer_unfinished" DeadlineExceeded
        "the other side sent next to nothing for {} of a message that it had begun (streams.stall_timeout); \
         connect again";

    /// The stream lasted longer than allowed.
    TooOld(after: Duration), by Router:
        "too_old" DeadlineExceeded
        "the stream reached the longest time allowed, {} (streams.max_duration); connect again";

    /// The peer's connection lasted longer than allowed.
    ConnectionTooOld(after: Duration), by Router:
        "connection_too_old" DeadlineExceeded
        "the connection reached the longest time allowed, {} (connections.max_age and \
         connections.max_age_grace); connect again"
        | "peer_connection_too_old" DeadlineExceeded
        "the other side's connection reached the longest time allowed, {} (connections.max_age and \
         connections.max_age_grace); connect again";
}
