//! What the commands that use streams share: where the router is, what the token is, and how bytes are carried.

pub mod carry;
#[cfg(feature = "controller-client")]
pub mod controller;
pub mod credentials;
pub mod meter;
