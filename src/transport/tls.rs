//! The TLS layer of the server, and what peers are believed by.
//!
//! [`settings`] makes the server's settings of what [`pem`](crate::tls::pem) reads, and those in use are [`current`]; [`stream`] is the
//! layer itself, with buffers lent from [`staged`] while bytes pass, over what can [`gather`]; [`trust`](crate::tls::trust) says which certificates are believed.

pub(crate) mod current;
pub(crate) mod gather;
pub(crate) mod settings;
pub(crate) mod staged;
pub(crate) mod stream;
