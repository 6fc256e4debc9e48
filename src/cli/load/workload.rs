//! The workloads: one file each.

pub(crate) mod churn;
pub(crate) mod idle;
pub(crate) mod mixed;
pub(crate) mod pingpong;
pub(crate) mod pump;
pub(crate) mod reqresp;
pub(crate) mod siege;
pub(crate) mod stall;

use std::sync::Arc;

use super::{
    args::Workload,
    failure::Failure,
    pair::{Pair, Setup},
    plan::Params,
    run::Run,
};

/// Figures of their own that some workloads report, in the order of the text.
pub(crate) type Extra = Vec<(&'static str, f64)>;

/// Runs a workload to its end.
pub(crate) async fn run(run: &Arc<Run>, params: &Params) -> Result<Extra, Failure> {
    match params.args.workload {
        Workload::Bulk | Workload::Flood | Workload::Mix => {
            each(run, params, |run, pair| pump::pump(run, pair, params.both)).await
        }
        Workload::Pingpong => each(run, params, pingpong::play).await,
        Workload::Reqresp => reqresp::run(run, params).await,
        Workload::Idle => idle::run(run, params).await,
        Workload::Stall if params.args.persist => siege::run(run, params).await,
        Workload::Stall => stall::run(run, params).await,
        Workload::Churn => churn::run(run, params).await,
        Workload::Mixed => mixed::run(run, params).await,
    }
}

/// Sets up the pairs, then has each of them do its work.
async fn each<T>(
    run: &Arc<Run>,
    params: &Params,
    work: impl Fn(Arc<Run>, Pair) -> T,
) -> Result<Extra, Failure>
where
    T: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let setup = Setup::new(run, params.sizes).await?;
    let pairs = setup.pairs(run, params.args.pairs).await?;
    run.measure(pairs.into_iter().map(|pair| work(run.clone(), pair)))
        .await;
    Ok(Extra::new())
}
