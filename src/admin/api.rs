//! What an administrator can see and do: live streams, ending one, the drain, the log filter.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/status` | what runs, since when, and what it does: [`status::Status`] |
//! | `GET /api/history` | figures of the last minutes: [`history::History`] |
//! | `GET /api/streams` | live streams: [`streams::Listing`]; the query is a [`streams::Query`] |
//! | `GET /api/streams/{id}` | one of them: [`streams::Row`] |
//! | `POST /api/streams/{id}/end` | 202; both peers are told |
//! | `GET /api/past` | streams that have ended or were refused: [`past::Listing`]; the query is a [`past::Query`] |
//! | `PUT /api/names/{subject}` | 204; from now on streams are shown with these [names](crate::observe::names::Names) |
//! | `GET /api/config` | the settings in force: [`settings::Setting`] |
//! | `POST /api/drain` | 202; as SIGTERM does |
//! | `GET /api/log-filter` | `{"filter": "..."}` |
//! | `PUT /api/log-filter` | the same, after it was changed to what the body says in the same form |
//! | `GET /` | the page |
//!
//! All answers but the page are JSON; those that are no success have the form `{"error": "..."}`. Who is let in is
//! the matter of [`guard`].

pub(crate) mod guard;
pub(crate) mod history;
mod names;
pub(crate) mod past;
pub(crate) mod settings;
pub(crate) mod status;
pub(crate) mod streams;

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, Extension, Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post, put},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::{
    guard::{Access, Guard, Tokens},
    settings::Shown,
};
use super::{http::Remote, page};
use crate::{
    cluster::meet::RouterId,
    observe::{log::LogHandle, metrics::AdminAction},
    splice::ending::Cause,
    tls::provider::Provider,
    transport::{phase::Phase, shared},
};

/// No request has a body that is longer, bytes.
const MOST_BODY: usize = 16 * 1024;

/// What an administrator works on.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    /// What the router's connections share.
    pub shared: Arc<shared::Shared>,
    /// When it began, by both clocks.
    pub started: (Instant, SystemTime),
    /// The machine's name.
    pub host: Arc<str>,
    /// The TLS provider in use.
    pub provider: Provider,
    /// The log, if this process has set one up.
    pub log: Option<LogHandle>,
    /// The settings in force.
    pub shown: Arc<Shown>,
}

impl Admin {
    /// Gives what tells this process from others, those on the same address too.
    fn process(&self) -> String {
        RouterId(self.shared.forwarding.id).to_string()
    }
}

/// Makes what serves one path.
type Service = fn() -> MethodRouter<Admin>;

/// Every path under the administrator's address.
const ROUTES: [(&str, Service); 11] = [
    ("/", || get(page::show)),
    ("/api/status", || get(status)),
    ("/api/history", || get(history::show)),
    ("/api/streams", || get(list)),
    ("/api/streams/{id}", || get(one)),
    ("/api/streams/{id}/end", || post(end)),
    ("/api/past", || get(past::show)),
    ("/api/names/{subject}", || put(names::set)),
    ("/api/config", || get(settings::show)),
    ("/api/drain", || post(drain)),
    ("/api/log-filter", || get(log_filter).put(set_log_filter)),
];

/// Lists every path; `{...}` stands for what can be anything.
#[cfg(any(test, feature = "internals"))]
pub fn paths() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().map(|(path, _)| *path)
}

/// Everything under the administrator's address. `tokens`: what requests must carry, if anything.
pub(crate) fn routes(admin: Admin, tokens: Tokens) -> Router {
    let metrics = admin.shared.metrics.clone();
    let guard = Arc::new(Guard::new(tokens, &admin.process(), metrics));
    let routes = ROUTES.iter().fold(Router::new(), |all, (path, service)| {
        all.route(path, service())
    });
    routes
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

/// Answers with what takes some milliseconds to make, for which frames need not wait.
async fn aside<T: Serialize + Send + 'static>(
    make: impl FnOnce() -> T + Send + 'static,
) -> Response {
    let response = tokio::task::spawn_blocking(move || Json(make()).into_response());
    match response.await {
        Ok(response) => response,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Says what is wrong with a query.
fn unasked(error: &QueryRejection) -> Response {
    failure(StatusCode::BAD_REQUEST, &error.body_text())
}

async fn status(
    State(admin): State<Admin>,
    Extension(access): Extension<Access>,
) -> Json<status::Status> {
    Json(status::Status::of(&admin, access))
}

async fn list(
    State(admin): State<Admin>,
    query: Result<Query<streams::Query>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) => aside(move || streams::list(&admin.shared.streams, &query)).await,
        Err(error) => unasked(&error),
    }
}

async fn one(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let row = id.parse().ok();
    let row = row.and_then(|id| streams::one(&admin.shared.streams, id));
    row.map_or_else(no_stream, |row| Json(row).into_response())
}

fn no_stream() -> Response {
    failure(
        StatusCode::NOT_FOUND,
        "there is no such stream; if it has ended, GET /api/past has it",
    )
}

async fn end(
    State(admin): State<Admin>,
    Extension(remote): Extension<Remote>,
    Path(id): Path<String>,
) -> Response {
    let pair = id.parse().map(|id| admin.shared.streams.of_pair(id));
    let pair = pair.unwrap_or_default();
    if pair.is_empty() {
        return no_stream();
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
    let body = json!({ "phase": "draining", "process": admin.process() });
    answer(StatusCode::ACCEPTED, body)
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
