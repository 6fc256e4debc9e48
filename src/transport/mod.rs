//! From a listening socket to gRPC streams: connections, TLS, HTTP/2, and their deadlines.
//!
//! - [`accept`] takes connections in, within limits; [`tls`] makes the server's TLS settings, [`tls_stream`] is
//!   the TLS layer itself, with [`buffers`] lent while bytes pass; [`wire`] is a connection's byte stream;
//! - [`connection`] runs one connection as one task that owns all its streams: bytes cross to another task
//!   only in a lane. [`doorbell`] tells it which of its parts has work, [`deadlines`] what is due, [`window`] how
//!   much credit the peer should have, as far as [`memory`] and [`pressure`] allow;
//! - [`stream`] serves one call of `RouterService/Stream`; [`routes`] passes other calls to typed services;
//! - [`peer`] is a peer's HTTP/2 stream as the splice sees it;
//! - [`router`] is what all of them share, [`live`] what can be seen of each stream.

pub mod accept;
pub mod buffers;
pub mod connection;
pub mod deadlines;
pub mod doorbell;
pub mod live;
pub mod memory;
pub mod peer;
pub mod pressure;
pub mod router;
pub mod routes;
pub mod stream;
pub mod tls;
pub mod tls_stream;
pub mod window;
pub mod wire;
