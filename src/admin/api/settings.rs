//! The settings in force.

use arc_swap::ArcSwap;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Admin;

/// Holds what is shown of the configuration. Whoever puts another one in force replaces it.
pub(crate) type Shown = ArcSwap<Configured>;

/// What is shown of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Configured {
    /// All of it.
    pub all: Vec<Setting>,
    /// Where the certificate is that peers are shown; `None` if the router has made it.
    pub certificate: Option<String>,
}

/// One key of the configuration. The body of `GET /api/config` has all of them, as `settings`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Setting {
    /// "section.key".
    pub key: String,
    /// The value, as TOML has it; `None` if it is not set. Secrets are not shown.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: String,
    /// Whether a change takes effect only at the next start.
    pub restart: bool,
}

pub(super) async fn show(State(admin): State<Admin>) -> Response {
    Json(json!({ "settings": admin.shown.load().all })).into_response()
}
