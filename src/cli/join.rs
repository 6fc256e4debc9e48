//! What the commands that use streams share: where the router is, what the token is, and how bytes are carried.

pub mod carry;
pub mod controller;
pub mod credentials;
pub mod meter;
