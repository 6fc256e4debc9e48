//! Panics that end one task and nothing else.

use std::{fmt::Display, future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt;

use super::metrics::Metrics;

/// Awaits `task`. Its panic is counted and logged as `what` of `peer`, and gives `None`.
///
/// What the task had is dropped with it, which tells those who share it; nothing that outlives a task is left half
/// changed by one.
pub(crate) async fn caught<F: Future>(
    metrics: &Metrics,
    peer: impl Display,
    what: &'static str,
    task: F,
) -> Option<F::Output> {
    let result = AssertUnwindSafe(task).catch_unwind().await;
    if result.is_err() {
        metrics.panics.inc();
        tracing::error!(%peer, "{what}");
    }
    result.ok()
}
