//! Tells what Linux knows about the process, read from `/proc` at each scrape.
//!
//! Names follow the convention that all Prometheus clients share, so they carry no prefix of ours.
//! What cannot be read is left out.

use std::{fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use crate::common::procfs;

/// Encodes the process's metrics.
#[derive(Debug)]
pub(super) struct Process {
    own: procfs::Process,
    /// Since the epoch. It does not change, so it is read once.
    started: Option<Duration>,
}

impl Process {
    /// Looks at this process.
    pub(super) fn new() -> Self {
        let own = procfs::Process::own();
        let started = own.started();
        Self { own, started }
    }
}

impl Collector for Process {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(time) = self.own.cpu_time() {
            let help = "Time spent on processors, user and system together.";
            let unit = Some(&Unit::Seconds);
            ConstCounter::new(time.as_secs_f64()).encode(to.encode_descriptor(
                "process_cpu",
                help,
                unit,
                MetricType::Counter,
            )?)?;
        }
        let resident = self.own.size("status", "VmRSS:");
        let help = "Memory in physical pages.";
        gauge(
            &mut to,
            "process_resident_memory",
            help,
            Some(&Unit::Bytes),
            resident,
        )?;
        let open = self.own.open_fds();
        gauge(
            &mut to,
            "process_open_fds",
            "Open file descriptors.",
            None,
            open,
        )?;
        let most = self.own.max_fds();
        let help = "Limit on open file descriptors.";
        gauge(&mut to, "process_max_fds", help, None, most)?;
        let started = self.started.map(|time| time.as_secs_f64());
        let help = "When the process started, since the epoch.";
        gauge(
            &mut to,
            "process_start_time",
            help,
            Some(&Unit::Seconds),
            started,
        )
    }
}

fn gauge(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: Option<impl EncodeGaugeValue>,
) -> fmt::Result {
    let Some(value) = value else {
        return Ok(());
    };
    let to = to.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    ConstGauge::new(value).encode(to)
}
