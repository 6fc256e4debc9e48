//! What an administrator can see and do: live streams, ending one, the drain, the log filter.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/status` | what runs, since when, and what it does: [`status::Status`] |
//! | `GET /api/streams` | live streams: [`streams::Listing`]; the query is a [`streams::Query`] |
//! | `POST /api/streams/{id}/end` | 202; both peers are told |
//! | `POST /api/drain` | 202; as SIGTERM does |
//! | `GET /api/log-filter` | `{"filter": "..."}` |
//! | `PUT /api/log-filter` | the same, after it was changed to what the body says in the same form |
//! | `GET /` | the page |
//!
//! All answers but the page are JSON; those that are no success have the form `{"error": "..."}`. Who is let in is
//! the matter of [`guard`].

pub(crate) mod guard;
pub(crate) mod status;
pub(crate) mod streams;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, Extension, Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::guard::Guard;
use super::{http::Remote, page};
use crate::{
    observe::{log::LogHandle, metrics::AdminAction},
    splice::ending::Cause,
    tls::provider::Provider,
    transport::{phase::Phase, shared},
};

/// No request has a body that is longer, bytes.
const MOST_BODY: usize = 16 * 1024;

/// What an administrator works on.
#[derive(Clone, Debug)]
pub struct Admin {
    /// What the router's connections share.
    pub shared: Arc<shared::Shared>,
    /// When it began.
    pub started: Instant,
    /// The TLS provider in use.
    pub provider: Provider,
    /// The log, if this process has set one up.
    pub log: Option<LogHandle>,
}

/// Everything under the administrator's address. `token`: what requests must carry, if anything.
pub(crate) fn routes(admin: Admin, token: Option<Vec<u8>>) -> Router {
    let guard = Arc::new(Guard::new(token, admin.shared.metrics.clone()));
    Router::new()
        .route("/", get(page::show))
        .route("/api/status", get(status))
        .route("/api/streams", get(list))
        .route("/api/streams/{id}/end", post(end))
        .route("/api/drain", post(drain))
        .route("/api/log-filter", get(log_filter).put(set_log_filter))
        .fallback(async || failure(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            failure(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path has another method",
            )
        })
        .with_state(admin)
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(middleware::from_fn_with_state(guard, guard::check))
}

/// An answer that is no success.
fn failure(status: StatusCode, why: &str) -> Response {
    answer(status, json!({ "error": why }))
}

fn answer(status: StatusCode, body: Value) -> Response {
    (status, Json(body)).into_response()
}

async fn status(State(admin): State<Admin>) -> Json<status::Status> {
    Json(status::Status::of(&admin))
}

async fn list(
    State(admin): State<Admin>,
    query: Result<Query<streams::Query>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    // With many streams this takes some milliseconds, which frames need not wait for.
    let list = move || Json(streams::list(&admin.shared.streams, &query)).into_response();
    match tokio::task::spawn_blocking(list).await {
        Ok(response) => response,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn end(
    State(admin): State<Admin>,
    Extension(remote): Extension<Remote>,
    Path(id): Path<String>,
) -> Response {
    let pair = id.parse().map(|id| admin.shared.streams.of_pair(id));
    let pair = pair.unwrap_or_default();
    if pair.is_empty() {
        return failure(
            StatusCode::NOT_FOUND,
            "there is no such stream; it may have ended by itself",
        );
    }
    count(&admin, AdminAction::EndStream);
    // In the log a cause stands before what it causes.
    tracing::info!(id, remote = %remote.0, "an administrator ended a stream");
    for entry in pair {
        entry.control.end(Cause::Administrator);
    }
    answer(StatusCode::ACCEPTED, json!({ "state": "ending" }))
}

async fn drain(State(admin): State<Admin>, Extension(remote): Extension<Remote>) -> Response {
    let life = &admin.shared.life;
    if !life.phase().is_asked() {
        tracing::info!(remote = %remote.0, "an administrator asked for the drain");
    }
    if life.advance(Phase::Asked) {
        count(&admin, AdminAction::Drain);
    }
    answer(StatusCode::ACCEPTED, json!({ "phase": "draining" }))
}

/// The body of `/api/log-filter`, both ways.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    filter: String,
}

async fn log_filter(State(admin): State<Admin>) -> Response {
    let Some(filter) = admin.log.and_then(|log| log.filter().ok()) else {
        return no_log();
    };
    Json(Filter { filter }).into_response()
}

async fn set_log_filter(
    State(admin): State<Admin>,
    Extension(remote): Extension<Remote>,
    body: Result<Json<Filter>, JsonRejection>,
) -> Response {
    let filter = match body {
        Ok(Json(body)) => body.filter,
        Err(error) => return failure(error.status(), &error.body_text()),
    };
    let Some(log) = &admin.log else {
        return no_log();
    };
    if let Err(error) = log.set_filter(&filter) {
        return failure(StatusCode::BAD_REQUEST, &error.to_string());
    }
    count(&admin, AdminAction::LogFilter);
    // A warning, so that it is seen with most filters.
    tracing::warn!(filter, remote = %remote.0, "an administrator changed the log filter");
    log_filter(State(admin)).await
}

fn no_log() -> Response {
    let why = "this process has set up no log";
    failure(StatusCode::NOT_FOUND, why)
}

fn count(admin: &Admin, action: AdminAction) {
    admin.shared.metrics.admin_actions.inc(action);
}
