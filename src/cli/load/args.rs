//! The options of `load`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::verify::Verify;
use crate::cli::join::credentials::RouterArgs;
use crate::common::address;
use crate::transport::settings::Size;

/// Stands above the options that say what the pairs do.
const WORKLOAD: &str = "Workload";

/// What the pairs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Large messages, one way or both
    Bulk,
    /// Small messages as fast as possible
    Flood,
    /// Large messages with small ones between them, both ways
    Mix,
    /// One message there, one back, again and again
    Pingpong,
    /// Requests at a fixed rate, whether or not the answers come
    Reqresp,
    /// Pairs that do nothing
    Idle,
    /// Pairs whose receiver never reads
    Stall,
    /// One pair after another
    Churn,
    /// Ping-pong beside bulk and stalled pairs
    Mixed,
}

/// Whose connections the streams use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Connections {
    /// One for each stream, as stock peers do
    Separate,
    /// Two for all streams
    Shared,
}

// No `Debug`: `--key` is a secret.
/// Options of `load`.
#[derive(Args, Clone)]
pub struct LoadArgs {
    /// The router under test, and what is trusted.
    #[command(flatten)]
    pub router: RouterArgs,
    /// Key that signs the tokens; others on this machine can see options, so better use a file or the environment
    #[arg(long, value_name = "KEY", conflicts_with = "key_file")]
    pub key: Option<String>,
    /// File with the key that signs the tokens, - for standard input [env: the key itself in ROUTER_KEY]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// What the pairs do
    #[arg(long, value_enum, default_value = "bulk", help_heading = WORKLOAD)]
    pub workload: Workload,
    /// How many pairs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), help_heading = WORKLOAD)]
    pub pairs: u32,
    /// Payload of a message; the default depends on the workload
    #[arg(long, value_name = "BYTES", help_heading = WORKLOAD)]
    pub size: Option<Size>,
    /// How long to measure; 10s unless a number of messages or bytes is given
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = WORKLOAD)]
    pub duration: Option<Duration>,
    /// How many messages to measure, of all pairs and both directions together
    #[arg(long, value_name = "N", conflicts_with = "bytes", help_heading = WORKLOAD)]
    pub messages: Option<u64>,
    /// How many bytes to measure, in whole messages
    #[arg(long, value_name = "BYTES", help_heading = WORKLOAD)]
    pub bytes: Option<Size>,
    /// Not measured at first
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration, help_heading = WORKLOAD)]
    pub warmup: Duration,
    /// Give up after this; by default a minute after the run should be over
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = WORKLOAD)]
    pub deadline: Option<Duration>,
    /// Send both ways (bulk, flood)
    #[arg(long, help_heading = WORKLOAD)]
    pub both: bool,
    /// Requests per second, of all pairs together (reqresp)
    #[arg(long, value_name = "N", default_value_t = 1000.0, help_heading = WORKLOAD)]
    pub rate: f64,
    /// In the end let the receivers read all (stall)
    #[arg(long, help_heading = WORKLOAD)]
    pub resume: bool,
    /// Make pairs anew that the router refuses or ends, and do not call that an error (stall)
    #[arg(long, conflicts_with = "resume", help_heading = WORKLOAD)]
    pub persist: bool,
    /// Bulk pairs beside the others (mixed)
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = WORKLOAD)]
    pub bulk_pairs: u32,
    /// Stalled pairs beside the others (mixed)
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = WORKLOAD)]
    pub stalled_pairs: u32,
    /// Put the router at a distance: every byte takes so long, each way
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub delay: Option<Duration>,
    /// Where the second peer of each pair connects: another router of the same cluster, with the same certificate
    #[arg(long, value_name = "HOST:PORT", value_parser = address::host_port, conflicts_with = "delay")]
    pub second_router: Option<String>,
    /// Whose connections the streams use
    #[arg(long, value_enum, default_value = "separate")]
    pub connections: Connections,
    /// Window of each stream at its receiver
    #[arg(long, value_name = "BYTES")]
    pub window: Option<Size>,
    /// Measure how long HTTP/2 PINGs take, on every connection
    #[arg(long)]
    pub pings: bool,
    /// How much of each message is compared; length and order always are
    #[arg(long, value_enum, default_value = "full")]
    pub verify: Verify,
    /// The router's process, to report its CPU time and memory
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Threads of the generator; by default one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: Option<u32>,
    /// Seed of what the messages hold
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = WORKLOAD)]
    pub seed: u64,
    /// Write the report as JSON to a file, or to standard output with -
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// No text, only JSON and the exit code
    #[arg(long)]
    pub quiet: bool,
}
