//! Who has which exporter, and who waits for one. No clock and no sockets: whoever calls says what time it is.
//!
//! What always holds after a call:
//! * An exporter has at most one lease, and a lease at most one exporter.
//! * No lease waits while an exporter that it could have is free.
//! * Of two leases that could have an exporter, the one that has wanted it longer gets it.
//! * A lease ends when its time is up, not before and not after.

mod answers;
mod exporter;
mod lease;
mod news;
#[cfg(test)]
mod tests;
mod times;

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

pub(crate) use answers::Dial;
pub(crate) use exporter::Exporter;
pub(crate) use lease::{End, LATEST, Lease, Phase, Terms, Time, check_tags};
pub(crate) use news::News;
pub(crate) use times::Times;

use super::refusal::Refusal;

/// So many leases may wait or be held at a time.
const MOST_LEASES: usize = 10_000;

/// So many ended leases are remembered.
const MOST_ENDED: usize = 1_000;

/// All exporters and leases of a lab.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    exporters: BTreeMap<String, Exporter>,
    /// By name.
    all: BTreeMap<String, Lease>,
    /// Those that ended, oldest first.
    ended: BTreeSet<(Time, u64, String)>,
    next_order: u64,
    next_session: u64,
    next_freed: u64,
    unsaved: BTreeSet<String>,
    /// What has happened and was not told yet.
    news: Vec<News>,
    /// What leases that wait were said to wait for.
    told: BTreeMap<String, String>,
}

impl Leases {
    /// Makes a lab with these exporters and no leases.
    pub(crate) fn new(exporters: BTreeMap<String, Exporter>) -> Self {
        Self {
            exporters,
            ..Self::default()
        }
    }

    /// Takes in leases of an earlier run. Those whose exporter is gone, or whose client `knows` not, are ended.
    pub(crate) fn restore(
        &mut self,
        mut leases: Vec<Lease>,
        knows: impl Fn(&str) -> bool,
        now: Time,
    ) {
        leases.sort_by_key(|lease| lease.order);
        for lease in leases {
            let name = lease.name.clone();
            self.next_order = self.next_order.max(lease.order + 1);
            if let Phase::Ended { at, .. } = lease.phase {
                self.ended.insert((at, lease.order, name.clone()));
            }
            let exporter = lease.holds().map(str::to_owned);
            let orphaned = !knows(&lease.client);
            self.all.insert(name.clone(), lease);
            let lost = match &exporter {
                None => false,
                Some(exporter) => match self.exporters.get_mut(exporter) {
                    Some(exporter) if exporter.lease.is_none() => {
                        exporter.lease = Some(name.clone());
                        exporter.works_on = Some(name.clone());
                        false
                    }
                    _ => true,
                },
            };
            if orphaned || lost {
                // One that has ended stays as it is.
                self.end(&name, now, End::Released);
            }
        }
        self.settle(now);
    }

    /// Lists all exporters by name.
    pub(crate) fn exporters(&self) -> &BTreeMap<String, Exporter> {
        &self.exporters
    }

    /// An exporter.
    pub(crate) fn exporter(&self, name: &str) -> Result<&Exporter, Refusal> {
        let found = self.exporters.get(name);
        found.ok_or_else(|| Refusal::ExporterNotFound(name.to_owned()))
    }

    /// Lists all leases by name, those that ended among them.
    pub(crate) fn leases(&self) -> &BTreeMap<String, Lease> {
        &self.all
    }

    /// A lease.
    pub(crate) fn lease(&self, name: &str) -> Result<&Lease, Refusal> {
        let found = self.all.get(name);
        found.ok_or_else(|| Refusal::LeaseNotFound(name.to_owned()))
    }

    /// Finds a lease, which must be this client's.
    pub(crate) fn lease_of(&self, client: &str, name: &str) -> Result<&Lease, Refusal> {
        let lease = self.lease(name)?;
        if lease.client == client {
            return Ok(lease);
        }
        Err(Refusal::NotYours {
            lease: name.to_owned(),
            owner: lease.client.clone(),
        })
    }

    /// Finds the lease that an exporter has.
    pub(crate) fn lease_on(&self, exporter: &str) -> Option<&Lease> {
        let lease = self.exporters.get(exporter)?.lease.as_ref()?;
        self.all.get(lease)
    }

    /// Makes a lease that a client asks for.
    pub(crate) fn request(
        &mut self,
        client: &str,
        name: &str,
        terms: Terms,
        now: Time,
    ) -> Result<&Lease, Refusal> {
        if terms.selector.is_empty() && terms.exporter.is_none() {
            return Err(Refusal::NoTarget);
        }
        if self.all.len() - self.ended.len() >= MOST_LEASES {
            return Err(Refusal::TooMany(MOST_LEASES));
        }
        match self.all.entry(name.to_owned()) {
            Entry::Occupied(_) => return Err(Refusal::LeaseExists(name.to_owned())),
            Entry::Vacant(place) => {
                place.insert(Lease {
                    name: name.to_owned(),
                    client: client.to_owned(),
                    terms,
                    order: self.next_order,
                    created: now,
                    changed: now,
                    phase: Phase::Waiting,
                    released: false,
                });
            }
        }
        self.next_order += 1;
        self.unsaved.insert(name.to_owned());
        self.settle(now);
        self.lease(name)
    }

    /// Changes the times of a client's lease, or gives it to another client.
    pub(crate) fn amend(
        &mut self,
        client: &str,
        name: &str,
        times: Times,
        heir: Option<&str>,
        now: Time,
    ) -> Result<&Lease, Refusal> {
        // One whose time is up does not go on.
        self.settle(now);
        let lease = self.lease_of(client, name)?;
        if lease.ended() {
            return Err(Refusal::Terms(format!(
                "cannot update lease: {name} has already ended"
            )));
        }
        let mut terms = lease.terms.clone();
        if times != Times::default() {
            if lease.holds().is_some()
                && times.begin.is_some_and(|begin| terms.begin != Some(begin))
            {
                return Err(Refusal::Terms(
                    "cannot update BeginTime: lease has already started".to_owned(),
                ));
            }
            // What was named first, then the most recent wish for the rest: a new duration moves an end that was
            // asked for, and a new end changes the duration.
            let begin = times.begin.or(terms.begin);
            let end = times.end.or(terms.end.filter(|_| times.duration.is_none()));
            let duration = times
                .duration
                .or(Some(terms.duration).filter(|_| begin.is_none() || end.is_none()));
            let settled = Times {
                duration,
                begin,
                end,
            };
            (terms.duration, terms.begin, terms.end) = settled.settle().map_err(Refusal::Terms)?;
            lease.ends_later(&terms, now).map_err(Refusal::Terms)?;
        }
        if heir.is_some() && lease.holds().is_none() {
            return Err(Refusal::Terms(
                "cannot transfer lease: lease has not started yet".to_owned(),
            ));
        }
        if let Some(lease) = self.all.get_mut(name) {
            lease.terms = terms;
            if let Some(heir) = heir {
                heir.clone_into(&mut lease.client);
            }
        }
        self.unsaved.insert(name.to_owned());
        self.settle(now);
        self.lease(name)
    }

    /// Ends a lease because somebody wants that. Whether the caller may has been looked at before. `false`: somebody wanted it
    /// before. Of one that had ended otherwise it is only noted, as in upstream's controller.
    pub(crate) fn release(&mut self, name: &str, now: Time) -> Result<bool, Refusal> {
        self.lease(name)?;
        let Some(lease) = self.all.get_mut(name).filter(|lease| !lease.is_released()) else {
            return Ok(false);
        };
        lease.released = true;
        let active = !lease.ended();
        self.unsaved.insert(name.to_owned());
        if active {
            self.end(name, now, End::Released);
            self.settle(now);
        }
        Ok(true)
    }

    /// When [`settle`](Self::settle) has something to do.
    pub(crate) fn next_deadline(&self, now: Time) -> Option<Time> {
        let active = self.all.values().filter(|lease| !lease.ended());
        active
            .flat_map(|lease| {
                let due = Some(lease.due()).filter(|due| *due > now && lease.holds().is_none());
                [lease.expires(), due].into_iter().flatten()
            })
            .min()
    }

    /// Gives what has changed since this was last asked, by name; `None`: forgotten.
    pub(crate) fn take_unsaved(&mut self) -> Vec<(String, Option<Lease>)> {
        let unsaved = std::mem::take(&mut self.unsaved);
        unsaved
            .into_iter()
            .map(|name| {
                let lease = self.all.get(&name).cloned();
                (name, lease)
            })
            .collect()
    }

    /// Tells whether there is anything to save.
    pub(crate) fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// Finds the exporters that a lease could have if they were free.
    fn matching<'a>(&'a self, terms: &'a Terms) -> impl Iterator<Item = (&'a str, &'a Exporter)> {
        self.exporters
            .iter()
            .filter(|(name, exporter)| match &terms.exporter {
                Some(wanted) => wanted == *name && (exporter.enabled || terms.allow_disabled),
                None => exporter.enabled,
            })
            .filter(|(_, exporter)| terms.selector.matches(&exporter.labels))
            .map(|(name, exporter)| (name.as_str(), exporter))
    }

    /// Makes what should hold hold again, after a change or because time has passed.
    pub(crate) fn settle(&mut self, now: Time) {
        let active = self.all.values().filter(|lease| !lease.ended());
        let over: Vec<_> = active
            .filter_map(|lease| Some((lease.expires()?, lease.name.clone())))
            .filter(|(expires, _)| *expires <= now)
            .collect();
        for (expires, name) in over {
            self.end(&name, expires, End::Expired);
        }

        let waiting = self.all.values();
        let mut waiting: Vec<_> = waiting
            .filter(|lease| lease.phase == Phase::Waiting)
            .map(|lease| (lease.due(), lease.order, lease.name.clone()))
            .collect();
        waiting.sort();
        for (due, _, name) in waiting {
            let Some(lease) = self.all.get(&name) else {
                continue;
            };
            if let Some(why) = self.unsatisfiable(&lease.terms) {
                self.end(&name, now, why);
            } else if due <= now
                && let Some(exporter) = self.pick(&lease.terms)
            {
                self.give(&name, exporter, now);
            }
        }
        self.tell_of_waiting(now);
        self.forget();
    }

    /// Picks the free exporter that has been so for longest.
    fn pick(&self, terms: &Terms) -> Option<String> {
        let free = self.matching(terms).filter(|(_, exporter)| exporter.free());
        let longest = free.min_by_key(|(_, exporter)| exporter.freed);
        longest.map(|(name, _)| name.to_owned())
    }

    fn give(&mut self, name: &str, exporter: String, now: Time) {
        self.tell_of_begin(name, &exporter);
        if let Some(found) = self.exporters.get_mut(&exporter) {
            found.lease = Some(name.to_owned());
        }
        if let Some(lease) = self.all.get_mut(name) {
            lease.changed = now;
            lease.phase = Phase::Held {
                exporter,
                since: now,
            };
        }
        self.unsaved.insert(name.to_owned());
    }

    fn end(&mut self, name: &str, at: Time, why: End) {
        let Some(lease) = self.all.get_mut(name) else {
            return;
        };
        let held = match &lease.phase {
            Phase::Ended { .. } => return,
            Phase::Waiting => None,
            Phase::Held { exporter, since } => Some((exporter.clone(), *since)),
        };
        if let Some((exporter, _)) = &held
            && let Some(exporter) = self.exporters.get_mut(exporter)
            // After a restart, another lease may be first.
            && exporter.lease.as_deref() == Some(name)
        {
            exporter.lease = None;
            self.next_freed += 1;
            exporter.freed = self.next_freed;
        }
        lease.changed = at;
        let exporter = held.as_ref().map(|(exporter, _)| exporter.clone());
        lease.phase = Phase::Ended {
            held,
            at,
            why: why.clone(),
        };
        self.ended.insert((at, lease.order, name.to_owned()));
        self.unsaved.insert(name.to_owned());
        self.tell_of_end(name, exporter, why);
    }

    /// Forgets the oldest of many ended leases.
    fn forget(&mut self) {
        while self.ended.len() > MOST_ENDED {
            if let Some((_, _, name)) = self.ended.pop_first() {
                self.all.remove(&name);
                self.unsaved.insert(name);
            }
        }
    }
}
