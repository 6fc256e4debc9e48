//! From a listening socket to gRPC streams: connections, TLS, HTTP/2, and their deadlines.
//!
//! - [`accept`] takes connections in, within limits; [`tls`] makes the server's TLS settings, and those in
//!   use are [`current_tls`]; [`tls_stream`] is the TLS layer itself, with [`buffers`] lent while bytes pass; [`wire`]
//!   is a connection's byte stream;
//! - [`connection`] runs one connection as one task that owns all its streams: bytes cross to another task
//!   only in a lane. [`doorbell`] tells it which of its parts has work, [`deadlines`] what is due, [`window`] how
//!   much credit the peer should have, as far as [`budget`] allows; [`memory`] counts what is in use and who may
//!   read, [`allowance`] how much at once, and [`pressure`] ends what stands still when it runs out, by the limit that
//!   is configured or that [`cgroup`] finds; [`resident`] is what there is beyond the heap, [`outgoing`] what is unsent;
//! - [`stream`] serves one call of `RouterService/Stream`, if [`admission`] lets it in; [`routes`] passes other calls
//!   to typed services, within bounds of their own;
//! - [`peer`] is a peer's HTTP/2 stream as the splice sees it, at the [`pace`] it may send;
//! - [`successor`] finds a partner at the router that takes over, for a stream that waits here when this one stops;
//!   [`forward`] then stands in for the partner; [`trust`] says which certificates are believed, and
//!   `voucher` whether the other one is a router;
//! - [`addresses`] counts what comes from where, with a [`bucket`] for each rate, and [`seats`] the streams in all;
//!   [`spares`] knows the connections without a stream;
//!   [`proxy_protocol`] tells who is behind a load balancer;
//! - [`router`] is what all of them share, [`live`] what can be seen of each stream.

pub mod accept;
pub mod addresses;
pub mod admission;
pub mod allowance;
pub mod bucket;
pub mod budget;
pub mod buffers;
pub mod cgroup;
pub mod connection;
pub mod current_tls;
pub mod deadlines;
pub mod doorbell;
pub mod forward;
pub mod live;
pub mod memory;
pub mod outgoing;
pub mod pace;
pub mod peer;
pub mod pressure;
pub mod proxy_protocol;
pub mod resident;
pub mod router;
pub mod routes;
pub mod seats;
pub mod spares;
pub mod stream;
pub mod successor;
pub mod tls;
pub mod tls_stream;
pub mod trust;
pub(crate) mod voucher;
pub mod window;
pub mod wire;
