//! What exporters do: they connect, register, report and go.

use super::{Leases, Time};
use crate::{
    lab::{refusal::Refusal, selector::Labels},
    protocol::v1::ExporterStatus,
};

/// What an exporter may say of itself begins with this; all else is said in lab.toml.
const OWN_LABELS: &str = "jumpstarter.dev/";

/// An exporter of the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exporter {
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
    pub(super) freed: u64,
}

impl Exporter {
    /// Makes an exporter that has not been heard of yet.
    pub(crate) fn new(labels: Labels, enabled: bool, uuid: String) -> Self {
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

    /// Tells whether it is connected.
    pub(crate) fn online(&self) -> bool {
        self.session.is_some()
    }

    /// Tells whether it has tidied up after its last lease. Exporters that report no status always have.
    fn ready(&self) -> bool {
        matches!(
            self.status,
            ExporterStatus::Available | ExporterStatus::Unspecified
        )
    }

    pub(super) fn free(&self) -> bool {
        self.online() && self.lease.is_none() && self.ready()
    }
}

impl Leases {
    /// Connects an exporter, which can be told about its leases from now on, under the number that is returned. An
    /// earlier connection of the same exporter does not count any more.
    pub(crate) fn connect(&mut self, exporter: &str, now: Time) -> Result<u64, Refusal> {
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

    /// Notes that a connection is gone. The lease stays: the exporter may come back.
    pub(crate) fn disconnect(&mut self, exporter: &str, session: u64) {
        if let Some(exporter) = self.exporters.get_mut(exporter)
            && exporter.session == Some(session)
        {
            exporter.session = None;
        }
    }

    /// Notes that the exporter asks for the tokens of a lease, and so works on it. One that has ended will do, too: the
    /// exporter learns of the end by other means.
    pub(crate) fn listen(&mut self, exporter: &str, lease: &str) -> Result<(), Refusal> {
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

    /// Takes in what the exporter says it is. It may set labels of its own, but none of those in lab.toml.
    pub(crate) fn register(
        &mut self,
        exporter: &str,
        labels: Labels,
        now: Time,
    ) -> Result<&str, Refusal> {
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

    /// Takes in how the exporter says it is.
    pub(crate) fn report(
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
}
