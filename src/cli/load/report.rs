//! What a run found out.

use std::{collections::BTreeMap, time::Duration};

use clap::ValueEnum;
use serde::Serialize;

use super::{args::Workload, histogram::Latency, plan::Params, run::Run, workload::Extra};

/// Above this share of all cores the generator is what limits the figures.
const BUSY: f64 = 0.85;

/// The figures of one run, as they are written to JSON.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Name of the workload.
    pub workload: String,
    /// The options it ran with.
    pub parameters: Parameters,
    /// How long it was measured.
    pub seconds: f64,
    /// Messages received in that time, both directions together.
    pub messages: u64,
    /// Bytes received in that time, with five bytes of gRPC and a few of protobuf for each message.
    pub bytes: u64,
    /// Messages per second.
    pub messages_per_second: f64,
    /// 10^6 bytes per second.
    pub mb_per_second: f64,
    /// What the workload's unit of work is: a message, a round trip or a pair.
    pub unit: &'static str,
    /// Units done.
    pub units: u64,
    /// Units per second.
    pub units_per_second: f64,
    /// Latency, if the workload has one.
    pub latency: Option<Latency>,
    /// How late the generator sent, if the workload has times to keep.
    pub lateness: Option<Latency>,
    /// How long PINGs took on all connections, set-up and end included, if they were measured.
    pub pings: Option<Latency>,
    /// The router's process.
    pub router: Option<RouterFigures>,
    /// The generator itself.
    pub generator: GeneratorFigures,
    /// Figures only this workload has.
    pub extra: BTreeMap<&'static str, f64>,
    /// How calls ended, with how often.
    pub statuses: BTreeMap<String, u64>,
    /// Errors, with how often each was seen.
    pub errors: BTreeMap<String, u64>,
    /// What to keep in mind when reading the figures.
    pub warnings: Vec<String>,
}

/// The options of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Parameters {
    /// Where the router is.
    pub router: String,
    /// How many pairs.
    pub pairs: u32,
    /// Length of the messages.
    pub size: usize,
    /// Whether both peers sent.
    pub both: bool,
    /// separate or shared.
    pub connections: String,
    /// Stream window.
    pub window: u32,
    /// full or sample.
    pub verify: String,
    /// Whether there was TLS.
    pub tls: bool,
    /// Seconds not measured.
    pub warmup: f64,
    /// Seconds to measure at most.
    pub duration: f64,
    /// Messages to measure at most.
    pub messages: Option<u64>,
    /// Seed.
    pub seed: u64,
}

/// What the router's process used in the measured phase.
#[derive(Clone, Debug, Serialize)]
pub struct RouterFigures {
    /// Its id.
    pub pid: u32,
    /// User and system time, seconds.
    pub cpu_seconds: f64,
    /// Cores in use on average.
    pub cores: f64,
    /// Per 10^9 bytes.
    pub cpu_seconds_per_gb: Option<f64>,
    /// Microseconds per message.
    pub cpu_us_per_message: Option<f64>,
    /// Microseconds per unit of work, if all work was for units.
    pub cpu_us_per_unit: Option<f64>,
    /// Resident at the end, KiB.
    pub rss_kib: u64,
    /// The most ever resident, KiB.
    pub rss_peak_kib: u64,
    /// Proportional resident size at the end, KiB.
    pub pss_kib: Option<u64>,
}

/// What the generator used in the measured phase.
#[derive(Clone, Debug, Default, Serialize)]
pub struct GeneratorFigures {
    /// User and system time, seconds.
    pub cpu_seconds: f64,
    /// Cores in use on average.
    pub cores: f64,
    /// Cores of the machine.
    pub cores_available: usize,
}

fn per(amount: f64, units: u64) -> Option<f64> {
    (units > 0).then(|| amount / units as f64)
}

fn name(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

impl Workload {
    fn unit(self) -> &'static str {
        match self {
            Self::Bulk | Self::Flood | Self::Mix => "message",
            Self::Pingpong | Self::Reqresp | Self::Mixed => "round trip",
            Self::Idle | Self::Stall | Self::Churn => "pair",
        }
    }
}

impl Report {
    /// Collects the figures of a run that is over.
    pub(crate) fn new(run: &Run, params: &Params, extra: Extra) -> Self {
        let unit = params.args.workload.unit();
        let mut report = Self {
            workload: name(&params.args.workload),
            parameters: parameters(run, params),
            unit,
            latency: run.histogram.latency(unit),
            lateness: run.lateness.latency("lateness of the generator"),
            pings: run
                .dialer
                .pings
                .as_ref()
                .and_then(|pings| pings.latency("PING")),
            generator: GeneratorFigures {
                cores_available: std::thread::available_parallelism().map_or(1, usize::from),
                ..GeneratorFigures::default()
            },
            extra: extra.into_iter().collect(),
            statuses: run.statuses(),
            errors: run.errors(),
            ..Self::default()
        };
        report.measure(run);
        report.warn();
        report
    }

    fn measure(&mut self, run: &Run) {
        let Some((from, to)) = run.measured() else {
            return;
        };
        let seconds = (to.at - from.at)
            .max(Duration::from_micros(1))
            .as_secs_f64();
        self.seconds = seconds;
        self.messages = to.messages - from.messages;
        self.bytes = to.bytes - from.bytes;
        self.messages_per_second = self.messages as f64 / seconds;
        self.mb_per_second = self.bytes as f64 / seconds / 1e6;
        self.units = match self.unit {
            "message" => self.messages,
            _ => self.latency.as_ref().map_or(0, |latency| latency.count),
        };
        self.units_per_second = self.units as f64 / seconds;
        self.generator.cpu_seconds = to.own.cpu - from.own.cpu;
        self.generator.cores = self.generator.cpu_seconds / seconds;
        let (Some(pid), Some(from), Some(to)) = (run.pid, from.router, to.router) else {
            return;
        };
        let cpu = to.cpu - from.cpu;
        let mixture = self.workload == name(&Workload::Mixed);
        self.router = Some(RouterFigures {
            pid,
            cpu_seconds: cpu,
            cores: cpu / seconds,
            cpu_seconds_per_gb: per(cpu * 1e9, self.bytes),
            cpu_us_per_message: per(cpu * 1e6, self.messages),
            // Most of what the router does in a mixture is not for the innocent pairs.
            cpu_us_per_unit: per(cpu * 1e6, self.units).filter(|_| !mixture),
            rss_kib: to.rss,
            rss_peak_kib: to.peak,
            pss_kib: to.pss,
        });
    }

    fn warn(&mut self) {
        let generator = &self.generator;
        let cores = generator.cores_available as f64;
        if generator.cores > BUSY * cores {
            self.warnings.push(format!(
                "the generator used {:.2} of {cores} cores: it was the bottleneck",
                generator.cores
            ));
        }
        if self.parameters.pairs > 0 && self.seconds == 0.0 {
            self.warnings.push("nothing was measured".to_owned());
        }
        if self
            .router
            .as_ref()
            .is_some_and(|router| router.cpu_seconds < 0.2)
        {
            self.warnings
                .push("CPU time is counted in 10 ms: too little for exact figures".to_owned());
        }
    }
}

fn parameters(run: &Run, params: &Params) -> Parameters {
    let args = &params.args;
    Parameters {
        router: args.router.router.clone(),
        pairs: args.pairs,
        size: params.sizes.longest(),
        both: params.both,
        connections: name(&args.connections),
        window: run.window,
        verify: name(&args.verify),
        tls: !args.router.plaintext,
        warmup: run.warmup.as_secs_f64(),
        duration: run.duration.as_secs_f64(),
        messages: run.limit,
        seed: args.seed,
    }
}
