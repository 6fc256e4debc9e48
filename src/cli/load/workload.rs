//! The workloads: one file each.

pub mod churn;
pub mod idle;
pub mod mixed;
pub mod pingpong;
pub mod pump;
pub mod reqresp;
pub mod siege;
pub mod stall;

use std::sync::Arc;

use super::{args::Workload, failure::Failure, plan::Params, run::Run};

/// Figures of their own that some workloads report, in the order of the text.
pub type Extra = Vec<(&'static str, f64)>;

/// Runs a workload to its end.
pub async fn run(run: &Arc<Run>, params: &Params) -> Result<Extra, Failure> {
    match params.args.workload {
        Workload::Bulk | Workload::Flood | Workload::Mix => pump::run(run, params).await,
        Workload::Pingpong => pingpong::run(run, params).await,
        Workload::Reqresp => reqresp::run(run, params).await,
        Workload::Idle => idle::run(run, params).await,
        Workload::Stall if params.args.persist => siege::run(run, params).await,
        Workload::Stall => stall::run(run, params).await,
        Workload::Churn => churn::run(run, params).await,
        Workload::Mixed => mixed::run(run, params).await,
    }
}
