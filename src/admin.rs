//! HTTP beside the gRPC port.
//!
//! [`http`] answers probes and scrapes, which anybody may ask. [`api`] is for administrators: it shows streams and can
//! end them, so it has an address of its own, and [`page`] is what a browser shows there.

pub(crate) mod api;
pub(crate) mod http;
pub(crate) mod page;
