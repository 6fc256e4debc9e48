//! Takes in a changed configuration while the router runs: on SIGHUP, and when a file has changed.
//!
//! A look reads everything anew: the file, and every file it names. Their contents are part of the configuration's
//! value, so whether something has changed is one comparison; names, times and links do not matter. A change is taken
//! in when two looks in a row have seen the same, as a file may be half written at the first. SIGHUP does not wait.
//!
//! All of a new configuration is put in force, or nothing of it. Keys that a running router cannot change are named in
//! a warning.

use std::{
    convert::Infallible,
    future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::{signal::unix::Signal, task::spawn_blocking, time::sleep};

use crate::{
    common::text::joined,
    config::{self, Config, Key, Loaded, Problems, Sources},
    observe::{
        log::{LogError, LogHandle},
        metrics::Reload,
        notify::Notify,
    },
    server::{
        live::{Live, LiveError},
        open_files::Shortage,
    },
};

/// Why a configuration was not taken in.
#[derive(Debug, Error)]
pub(crate) enum ReloadError {
    /// It is wrong.
    #[error("{}", joined(.0.all(), "; "))]
    Config(Problems),
    /// It cannot be put in force.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// Its log filter cannot.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What was found at a look.
type Look = Result<Loaded, Problems>;

/// Keeps the configuration in force up to date.
pub(crate) struct Reloader {
    sources: Sources,
    live: Arc<Live>,
    log: LogHandle,
    /// What the keys say that need a restart.
    started: Loaded,
    current: Arc<ArcSwap<Config>>,
    changes: Changes<Look>,
}

impl Reloader {
    /// `loaded` is what the router was started with, and came from `sources`.
    pub(crate) fn new(sources: Sources, loaded: Loaded, live: Arc<Live>, log: LogHandle) -> Self {
        Self {
            sources,
            live,
            log,
            started: loaded.clone(),
            current: Arc::new(ArcSwap::from_pointee(loaded.config.clone())),
            changes: Changes::new(Ok(loaded)),
        }
    }

    /// The configuration in force, of which only keys that are live may be read later than at the start.
    pub(crate) fn current(&self) -> Arc<ArcSwap<Config>> {
        self.current.clone()
    }

    /// Looks after it for as long as it is polled. `notify` is told of each change that is taken in or refused.
    pub(crate) async fn run(mut self, mut hangups: Signal, notify: &Notify) -> Infallible {
        loop {
            let interval = self.current.load().reload.interval;
            let asked = tokio::select! {
                _ = hangups.recv() => true,
                () = pause(interval) => false,
            };
            let sources = self.sources.clone();
            // Files on a dead network mount can hold this up for ever. The router goes on without it.
            let look = match spawn_blocking(move || config::load(&sources)).await {
                Ok(look) => look,
                Err(error) => {
                    tracing::error!(%error, "cannot look for a changed configuration");
                    if asked {
                        notify.reloading();
                        notify.reloaded(false);
                    }
                    continue;
                }
            };
            if asked {
                self.changes.accept(look.clone());
                self.take_in(look, "SIGHUP", notify);
            } else if let Some(look) = self.changes.settled(look) {
                self.take_in(look, "files changed", notify);
            }
        }
    }

    fn take_in(&mut self, found: Look, why: &str, notify: &Notify) {
        notify.reloading();
        let outcome = found
            .map_err(ReloadError::Config)
            .and_then(|loaded| self.put_in_force(loaded));
        let metrics = &self.live.router().metrics;
        let result = match &outcome {
            Ok(taken) => {
                let waiting = i64::try_from(taken.waiting.len()).unwrap_or(i64::MAX);
                metrics.restart_needed.set(waiting);
                Reload::Ok
            }
            Err(_) => Reload::Failed,
        };
        metrics.count_reload(result, SystemTime::now());
        notify.reloaded(outcome.is_ok());
        match outcome {
            Ok(taken) => taken.log(why),
            Err(error) => {
                tracing::error!(why, %error, "configuration refused; the one before stays in force");
            }
        }
    }

    fn put_in_force(&mut self, loaded: Loaded) -> Result<Taken, ReloadError> {
        let before = self.current.load_full();
        let after = Arc::new(loaded.config.clone());
        let change = self.live.prepare(&after)?;
        // The last step that can fail, and so the first to be taken. A filter that was set in another way stays.
        if after.log.filter != before.log.filter {
            self.log.set_filter(after.log.filter.as_str())?;
        }
        self.live.apply(change);
        self.live.show(&self.started, &loaded);
        self.current.store(after.clone());
        let changed = config::changed(&before, &after);
        let waiting = config::changed(&self.started.config, &after);
        let shortage = Shortage::of(&after).map(|shortage| shortage.to_string());
        Ok(Taken {
            changed: changed.filter(|key| key.live).collect(),
            waiting: waiting.filter(|key| !key.live).collect(),
            warnings: loaded.warnings.into_iter().chain(shortage).collect(),
            config: after,
        })
    }
}

/// A configuration that was taken in.
struct Taken {
    config: Arc<Config>,
    /// Keys that have another value than before.
    changed: Vec<&'static Key>,
    /// Keys that have another value than at the start, and need a restart.
    waiting: Vec<&'static Key>,
    warnings: Vec<String>,
}

impl Taken {
    fn log(&self, why: &str) {
        let changed = (!self.changed.is_empty()).then(|| paths(&self.changed));
        let keys = self.config.signing_keys().into_iter().map(|key| key.name);
        let keys_changed = self.changed.iter().any(|key| key.path.starts_with("auth."));
        let signing_keys = keys_changed.then(|| joined(keys, ", "));
        tracing::info!(why, changed, signing_keys, "configuration reloaded");
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        if !self.waiting.is_empty() {
            let keys = paths(&self.waiting);
            tracing::warn!(
                keys,
                "these keys have changed and need a restart; the rest is in force"
            );
        }
    }
}

fn paths(keys: &[&'static Key]) -> String {
    joined(keys.iter().map(|key| key.path), ", ")
}

async fn pause(interval: Option<Duration>) {
    match interval {
        Some(interval) => sleep(interval).await,
        None => future::pending().await,
    }
}

/// Tells changes that have settled from those still going on.
#[derive(Debug)]
struct Changes<T> {
    /// What was acted on last, be it taken in or refused.
    known: T,
    /// Something else that was seen once.
    seen: Option<T>,
}

impl<T: PartialEq + Clone> Changes<T> {
    fn new(known: T) -> Self {
        Self { known, seen: None }
    }

    fn accept(&mut self, look: T) {
        (self.known, self.seen) = (look, None);
    }

    /// What was found now, if it is new and was found at the look before, too.
    fn settled(&mut self, look: T) -> Option<T> {
        if look == self.known {
            self.seen = None;
            return None;
        }
        if self.seen.as_ref() != Some(&look) {
            self.seen = Some(look);
            return None;
        }
        self.accept(look.clone());
        Some(look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_when_two_looks_agree() {
        let mut changes = Changes::new("old");
        // Found, and acted on now?
        for (look, acted) in [
            ("old", false),
            ("ne", false),
            ("new", false),
            ("new", true),
            ("new", false),
            // Something came and went.
            ("torn", false),
            ("new", false),
            ("torn", false),
            ("new", false),
            // Back again.
            ("old", false),
            ("old", true),
        ] {
            assert_eq!(changes.settled(look), acted.then_some(look));
        }
    }

    #[test]
    fn what_was_asked_for_is_not_found_again() {
        let mut changes = Changes::new("old");
        assert_eq!(changes.settled("new"), None);
        changes.accept("new");
        assert_eq!(changes.settled("new"), None);
        assert_eq!(changes.settled("new"), None);
    }
}
