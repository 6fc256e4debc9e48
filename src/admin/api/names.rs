//! Who takes part in a stream, as the controller's side tells it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Extension, Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{Admin, count, failure};
use crate::{
    admin::http::Remote,
    observe::{metrics::AdminAction, names::Names},
};

/// Takes in the names of all streams with this subject, those that are still to come too.
pub(super) async fn set(
    State(admin): State<Admin>,
    Extension(remote): Extension<Remote>,
    Path(subject): Path<String>,
    body: Result<Json<Names>, JsonRejection>,
) -> Response {
    let names = match body {
        Ok(Json(names)) => names,
        Err(error) => return failure(error.status(), &error.body_text()),
    };
    if let Some(fault) = names.fault(&subject) {
        return failure(StatusCode::BAD_REQUEST, &fault);
    }
    count(&admin, AdminAction::Names);
    tracing::debug!(stream = subject, ?names, remote = %remote.0, "the names of a stream were told");
    let any = names.all().next().is_some();
    let names = Arc::new(names);
    admin.shared.name(&subject, any.then_some(&names));
    StatusCode::NO_CONTENT.into_response()
}
