//! The environment: a variable per key, and the names upstream's deployments use.

use std::ffi::{OsStr, OsString};

use super::loading::Loading;
use super::problem::Origin;
use super::registry::{ENV_PREFIX, OTHER_ENV, UPSTREAM_ENV, nearest};
use super::sections::{Key, find, keys};

/// Reads the process environment as `Sources` takes it. Variables whose names are not UTF-8 are none of
/// ours.
pub(crate) fn process_env() -> Vec<(String, OsString)> {
    let named = |(name, value): (OsString, _)| Some((name.into_string().ok()?, value));
    std::env::vars_os().filter_map(named).collect()
}

/// Applies the variables, upstream's names first so that the router's own win.
pub(super) fn apply(env: &[(String, OsString)], loading: &mut Loading) {
    let value = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, value)| value);
    for (name, path) in UPSTREAM_ENV {
        let (Some(value), Some(key)) = (value(name), find(path)) else {
            continue;
        };
        let own = key.env();
        if env.iter().any(|(name, _)| *name == own) {
            loading.warn(format!("{name} is ignored because {own} is set"));
        } else if !value.is_empty() || key.secret {
            // Upstream takes an empty variable for an absent one. Not so for the key: signing with
            // an empty key must be refused, not replaced by something else.
            set(name, value, key, loading);
        }
    }
    let mut names: Vec<_> = env.iter().collect();
    // The environment has no order of its own; problems come out in a stable one.
    names.sort_by(|left, right| left.0.cmp(&right.0));
    for (name, value) in names {
        let ours = name.starts_with(ENV_PREFIX) && !OTHER_ENV.contains(&&**name);
        if !ours || is_service_link(name, value) {
            continue;
        }
        match keys().find(|key| key.env() == *name) {
            Some(key) => set(name, value, key, loading),
            None => unknown(name, loading),
        }
    }
}

fn set(name: &str, value: &OsStr, key: &'static Key, loading: &mut Loading) {
    let origin = Origin::Env(name.to_owned());
    match value.to_str() {
        Some(text) => loading.text(key, text, origin),
        None => loading.problem(origin, Some(key.path), "not UTF-8 text"),
    }
}

fn unknown(name: &str, loading: &mut Loading) {
    let others = OTHER_ENV.map(str::to_owned);
    let known: Vec<_> = keys().map(Key::env).chain(others).collect();
    // Compared without the prefix, which would make any two names look alike.
    let ends = known.iter().map(|known| &known[ENV_PREFIX.len()..]);
    let hint = nearest(&name[ENV_PREFIX.len()..], ends).map_or_else(
        || format!("variables with this prefix are {ENV_PREFIX}<SECTION>_<KEY>"),
        |near| format!("did you mean {ENV_PREFIX}{near}?"),
    );
    let text = format!("unknown variable; {hint}");
    loading.problem(Origin::Env(name.to_owned()), None, text);
}

/// Whether Kubernetes made this variable. It describes every service to every pod, and a service
/// called `jumpstarter-router-0` gives names with our prefix: `..._0_SERVICE_HOST`,
/// `..._0_SERVICE_PORT_GRPC`, `..._0_PORT` and `..._0_PORT_8083_TCP_ADDR`.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let words: Vec<_> = name.split('_').collect();
    let number = |word: &str| word.parse::<u16>().is_ok();
    let protocol = |word: &str| ["TCP", "UDP", "SCTP"].contains(&word);
    words.ends_with(&["SERVICE", "HOST"])
        || words.windows(2).any(|pair| pair == ["SERVICE", "PORT"])
        || words
            .windows(3)
            .any(|w| w[0] == "PORT" && number(w[1]) && protocol(w[2]))
        || (words.ends_with(&["PORT"]) && value.to_string_lossy().contains("://"))
}
