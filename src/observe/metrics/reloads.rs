//! What became of changed configurations.

use std::time::SystemTime;

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

use super::{ByLabel, Reload, gauge, seconds, since_epoch};

/// Changed configurations, taken in or refused.
#[derive(Debug)]
pub struct Reloads {
    results: ByLabel<Reload>,
    last_successful: Gauge,
    last_success: Gauge,
    /// Keys of the configuration whose change waits for a restart.
    pub restart_needed: Gauge,
}

impl Reloads {
    pub(super) fn register(r: &mut Registry) -> Self {
        let help = "Changed configurations that were taken in or refused, by result";
        let results = ByLabel::register(r, "reloads", help);
        let help = "Whether the newest configuration is the one in force: 0 or 1";
        let last_successful = gauge(r, "last_reload_successful", help);
        let help = "When a configuration was last taken in, from the epoch";
        let last_success = seconds(r, "last_reload_success_timestamp", help);
        let help = "Keys of the configuration whose change waits for a restart";
        let restart_needed = gauge(r, "restart_needed", help);
        Self {
            results,
            last_successful,
            last_success,
            restart_needed,
        }
    }

    /// The configuration of the start is in force.
    pub fn started(&self, now: SystemTime) {
        self.last_successful.set(1);
        self.last_success.set(since_epoch(now));
    }

    /// Counts a changed configuration.
    pub fn count(&self, result: Reload, now: SystemTime) {
        self.results.inc(result);
        match result {
            Reload::Ok => self.started(now),
            Reload::Failed => {
                self.last_successful.set(0);
            }
        }
    }
}
