//! What the commands that use streams share: where the router is, what the token is, and how bytes are carried.

pub(crate) mod carry;
pub(crate) mod controller;
pub(crate) mod credentials;
pub(crate) mod meter;
pub(crate) mod told;
