//! What the router tells the outside: log lines, metrics, and whether it is ready.

pub mod log;
pub mod metrics;
pub mod readiness;
pub mod record;
#[cfg(feature = "otel")]
pub mod traces;
