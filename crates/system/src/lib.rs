//! The few things that the router needs of the system and that safe Rust cannot ask for. All `unsafe` of the project is
//! here, each with its argument; the router itself forbids it.
//!
//! - [`heap`] counts what is allocated, so that memory in use is a fact and not a model;
//! - [`tcp`] asks the kernel for the shortest round trip it has seen on a connection.

pub mod heap;
pub mod tcp;
