//! What the router tells the outside: log lines, metrics, and what service managers want to know.

pub mod log;
pub mod metrics;
pub mod notify;
pub mod panics;
pub mod record;
#[cfg(feature = "otel")]
pub mod traces;
