//! One connection's HTTP/2.
//!
//! [`connection`] is the task that owns the connection and all its streams: bytes cross to another task only in a lane.
//! [`wire`] is its byte stream, [`timers`] tells what is due, [`window`] how much credit the peer should have. [`routes`]
//! passes calls of other services on, within bounds of their own.

mod closing;
pub(crate) mod connection;
mod goaway;
mod load;
mod read_gate;
pub(crate) mod routes;
pub(crate) mod timers;
pub(crate) mod window;
pub(crate) mod windows;
pub(crate) mod wire;
