//! From a listening socket to gRPC streams: connections, TLS, HTTP/2, memory, limits, calls.
//!
//! From what is decided on to what decides:
//! - [`settings`] is what can be set;
//! - [`tls`] encrypts, and says whom to believe; [`memory`] counts what is in use and what may be read; [`limits`] counts
//!   who comes from where, how many and how fast;
//! - [`counters`] is what a connection's streams count for it, [`streams`] what can be seen of each stream, [`phase`] where
//!   the process is in its life, [`forwarding`] where streams go at its end, and [`shared`] what all connections and streams
//!   share;
//! - [`call`] serves one call of `RouterService/Stream`, from its admission to its record;
//! - [`http2`] runs one connection as one task that owns all its streams;
//! - [`accept`] takes connections in, within limits.

pub mod accept;
pub mod call;
pub mod counters;
pub mod forwarding;
pub mod http2;
pub mod limits;
pub mod memory;
pub mod phase;
pub mod settings;
pub mod shared;
pub mod streams;
pub mod tls;
