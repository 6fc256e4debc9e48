//! What clients are told about their leases.

use super::{End, Lease, Leases, Phase, Terms, Time};
use crate::{
    lab::{refusal::Refusal, selector},
    protocol::v1::ExporterStatus,
};

/// What `Dial` needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    /// The exporter takes calls.
    Now,
    /// It will soon; or else it will be refused for this.
    Soon(Refusal),
}

impl Leases {
    /// Tells whether the exporter of a lease takes calls.
    pub(crate) fn dial(&self, client: &str, name: &str) -> Result<Dial, Refusal> {
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

    /// Says why a lease waits, in one word of upstream's controller and in a sentence for its owner.
    pub(crate) fn why_waiting(&self, lease: &Lease, now: Time) -> (&'static str, String) {
        if lease.due() > now {
            let message = "The lease is scheduled and has not begun yet".to_owned();
            return ("Scheduled", message);
        }
        let matching: Vec<_> = self.matching(&lease.terms).collect();
        let online = || matching.iter().filter(|(_, exporter)| exporter.online());
        let first = matching.first().map_or("", |(name, _)| name);
        if online().count() == 0 {
            let message = format!(
                "While there are {} matching exporters (i.e. {first}), none of them are online",
                matching.len()
            );
            return ("Offline", message);
        }
        if online().all(|(_, exporter)| exporter.lease.is_some()) {
            let message = format!(
                "There are {} matching exporters (i.e. {first}), but all of them are already leased",
                online().count()
            );
            return ("NotAvailable", message);
        }
        let message = format!(
            "There are {} online exporters, but none are ready (still cleaning up previous lease)",
            online().count()
        );
        ("NotReady", message)
    }

    /// Says why no exporter will ever do, if so.
    pub(super) fn unsatisfiable(&self, terms: &Terms) -> Option<End> {
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

    /// Says which exporters there are, as the rest of a sentence.
    fn choice(&self) -> String {
        const SHOWN: usize = 8;
        let shown = self
            .exporters
            .iter()
            .take(SHOWN)
            .map(|(name, exporter)| format!("{name} ({})", selector::list(&exporter.labels)));
        let shown: Vec<_> = shown.collect();
        match self.exporters.len() {
            0 => "; this lab has no exporters, name some in lab.toml".to_owned(),
            n if n > SHOWN => format!("; this lab has {} and {} more", shown.join(", "), n - SHOWN),
            _ => format!("; this lab has {}", shown.join(", ")),
        }
    }
}
