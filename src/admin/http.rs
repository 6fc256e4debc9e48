//! Answers health probes and serves metrics over HTTP/1.1.

mod places;
mod server;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
    routing::get,
};

pub(crate) use self::server::{CONNECTIONS, Limits, Remote, serve};
use crate::{
    observe::metrics::{Format, Metrics},
    transport::phase::Life,
};

const INDEX: &str = "\
/healthz  200 while the process runs
/readyz   200 when new streams are wanted, else 503 and why not
/metrics  metrics in the text format of Prometheus or of OpenMetrics, as Accept asks
";

/// Holds what the paths show.
#[derive(Clone, Debug)]
pub(crate) struct AdminState {
    /// Shown by `/readyz`.
    pub life: Life,
    /// Shown by `/metrics`.
    pub metrics: Arc<Metrics>,
}

/// Routes all paths: `/`, `/healthz`, `/readyz` and `/metrics`. More can be merged in.
pub(crate) fn full(state: AdminState) -> Router {
    let metrics = metrics_only(Arc::clone(&state.metrics));
    Router::new()
        .route("/", get(INDEX))
        .route("/healthz", get("ok"))
        .route("/readyz", get(ready))
        .with_state(state.life)
        .merge(metrics)
}

/// Routes only `/metrics`, for an address that is open to more readers than the rest.
pub(crate) fn metrics_only(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .with_state(metrics)
}

async fn ready(State(life): State<Life>) -> (StatusCode, &'static str) {
    let status = if life.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, life.as_str())
}

async fn scrape(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(ACCEPT).into_iter();
    let format = Format::accepted(accept.filter_map(|value| value.to_str().ok()));
    // Reading `/proc` blocks, and with many open files on an old kernel it does so for long.
    match tokio::task::spawn_blocking(move || metrics.encode_as(format)).await {
        Ok(text) => {
            let headers = [(CONTENT_TYPE, format.content_type()), (VARY, "accept")];
            (headers, text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
