//! Keeps connections to other routers that have no stream now: a new one takes four round trips, a kept one one.

use std::{collections::HashMap, fmt, sync::Mutex, time::Duration};

use tokio::{sync::oneshot, time::sleep};

use super::Connected;
use crate::{cluster::meet::RouterId, common::lock};

/// Connections kept for each router.
const MOST: usize = 4;

/// A connection that nobody has needed for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// Holds connections without a stream.
#[derive(Default)]
pub(crate) struct Pool {
    kept: Mutex<HashMap<RouterId, Vec<Kept>>>,
}

/// Asks for a connection that a task keeps.
type Kept = oneshot::Sender<oneshot::Sender<Connected>>;

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// Gives a connection to this router, if one is kept that lasts.
    pub(crate) async fn take(&self, router: RouterId) -> Option<Connected> {
        loop {
            let kept = lock(&self.kept).get_mut(&router)?.pop()?;
            let (give, given) = oneshot::channel();
            // An error means that it has ended meanwhile.
            if kept.send(give).is_ok()
                && let Ok(connected) = given.await
            {
                return Some(connected);
            }
        }
    }

    /// Keeps a connection. The future keeps it going until it is taken, ends, or nobody needs it; `None` if enough are kept.
    pub(crate) fn put(
        &self,
        router: RouterId,
        mut connected: Connected,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let (ask, mut asked) = oneshot::channel::<oneshot::Sender<Connected>>();
        let mut all = lock(&self.kept);
        // Routers that are gone leave nothing behind.
        all.retain(|_, kept| {
            kept.retain(|ask| !ask.is_closed());
            !kept.is_empty()
        });
        let kept = all.entry(router).or_default();
        if kept.len() >= MOST {
            return None;
        }
        kept.push(ask);
        Some(async move {
            let give = tokio::select! {
                () = &mut connected.driver => return,
                () = sleep(IDLE) => return,
                give = &mut asked => give,
            };
            if let Ok(give) = give {
                // Whoever asked is gone if this fails, and so is the connection.
                let _ = give.send(connected);
            }
        })
    }
}
