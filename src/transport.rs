//! From a listening socket to gRPC streams: connections, TLS, HTTP/2, memory, limits, calls.
//!
//! From what is decided on to what decides:
//! - [`settings`] is what can be set; [`socket`] the system's side of it, [`wake_flag`] which part of a task has work, and
//!   [`outgoing`] what is unsent;
//! - [`tls`] encrypts, and says whom to believe; [`memory`] counts what is in use and what may be read; [`limits`] counts
//!   who comes from where, how many and how fast;
//! - [`counters`] is what a connection's streams count for it, [`streams`] what can be seen of each stream, [`phase`] where
//!   the process is in its life, [`past`] which streams have ended and [`history`] what the last minutes were like, [`forwarding`] where streams go at its end, and [`shared`] what all connections and streams
//!   share;
//! - [`pressure`] measures memory, and ends what stands still when it runs out;
//! - [`outbound`] makes connections to other routers;
//! - [`call`] serves one call of `RouterService/Stream`, from its admission to its record;
//! - [`http2`] runs one connection as one task that owns all its streams;
//! - [`accept`] takes connections in, within limits.

pub(crate) mod accept;
pub(crate) mod call;
pub(crate) mod counters;
pub(crate) mod forwarding;
pub(crate) mod history;
pub(crate) mod http2;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod outbound;
pub(crate) mod outgoing;
pub(crate) mod past;
pub(crate) mod phase;
pub(crate) mod pressure;
pub(crate) mod sampler;
pub(crate) mod settings;
pub(crate) mod shared;
pub(crate) mod socket;
pub(crate) mod streams;
pub(crate) mod tls;
pub(crate) mod wake_flag;
