//! The other end of the wire: connects to a router as its peers do.
//!
//! Used by the demo and the tests.

pub mod connect;
pub mod stream;

pub use connect::{ConnectError, Connector, Identity, Trust};
pub use stream::{Call, call};
