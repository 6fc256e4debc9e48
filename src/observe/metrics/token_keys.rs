//! Which signing keys tokens still match, so that one that is no longer in use can be found.

use std::time::SystemTime;

use arc_swap::ArcSwap;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::timestamp;

type Labels = [(&'static str, String); 1];

/// Counts accepted tokens by the key that signed them. The keys change when the configuration does.
#[derive(Debug)]
pub struct TokenKeys {
    accepted: Family<Labels, Counter>,
    last: Family<Labels, Gauge>,
    keys: ArcSwap<Vec<One>>,
}

#[derive(Clone, Debug)]
struct One {
    name: String,
    accepted: Counter,
    last: Gauge,
}

impl TokenKeys {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let accepted = Family::default();
        let help = "Tokens accepted, by the key that signed them";
        registry.register("tokens_accepted", help, accepted.clone());
        let last = Family::default();
        let help =
            "When a token of this key was last accepted, from the epoch; 0 if not since the start";
        let name = "token_key_last_accepted_timestamp";
        registry.register_with_unit(name, help, Unit::Seconds, last.clone());
        Self {
            accepted,
            last,
            keys: ArcSwap::default(),
        }
    }

    /// Sets the keys that are accepted from now on. What was counted for those that stay is kept; the others' series end.
    pub fn set<'n>(&self, names: impl IntoIterator<Item = &'n str>) {
        let before = self.keys.load_full();
        let mut keys: Vec<One> = Vec::new();
        for name in names {
            if keys.iter().any(|key| key.name == name) {
                continue;
            }
            let labels = [("key", name.to_owned())];
            keys.push(One {
                name: name.to_owned(),
                accepted: self.accepted.get_or_create_owned(&labels),
                last: self.last.get_or_create_owned(&labels),
            });
        }
        let gone = |key: &&One| !keys.iter().any(|other| other.name == key.name);
        for key in before.iter().filter(gone) {
            let labels = [("key", key.name.clone())];
            self.accepted.remove(&labels);
            self.last.remove(&labels);
        }
        self.keys.store(keys.into());
    }

    /// Counts a token that this key signed.
    pub fn accepted(&self, name: &str, now: SystemTime) {
        // A key that was retired in this very moment has no series any more.
        if let Some(key) = self.keys.load().iter().find(|key| key.name == name) {
            key.accepted.inc();
            key.last.set(timestamp(now));
        }
    }
}
