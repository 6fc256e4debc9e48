//! The workloads: one file each.

pub mod idle;
pub mod pingpong;
pub mod pump;

use std::sync::Arc;

use super::{args::Workload, plan::Params, run::Run, stream::Failure};

/// Figures of their own that some workloads report, in the order of the text.
pub type Extra = Vec<(&'static str, f64)>;

/// Runs a workload to its end.
pub async fn run(run: &Arc<Run>, params: &Params) -> Result<Extra, Failure> {
    match params.workload {
        Workload::Bulk | Workload::Flood | Workload::Mix => pump::run(run, params).await,
        Workload::Pingpong => pingpong::run(run, params).await,
        Workload::Idle => idle::run(run, params).await,
    }
}
