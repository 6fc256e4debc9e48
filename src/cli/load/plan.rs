//! From options to a run: defaults that depend on the workload, and what must not be.

use std::{ffi::OsString, sync::Arc, time::Duration};

use thiserror::Error;

use super::{
    args::{Connections, LoadArgs, Workload},
    dial::Dialer,
    pattern::{Pattern, Sizes},
    run::Run,
};
use crate::{auth::without_newline, cli::exit::Failure};

/// Bytes of a large message, as stock peers send them.
pub const LARGE: usize = 64 * 1024;

/// What stock peers grant at first.
const STOCK_WINDOW: u32 = 65_535;

/// The largest message: gRPC's usual limit is 4 MiB.
const LARGEST: usize = 64 * 1024 * 1024;

/// HTTP/2's largest window.
const LARGEST_WINDOW: usize = (1 << 31) - 1;

/// For setting up and ending, beyond the time that is measured.
const SLACK: Duration = Duration::from_secs(60);

/// Pairs that are stuck are held so long.
const STALLED: Duration = Duration::from_secs(2);

/// A run that is bounded by a count may take so long.
const COUNTED: Duration = Duration::from_secs(600);

/// Options that cannot be followed.
#[derive(Debug, Error)]
pub enum PlanError {
    /// No key to sign with.
    #[error("no key: give --key or set ROUTER_KEY")]
    Key,
    /// Too large or too small.
    #[error("--{option} must be from {least} to {most}")]
    Range {
        /// The option.
        option: &'static str,
        /// At least this.
        least: usize,
        /// At most this.
        most: usize,
    },
    /// The rate.
    #[error("--rate must be from 0.001 to 10000000 per second")]
    Rate,
    /// The router's address, or the files that go with it.
    #[error("{0}")]
    Router(Failure),
    /// There is no such process.
    #[error("there is no process {0}")]
    Pid(u32),
}

/// What workloads need to know besides the run.
#[derive(Clone, Debug)]
pub struct Params {
    /// What to do.
    pub workload: Workload,
    /// How many pairs.
    pub pairs: usize,
    /// Messages.
    pub sizes: Sizes,
    /// Whether both peers send.
    pub both: bool,
    /// Requests per second.
    pub rate: f64,
    /// Whether stalled receivers read in the end.
    pub resume: bool,
    /// Whether pairs that the router ends are made anew.
    pub persist: bool,
    /// Bulk pairs among others.
    pub bulk_pairs: usize,
    /// Stalled pairs among others.
    pub stalled_pairs: usize,
    /// The stream window of a receiver that does not read: what it has granted must not hide what the router holds.
    pub stalled_window: u32,
    /// Distance to the router, one way.
    pub delay: Option<Duration>,
    /// Everything must be over by then.
    pub deadline: Duration,
}

impl Workload {
    fn default_size(self) -> usize {
        match self {
            Self::Bulk | Self::Mix | Self::Stall => LARGE,
            _ => 64,
        }
    }
}

/// What the options ask for.
pub fn plan(args: &LoadArgs, env: &[(String, OsString)]) -> Result<(Run, Params), PlanError> {
    let from_env = || {
        let (_, key) = env.iter().find(|(name, _)| name == "ROUTER_KEY")?;
        Some(key.as_encoded_bytes().to_vec())
    };
    let key = args.key.clone().map(String::into_bytes).or_else(from_env);
    let key = key.filter(|key| !without_newline(key).is_empty());
    let key = key.ok_or(PlanError::Key)?;
    let connector = args.router.connector().map_err(PlanError::Router)?;
    let size = args.size.unwrap_or(args.workload.default_size());
    range("size", size, 0, LARGEST)?;
    let window = args.window.unwrap_or(16 * 1024 * 1024);
    range("window", window, 1, LARGEST_WINDOW)?;
    if !(0.001..=1e7).contains(&args.rate) {
        return Err(PlanError::Rate);
    }
    if let Some(pid) = args.pid {
        super::usage::Usage::of(pid).ok_or(PlanError::Pid(pid))?;
    }
    let sizes = match args.workload {
        Workload::Mix => Sizes::Mix(size),
        _ => Sizes::Fixed(size),
    };
    let by_bytes = args
        .bytes
        .map(|bytes| bytes.div_ceil(sizes.mean().max(1)) as u64);
    let limit = args.messages.or(by_bytes);
    let most = match (limit, args.workload) {
        (_, Workload::Stall) => STALLED,
        (Some(_), _) => COUNTED,
        (None, _) => Duration::from_secs(10),
    };

    let mut dialer = Dialer::new(connector, !args.router.plaintext, &args.router.router, key);
    dialer.pings = args.pings.then(Arc::default);
    let longest = sizes.longest().max(LARGE);
    let mut run = Run::new(dialer, Pattern::new(args.seed, longest), args.seed);
    run.verify = args.verify;
    run.window = window as u32;
    run.share = args.connections == Connections::Shared;
    run.warmup = args.warmup;
    run.duration = args.duration.unwrap_or(most);
    run.limit = limit;
    run.pid = args.pid;
    let deadline = args.deadline.unwrap_or(run.warmup + run.duration + SLACK);
    let params = Params {
        workload: args.workload,
        pairs: args.pairs as usize,
        sizes,
        both: args.both || args.workload == Workload::Mix,
        rate: args.rate,
        resume: args.resume,
        persist: args.persist,
        bulk_pairs: args.bulk_pairs as usize,
        stalled_pairs: args.stalled_pairs as usize,
        stalled_window: args.window.map_or(STOCK_WINDOW, |window| window as u32),
        delay: args.delay,
        deadline,
    };
    Ok((run, params))
}

fn range(option: &'static str, value: usize, least: usize, most: usize) -> Result<(), PlanError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(PlanError::Range {
        option,
        least,
        most,
    })
}
