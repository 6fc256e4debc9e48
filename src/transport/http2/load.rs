//! What a connection carries, and whether its place can be taken back.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    observe::metrics::{ConnectionEnd, Held, Metrics},
    transport::{
        limits::spares::{OpenCalls, SPARE_AFTER, Spare, Spares},
        wake_flag::WakeFlag,
    },
};

/// The calls of one connection.
pub(super) struct Load {
    /// Those that were let in.
    calls: Arc<OpenCalls>,
    /// Whether any call came, let in or not.
    any_call: bool,
    /// Whether it carries a stream, and is counted among those that do.
    carries: bool,
    counted: Held,
    /// While it can be taken back.
    spare: Option<Spare>,
}

impl Load {
    /// Counts the connection among those that carry nothing.
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            calls: Arc::default(),
            any_call: false,
            carries: false,
            counted: Held::new(&metrics.connections_without_streams),
            spare: None,
        }
    }

    /// A call came. What is let in is to be counted in what is returned.
    pub(super) fn call_came(&mut self) -> Arc<OpenCalls> {
        self.any_call = true;
        self.calls.clone()
    }

    /// Those that were let in.
    pub(super) fn calls(&self) -> &OpenCalls {
        &self.calls
    }

    /// Whether any call came.
    pub(super) fn any_call(&self) -> bool {
        self.any_call
    }

    /// Whether it can be taken back.
    pub(super) fn is_spare(&self) -> bool {
        self.spare.is_some()
    }

    /// Why it has to go, if its place is needed.
    pub(super) fn told(&self) -> Option<ConnectionEnd> {
        self.spare.as_ref().and_then(Spare::told)
    }

    /// Takes note of the calls that have come and gone. True if the last stream has gone.
    pub(super) fn update(&mut self, metrics: &Metrics) -> bool {
        let carries = self.calls.streams.open() > 0;
        if carries || self.calls.others.open() > 0 {
            self.spare = None;
        }
        if carries == self.carries {
            return false;
        }
        self.carries = carries;
        self.counted = Held::new(if carries {
            &metrics.connections_with_streams
        } else {
            &metrics.connections_without_streams
        });
        !carries
    }

    /// Whoever has had no stream for a while, and asks for nothing else, can be taken back. Otherwise: when to look again.
    pub(super) fn look_for_spare(
        &mut self,
        idle_since: Option<Instant>,
        now: Instant,
        (all, of_address): (&Arc<Spares>, &Arc<Spares>),
        flag: &Arc<WakeFlag>,
    ) -> Option<Instant> {
        let since = idle_since?;
        if self.spare.is_some() || self.calls.others.open() > 0 {
            return None;
        }
        if since + SPARE_AFTER > now {
            return Some(since + SPARE_AFTER);
        }
        self.spare = Some(all.enter(of_address, since, flag.clone()));
        None
    }
}
