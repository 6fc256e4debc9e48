//! Jumpstarter stream router: joins a client and an exporter that cannot reach each other.
//!
//! # The life of a stream
//! 1. [`transport::accept`] takes a connection in, and finishes its TLS handshake.
//! 2. [`transport::http2::connection`] runs it as one task: HTTP/2, and all streams on it.
//! 3. [`transport::call`] gets a call of `RouterService/Stream`; [`auth`] checks its token.
//! 4. [`pairing`] looks for the token's subject: the first stream waits, the second takes its offer.
//! 5. The two are joined by two [lanes](splice::lane). Each side's task [reads its peer](splice::side) into
//!    one lane and writes the other lane to its peer. [`splice::scanner`] keeps messages whole.
//! 6. Credit goes back to the sender when its bytes were handed to the other side's connection, so what the
//!    router holds never exceeds the window it granted.
//! 7. When one side ends, [`splice::ending`] says what the other is told: what was accepted arrives first, then
//!    a GOAWAY frame, then the status with the reason.
//! 8. [`observe`] leaves a record of it in the log and the metrics.
//!
//! # The rooms, from the ground up
//! [`common`] (text, TCP, pauses, `/proc`, clocks, locks), [`protocol`] (generated code), [`splice`] (bytes and credit), [`pairing`] (keys and
//! slots), [`auth`] (claims), [`grpc`] (the call, statuses, headers), [`tls`] (certificates, whom to believe), [`observe`] (log,
//! metrics), [`cluster`] (halves at other routers), [`transport`] (sockets), [`admin`] (HTTP beside the gRPC port),
//! [`config`], [`server`] (all of it wired together), [`reload`] (a changed configuration), [`client`] (the other end of
//! the wire), `lab` (a controller in memory), [`cli`]. Nothing imports upward. What safe Rust cannot ask of the system,
//! live heap above all, is in the package `crates/system`.

// Links from one room to another.
#![allow(rustdoc::private_intra_doc_links)]
// What tests and benchmarks ask for is public, and reachable only with the door open.
#![cfg_attr(feature = "internals", warn(unreachable_pub))]
// These wait for a reader, and panic without one. `cli::out` and the log write to people.
#![deny(clippy::print_stdout, clippy::print_stderr)]
// Rooms that all share hold what only some commands use. The build of the whole program finds what nobody uses.
#![cfg_attr(
    not(all(feature = "cluster", feature = "lab", feature = "load")),
    allow(dead_code, unused_imports)
)]

#[cfg(feature = "server")]
mod admin;
#[cfg(feature = "mint")]
mod auth;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
mod cluster;
#[cfg(feature = "client")]
mod common;
#[cfg(feature = "server")]
mod config;
#[cfg(feature = "client")]
mod grpc;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod inside;
#[cfg(feature = "lab")]
mod lab;
#[cfg(feature = "server")]
mod observe;
#[cfg(feature = "server")]
mod pairing;
pub mod protocol;
#[cfg(feature = "server")]
mod reload;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "client")]
mod splice;
#[cfg(feature = "client")]
mod tls;
#[cfg(feature = "server")]
mod transport;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub use cli::main;
#[cfg(feature = "server")]
pub use {
    config::{Config, Endpoint, LogFilter, Problems, Secret, Size},
    server::{Drained, Server, StartError},
};

/// The package's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit this was built from, or "unknown".
pub const COMMIT: &str = env!("ROUTER_COMMIT");
