//! What the router tells the outside: log lines, metrics, and what service managers want to know.

pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod names;
pub(crate) mod notify;
pub(crate) mod panics;
pub(crate) mod record;
#[cfg(feature = "otel")]
pub(crate) mod traces;
