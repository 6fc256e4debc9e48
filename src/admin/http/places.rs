//! Decides who gives way when all places are taken: whoever says nothing makes room for whoever speaks.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::{AbortHandle, Id};

use crate::observe::log::network;

/// Tells whether a connection has sent a whole request. It is shared with the connection's task.
#[derive(Clone, Debug, Default)]
pub(super) struct Spoken(Arc<AtomicBool>);

impl Spoken {
    /// Notes that its request is whole.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Tells whether its request is whole.
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Stands for a connection that is served.
#[derive(Debug)]
struct Place {
    network: IpAddr,
    since: Instant,
    spoken: Spoken,
    task: AbortHandle,
}

/// Holds all connections of one listener.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<Id, Place>);

impl Places {
    /// Counts those that are served.
    pub(super) fn taken(&self) -> usize {
        self.0.len()
    }

    /// Notes a connection from `ip` that is served by `task`.
    pub(super) fn take(&mut self, ip: IpAddr, spoken: Spoken, task: AbortHandle) {
        let place = Place {
            network: network(ip),
            since: Instant::now(),
            spoken,
            task,
        };
        self.0.insert(place.task.id(), place);
    }

    /// Notes that a connection has ended.
    pub(super) fn leave(&mut self, task: Id) {
        self.0.remove(&task);
    }

    /// Ends the connections without a whole request that have lasted so long.
    pub(super) fn end_silent(&mut self, long: Duration) {
        self.0.retain(|_, place| {
            let silent = !place.spoken.get() && place.since.elapsed() >= long;
            if silent {
                place.task.abort();
            }
            !silent
        });
    }

    /// Ends the connection that can best be spared. True if there was one.
    ///
    /// It is one of the address that has most places, so that an address which takes them all displaces only its own;
    /// of these one without a whole request; of these the oldest.
    pub(super) fn make_room(&mut self) -> bool {
        let mut taken = HashMap::<IpAddr, usize>::new();
        for place in self.0.values() {
            *taken.entry(place.network).or_default() += 1;
        }
        let spare = self.0.values().max_by_key(|place| {
            let oldest = Reverse(place.since);
            (taken[&place.network], !place.spoken.get(), oldest)
        });
        let Some(id) = spare.map(|place| place.task.id()) else {
            return false;
        };
        if let Some(place) = self.0.remove(&id) {
            place.task.abort();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::pending;

    use tokio::task::JoinSet;

    use super::*;

    /// Takes places for these addresses, in this order; those with a `!` have spoken. Gives the order in which they
    /// give way.
    async fn order(who: &[&str]) -> Vec<String> {
        let (mut places, mut tasks) = (Places::default(), JoinSet::new());
        let mut names = HashMap::new();
        for name in who {
            let spoken = Spoken::default();
            if name.ends_with('!') {
                spoken.set();
            }
            let task = tasks.spawn(pending::<()>());
            names.insert(task.id(), (*name).to_owned());
            let ip = name.split(' ').next().unwrap().parse().unwrap();
            places.take(ip, spoken, task);
        }
        let mut order = Vec::new();
        while places.make_room() {
            let ended = tasks.join_next_with_id().await.unwrap().unwrap_err();
            order.push(names[&ended.id()].clone());
            assert_eq!(places.taken(), who.len() - order.len());
        }
        order
    }

    #[tokio::test]
    async fn silence_gives_way_before_speech_and_age_before_youth() {
        let who = ["10.0.0.1 a!", "10.0.0.1 b", "10.0.0.1 c", "10.0.0.1 d!"];
        let expected = ["10.0.0.1 b", "10.0.0.1 c", "10.0.0.1 a!", "10.0.0.1 d!"];
        assert_eq!(order(&who).await, expected);
    }

    #[tokio::test]
    async fn an_address_with_many_gives_way_before_one_with_few() {
        let who = [
            "10.0.0.2 probe",
            "2001:db8::1 a!",
            "2001:db8::2 b!",
            "2001:db8::3 c!",
        ];
        let order = order(&who).await;
        assert_eq!(order[..2], [who[1], who[2]]);
    }
}
