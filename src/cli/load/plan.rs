//! From options to a run: defaults that depend on the workload, and what must not be.

use std::{
    ffi::OsString,
    fmt::Display,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use super::{
    args::{Connections, LoadArgs, Workload},
    dial::Dialer,
    pattern::{Pattern, Sizes},
    run::Run,
    usage::Usage,
};
use crate::{
    auth::without_newline,
    cli::{
        exit::{Exit, Failure},
        join::credentials,
    },
    transport::settings::Size,
};

/// Bytes of a large message, as stock peers send them.
pub(crate) const LARGE: usize = 64 * 1024;

/// What stock peers grant at first.
const STOCK_WINDOW: u32 = 65_535;

/// The largest message: gRPC's usual limit is 4 MiB.
const LARGEST: usize = 64 * 1024 * 1024;

/// HTTP/2's largest window.
const LARGEST_WINDOW: usize = (1 << 31) - 1;

/// Setting up and ending may take so long beyond the time that is measured.
const SLACK: Duration = Duration::from_secs(60);

/// Pairs that are stuck are held so long.
const STALLED: Duration = Duration::from_secs(2);

/// A run that is bounded by a count may take so long.
const COUNTED: Duration = Duration::from_secs(600);

/// What workloads need to know besides the run.
#[derive(Clone)]
pub(crate) struct Params {
    /// The options as they were given.
    pub args: LoadArgs,
    /// How long the messages are.
    pub sizes: Sizes,
    /// Whether both peers send.
    pub both: bool,
    /// The stream window of a receiver that does not read: what it has granted must not hide what the router holds.
    pub stalled_window: u32,
    /// When everything must be over.
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

/// Says what the options ask for.
pub(crate) fn plan(args: &LoadArgs, env: &[(String, OsString)]) -> Result<(Run, Params), Failure> {
    let key = match &args.key {
        Some(key) if without_newline(key.as_bytes()).is_empty() => {
            return Err(wrong("--key is empty"));
        }
        Some(key) => key.clone().into_bytes(),
        None => credentials::key(args.key_file.as_deref(), env)?,
    };
    let connector = args.router.connector(env).map_err(wrong)?;
    let size = args.size.map_or(args.workload.default_size(), Size::bytes);
    range("size", size, 0, LARGEST)?;
    let window = args.window.map_or(16 * 1024 * 1024, Size::bytes);
    range("window", window, 1, LARGEST_WINDOW)?;
    if !(0.001..=1e7).contains(&args.rate) {
        return Err(wrong("--rate must be from 0.001 to 10000000 per second"));
    }
    if let Some(pid) = args.pid {
        Usage::of(pid).ok_or_else(|| wrong(format_args!("there is no process {pid}")))?;
    }
    let sizes = match args.workload {
        Workload::Mix => Sizes::Mix(size),
        _ => Sizes::Fixed(size),
    };
    let by_bytes = args
        .bytes
        .map(|bytes| bytes.bytes().div_ceil(sizes.mean().max(1)) as u64);
    let limit = args.messages.or(by_bytes);
    let most = match (limit, args.workload) {
        (_, Workload::Stall) => STALLED,
        (Some(_), _) => COUNTED,
        (None, _) => Duration::from_secs(10),
    };

    let mut dialer = Dialer::new(connector, key);
    dialer.second = args.second_router.as_deref().map(resolve).transpose()?;
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
    let params = Params {
        args: args.clone(),
        sizes,
        both: args.both || args.workload == Workload::Mix,
        stalled_window: args.window.map_or(STOCK_WINDOW, Size::bytes_u32),
        deadline: args.deadline.unwrap_or(run.warmup + run.duration + SLACK),
    };
    Ok((run, params))
}

fn range(option: &str, value: usize, least: usize, most: usize) -> Result<(), Failure> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(wrong(format_args!(
        "--{option} must be from {least} to {most}"
    )))
}

fn resolve(router: &str) -> Result<SocketAddr, Failure> {
    let mut found = router.to_socket_addrs();
    let first = found.as_mut().map(Iterator::next);
    let why = match first {
        Ok(Some(address)) => return Ok(address),
        Ok(None) => "the name has no address".to_owned(),
        Err(error) => error.to_string(),
    };
    let text = format!("--second-router {router}: {why}");
    Err(Failure::new(Exit::Unreachable, text))
}

fn wrong(text: impl Display) -> Failure {
    Failure::new(Exit::Usage, text)
}
