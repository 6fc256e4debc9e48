//! `idle`: pairs that do nothing; what they cost the router.

use std::{sync::Arc, time::Duration};

use futures_util::{TryStreamExt, stream};
use tokio::time::sleep;

use super::{
    super::{
        failure::Failure,
        pair::{Pair, Setup},
        plan::Params,
        run::Run,
        usage::Usage,
    },
    Extra,
};

/// Memory that was needed for setting up is free again after so long.
const SETTLE: Duration = Duration::from_millis(500);

/// Sets up the pairs, holds them, and sees that each still works.
pub(crate) async fn run(run: &Arc<Run>, params: &Params) -> Result<Extra, Failure> {
    let before = run.pid.and_then(Usage::of);
    let setup = Setup::new(run, params.sizes).await?;
    let pairs = setup.pairs(run, params.args.pairs).await?;
    sleep(run.warmup.max(SETTLE)).await;
    let (held, count) = (run.hold().await, pairs.len());
    stream::iter(pairs.into_iter().map(Ok))
        .try_for_each_concurrent(16, async |mut pair: Pair| {
            pair.a.send.put()?;
            pair.b.send.put()?;
            pair.end(run).await
        })
        .await?;
    Ok(memory(before, held.router, count))
}

/// Compares the router's memory before and with so many pairs.
pub(crate) fn memory(before: Option<Usage>, with: Option<Usage>, pairs: usize) -> Extra {
    let (Some(before), Some(with)) = (before, with) else {
        return Extra::new();
    };
    let grown = with.rss as f64 - before.rss as f64;
    vec![
        ("router_rss_before_kib", before.rss as f64),
        ("router_rss_with_pairs_kib", with.rss as f64),
        ("router_rss_kib_per_pair", grown / pairs.max(1) as f64),
    ]
}
