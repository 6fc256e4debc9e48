//! One connection's HTTP/2.
//!
//! [`connection`] is the task that owns the connection and all its streams: bytes cross to another task only in a lane.
//! [`wire`] is its byte stream, [`wake_flag`] tells it which of its parts has work, [`timers`] what is due, [`window`] how
//! much credit the peer should have; [`outgoing`] is what is unsent. [`routes`] passes calls of other services on, within
//! bounds of their own.

pub mod connection;
mod goaway;
pub mod outgoing;
pub mod routes;
pub mod timers;
pub mod wake_flag;
pub mod window;
pub mod wire;
