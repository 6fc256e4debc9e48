//! Health probes and metrics over HTTP/1.1.

mod server;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

pub use self::server::{CONNECTIONS, Remote, serve};
use crate::observe::{
    metrics::{self, Metrics},
    readiness::{Phase, Readiness},
};

const INDEX: &str = "\
/healthz  200 while the process runs
/readyz   200 when new streams are wanted, else 503 and why not
/metrics  metrics in the OpenMetrics text format
";

/// What the paths show.
#[derive(Clone, Debug)]
pub struct AdminState {
    /// Shown by `/readyz`.
    pub readiness: Readiness,
    /// Shown by `/metrics`.
    pub metrics: Arc<Metrics>,
}

/// All paths: `/`, `/healthz`, `/readyz` and `/metrics`. More can be merged in.
pub fn full(state: AdminState) -> Router {
    let metrics = metrics_only(Arc::clone(&state.metrics));
    Router::new()
        .route("/", get(INDEX))
        .route("/healthz", get("ok"))
        .route("/readyz", get(ready))
        .with_state(state.readiness)
        .merge(metrics)
}

/// Only `/metrics`, for an address that is open to more readers than the rest.
pub fn metrics_only(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .with_state(metrics)
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    let phase = readiness.get();
    let status = match phase {
        Phase::Ready => StatusCode::OK,
        Phase::Starting | Phase::LameDuck | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, phase.as_str())
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    // Reading `/proc` blocks, and with many open files on an old kernel it does so for long.
    match tokio::task::spawn_blocking(move || metrics.encode()).await {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
