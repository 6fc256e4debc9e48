//! Who has which exporter, and who waits for one. No clock and no sockets: whoever calls says what time it is.
//!
//! What always holds after a call:
//! * An exporter has at most one lease, and a lease at most one exporter.
//! * No lease waits while an exporter that it could have is free.
//! * Of two leases that could have an exporter, the one that has wanted it longer gets it.
//! * A lease ends when its time is up, not before and not after.

mod lease;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

pub use lease::{
    End, LONGEST, Lease, MOST_TAGS, Phase, TAG_PREFIX, Terms, Time, Times, check_tags,
};

use super::{refusal::Refusal, selector::Labels};
use crate::protocol::v1::ExporterStatus;

/// Leases that may wait or be held at a time.
pub const MOST_LEASES: usize = 10_000;

/// Ended leases that are remembered.
pub const MOST_ENDED: usize = 1_000;

/// What an exporter may say of itself begins with this; all else is said in lab.toml.
const OWN_LABELS: &str = "jumpstarter.dev/";

/// An exporter of the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exporter {
    /// Its labels: those of lab.toml, and those it registered with.
    pub labels: Labels,
    /// Whether it may be leased by selector.
    pub enabled: bool,
    /// Its id, new in each run of the lab.
    pub uuid: String,
    /// The number of the connection on which it is told about its lease.
    pub session: Option<u64>,
    /// What it said last.
    pub status: ExporterStatus,
    /// In its own words.
    pub message: String,
    /// The lease it has.
    pub lease: Option<String>,
    /// The lease it was last seen to work on; it may have missed the end of that.
    pub works_on: Option<String>,
    /// When it became free, as a number that grows.
    freed: u64,
}

impl Exporter {
    /// An exporter that has not been heard of yet.
    pub fn new(labels: Labels, enabled: bool, uuid: String) -> Self {
        Self {
            labels,
            enabled,
            uuid,
            session: None,
            status: ExporterStatus::Unspecified,
            message: String::new(),
            lease: None,
            works_on: None,
            freed: 0,
        }
    }

    /// Whether it is connected.
    pub fn online(&self) -> bool {
        self.session.is_some()
    }

    /// Whether it has tidied up after its last lease. Exporters that report no status always have.
    fn ready(&self) -> bool {
        matches!(
            self.status,
            ExporterStatus::Available | ExporterStatus::Unspecified
        )
    }

    fn free(&self) -> bool {
        self.online() && self.lease.is_none() && self.ready()
    }
}

/// Why a lease waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// In one word, as upstream's controller has it.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// What `Dial` needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dial {
    /// The exporter takes calls.
    Now,
    /// It will soon; or else it will be refused for this.
    Soon(Refusal),
}

/// All exporters and leases of a lab.
#[derive(Debug, Default)]
pub struct Leases {
    exporters: BTreeMap<String, Exporter>,
    /// By name.
    all: BTreeMap<String, Lease>,
    /// Those that ended, oldest first.
    ended: BTreeSet<(Time, u64, String)>,
    next_order: u64,
    next_session: u64,
    next_freed: u64,
    unsaved: BTreeSet<String>,
}

impl Leases {
    /// A lab with these exporters and no leases.
    pub fn new(exporters: BTreeMap<String, Exporter>) -> Self {
        Self {
            exporters,
            ..Self::default()
        }
    }

    /// Takes in leases of an earlier run. Those whose exporter is gone, or whose client `knows` not, are ended.
    pub fn restore(&mut self, mut leases: Vec<Lease>, knows: impl Fn(&str) -> bool, now: Time) {
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

    /// All exporters by name.
    pub fn exporters(&self) -> &BTreeMap<String, Exporter> {
        &self.exporters
    }

    /// An exporter.
    pub fn exporter(&self, name: &str) -> Result<&Exporter, Refusal> {
        let found = self.exporters.get(name);
        found.ok_or_else(|| Refusal::ExporterNotFound(name.to_owned()))
    }

    /// All leases by name, those that ended among them.
    pub fn leases(&self) -> &BTreeMap<String, Lease> {
        &self.all
    }

    /// A lease.
    pub fn lease(&self, name: &str) -> Result<&Lease, Refusal> {
        let found = self.all.get(name);
        found.ok_or_else(|| Refusal::LeaseNotFound(name.to_owned()))
    }

    /// A lease of this client.
    pub fn lease_of(&self, client: &str, name: &str) -> Result<&Lease, Refusal> {
        let lease = self.lease(name)?;
        if lease.client == client {
            return Ok(lease);
        }
        Err(Refusal::NotYours {
            lease: name.to_owned(),
            owner: lease.client.clone(),
        })
    }

    /// The lease that an exporter has.
    pub fn lease_on(&self, exporter: &str) -> Option<&Lease> {
        let lease = self.exporters.get(exporter)?.lease.as_ref()?;
        self.all.get(lease)
    }

    /// The exporter can be told about its leases from now on, under the number that is returned. An earlier connection
    /// of the same exporter does not count any more.
    pub fn connect(&mut self, exporter: &str, now: Time) -> Result<u64, Refusal> {
        let Some(found) = self.exporters.get_mut(exporter) else {
            return Err(Refusal::ExporterNotFound(exporter.to_owned()));
        };
        self.next_session += 1;
        let session = self.next_session;
        found.session = Some(session);
        if found.status == ExporterStatus::Offline {
            found.status = ExporterStatus::Unspecified;
            found.message.clear();
        }
        self.settle(now);
        Ok(session)
    }

    /// That connection is gone. Its lease stays: the exporter may come back.
    pub fn disconnect(&mut self, exporter: &str, session: u64) {
        if let Some(exporter) = self.exporters.get_mut(exporter)
            && exporter.session == Some(session)
        {
            exporter.session = None;
        }
    }

    /// The exporter asks for the tokens of a lease, and so works on it. One that has ended is let in, too: the exporter
    /// learns of the end by other means.
    pub fn listen(&mut self, exporter: &str, lease: &str) -> Result<(), Refusal> {
        if self.lease(lease)?.held() != Some(exporter) {
            return Err(Refusal::NotListener {
                lease: lease.to_owned(),
                exporter: exporter.to_owned(),
            });
        }
        if let Some(exporter) = self.exporters.get_mut(exporter) {
            exporter.works_on = Some(lease.to_owned());
        }
        Ok(())
    }

    /// The exporter says what it is. It may set labels of its own, but none of those in lab.toml.
    pub fn register(&mut self, exporter: &str, labels: Labels, now: Time) -> Result<&str, Refusal> {
        let Some(found) = self.exporters.get_mut(exporter) else {
            return Err(Refusal::ExporterNotFound(exporter.to_owned()));
        };
        found.labels.retain(|key, _| !key.starts_with(OWN_LABELS));
        let own = labels.into_iter();
        found
            .labels
            .extend(own.filter(|(key, _)| key.starts_with(OWN_LABELS)));
        self.settle(now);
        Ok(&self.exporter(exporter)?.uuid)
    }

    /// The exporter says how it is.
    pub fn report(
        &mut self,
        exporter: &str,
        status: ExporterStatus,
        message: String,
        now: Time,
    ) -> Result<(), Refusal> {
        let Some(found) = self.exporters.get_mut(exporter) else {
            return Err(Refusal::ExporterNotFound(exporter.to_owned()));
        };
        if found.status != ExporterStatus::Available && status == ExporterStatus::Available {
            self.next_freed += 1;
            found.freed = self.next_freed;
        }
        found.status = status;
        found.message = message;
        self.settle(now);
        Ok(())
    }

    /// A client asks for a lease.
    pub fn request(
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
                });
            }
        }
        self.next_order += 1;
        self.unsaved.insert(name.to_owned());
        self.settle(now);
        self.lease(name)
    }

    /// A client changes the times of its lease, or gives it to another client.
    pub fn amend(
        &mut self,
        client: &str,
        name: &str,
        times: Times,
        heir: Option<&str>,
        now: Time,
    ) -> Result<&Lease, Refusal> {
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

    /// Ends a lease. Whether the caller may has been looked at before. `false`: it had ended already.
    pub fn release(&mut self, name: &str, now: Time) -> Result<bool, Refusal> {
        let active = !self.lease(name)?.ended();
        if active {
            self.end(name, now, End::Released);
            self.settle(now);
        }
        Ok(active)
    }

    /// Time has passed.
    pub fn pass(&mut self, now: Time) {
        self.settle(now);
    }

    /// When [`pass`](Self::pass) has something to do.
    pub fn next_deadline(&self, now: Time) -> Option<Time> {
        let active = self.all.values().filter(|lease| !lease.ended());
        active
            .flat_map(|lease| {
                let due = Some(lease.due()).filter(|due| *due > now && lease.holds().is_none());
                [lease.expires(), due].into_iter().flatten()
            })
            .min()
    }

    /// Whether the exporter of a lease takes calls.
    pub fn dial(&self, client: &str, name: &str) -> Result<Dial, Refusal> {
        let lease = self.lease_of(client, name)?;
        let exporter = match &lease.phase {
            Phase::Waiting => return Err(Refusal::NotActive(name.to_owned())),
            Phase::Ended { .. } => return Err(Refusal::Ended(name.to_owned())),
            Phase::Held { exporter, .. } => self.exporter(exporter)?,
        };
        match exporter.status {
            ExporterStatus::Offline => Err(Refusal::Unusable("exporter is offline")),
            ExporterStatus::BeforeLeaseHookFailed => {
                Err(Refusal::Unusable("exporter beforeLease hook failed"))
            }
            ExporterStatus::AfterLeaseHookFailed => {
                Err(Refusal::Unusable("exporter afterLease hook failed"))
            }
            _ if !exporter.online() => Err(Refusal::NotListening(name.to_owned())),
            ExporterStatus::Available => Ok(Dial::Soon(Refusal::NotReady("Available"))),
            _ => Ok(Dial::Now),
        }
    }

    /// Why a lease waits, in a sentence for its owner.
    pub fn why_waiting(&self, lease: &Lease, now: Time) -> Wait {
        let wait = |reason, message| Wait { reason, message };
        if lease.due() > now {
            let message = "The lease is scheduled and has not begun yet".to_owned();
            return wait("Scheduled", message);
        }
        let matching: Vec<_> = self.matching(&lease.terms).collect();
        let online = || matching.iter().filter(|(_, exporter)| exporter.online());
        let first = matching.first().map_or("", |(name, _)| name);
        if online().count() == 0 {
            let message = format!(
                "While there are {} matching exporters (i.e. {first}), none of them are online",
                matching.len()
            );
            return wait("Offline", message);
        }
        if online().all(|(_, exporter)| exporter.lease.is_some()) {
            let message = format!(
                "There are {} matching exporters (i.e. {first}), but all of them are already leased",
                online().count()
            );
            return wait("NotAvailable", message);
        }
        let message = format!(
            "There are {} online exporters, but none are ready (still cleaning up previous lease)",
            online().count()
        );
        wait("NotReady", message)
    }

    /// What has changed since this was last asked, by name; `None`: forgotten.
    pub fn take_unsaved(&mut self) -> Vec<(String, Option<Lease>)> {
        let unsaved = std::mem::take(&mut self.unsaved);
        unsaved
            .into_iter()
            .map(|name| {
                let lease = self.all.get(&name).cloned();
                (name, lease)
            })
            .collect()
    }

    /// Whether there is anything to save.
    pub fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// The exporters that a lease could have if they were free.
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

    /// Makes what should hold hold again.
    fn settle(&mut self, now: Time) {
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
        self.forget();
    }

    /// The free exporter that has been so for longest.
    fn pick(&self, terms: &Terms) -> Option<String> {
        let free = self.matching(terms).filter(|(_, exporter)| exporter.free());
        let longest = free.min_by_key(|(_, exporter)| exporter.freed);
        longest.map(|(name, _)| name.to_owned())
    }

    fn give(&mut self, name: &str, exporter: String, now: Time) {
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
        lease.phase = Phase::Ended { held, at, why };
        self.ended.insert((at, lease.order, name.to_owned()));
        self.unsaved.insert(name.to_owned());
    }

    /// Whether no exporter will ever do, and why not.
    fn unsatisfiable(&self, terms: &Terms) -> Option<End> {
        if self.matching(terms).next().is_some() {
            return None;
        }
        let selector = terms.selector.text();
        let (reason, message) = match &terms.exporter {
            Some(name) => match self.exporters.get(name) {
                None => (
                    "ExporterNotFound",
                    format!("Requested exporter {name} was not found{}", self.choice()),
                ),
                Some(exporter) if !terms.selector.matches(&exporter.labels) => (
                    "SelectorMismatch",
                    format!("Requested exporter {name} does not match selector {selector}"),
                ),
                Some(_) => (
                    "ExporterDisabled",
                    format!(
                        "Requested exporter {name} is disabled; jmp create lease --allow-disabled leases it nonetheless"
                    ),
                ),
            },
            None => {
                let all = self.exporters.values();
                let disabled = all
                    .filter(|exporter| terms.selector.matches(&exporter.labels))
                    .count();
                if disabled > 0 {
                    let message =
                        format!("All {disabled} exporters matching the selector are disabled");
                    ("AllDisabled", message)
                } else {
                    let message = format!("No exporter matches {selector}{}", self.choice());
                    ("NoMatch", message)
                }
            }
        };
        Some(End::Unsatisfiable {
            reason: reason.to_owned(),
            message,
        })
    }

    /// Which exporters there are, as the rest of a sentence.
    fn choice(&self) -> String {
        const SHOWN: usize = 8;
        let shown = self.exporters.iter().take(SHOWN).map(|(name, exporter)| {
            let labels: Vec<_> = exporter
                .labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            format!("{name} ({})", labels.join(","))
        });
        let shown: Vec<_> = shown.collect();
        match self.exporters.len() {
            0 => "; this lab has no exporters, name some in lab.toml".to_owned(),
            n if n > SHOWN => format!("; this lab has {} and {} more", shown.join(", "), n - SHOWN),
            _ => format!("; this lab has {}", shown.join(", ")),
        }
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
