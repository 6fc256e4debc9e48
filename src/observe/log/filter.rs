//! Reads a log filter.

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Libraries whose lines below `warn` tell an operator nothing.
const QUIET: [&str; 8] = [
    "h2",
    "hyper",
    "hyper_util",
    "tonic",
    "tower",
    "axum",
    "rustls",
    "tokio_rustls",
];

/// Parses `filter` and adds `library=warn` for every noisy library that it does not name.
pub(super) fn parse(filter: &str) -> Result<EnvFilter, String> {
    let filter = filter.trim();
    let filter = if filter.is_empty() { "info" } else { filter };
    let mut full = filter.to_owned();

    let mut base = None;
    for part in filter.split(',').map(str::trim) {
        if let Ok(level) = part.parse::<LevelFilter>() {
            base = base.max(Some(level));
        } else if !part.contains(['=', '[', ']', '}']) {
            // Would be read as a target by that name, and so silence everything after a typo.
            return Err(format!(
                "\"{}\" is not a level, and a word alone would be read as a module to show everything of; \
                 use off, error, warn, info, debug, trace or module=level",
                part.escape_default()
            ));
        }
    }
    // A filter without a level for everything, or a low one, has silenced the libraries itself.
    if base > Some(LevelFilter::WARN) {
        for library in QUIET.iter().filter(|library| !names(filter, library)) {
            full.push(',');
            full.push_str(library);
            full.push_str("=warn");
        }
    }
    EnvFilter::builder()
        .with_regex(false)
        .parse(full)
        .map_err(|error| error.to_string())
}

/// Tells whether a directive of `filter` is about `library` or a module in it.
fn names(filter: &str, library: &str) -> bool {
    filter.split(',').any(|part| {
        let rest = part.trim().strip_prefix(library);
        rest.is_some_and(|rest| rest.starts_with(['=', ':', '[']))
    })
}
