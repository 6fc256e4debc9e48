//! The TLS layer of the server, and what peers are believed by.
//!
//! [`settings`] makes the server's settings of what [`pem`] reads, and those in use are [`current`]; [`stream`] is the
//! layer itself, with buffers lent from [`staged`] while bytes pass, over what can [`gather`]; [`trust`] says which certificates are believed.

pub mod current;
pub mod gather;
pub mod settings;
pub mod staged;
pub mod stream;

pub use crate::tls::{pem, trust};
