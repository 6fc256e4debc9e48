//! The life of the process: one phase after the other, seen by all that have to act on it.

use std::future::Future;

use tokio::{sync::watch, task::coop::unconstrained};

/// Where the process is in its life. The order is the order of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It does not listen yet.
    Starting,
    /// It takes new streams.
    Ready,
    /// An administrator has asked for the drain; whoever owns the server begins it.
    Asked,
    /// It is about to stop, but still takes new streams from those who have not noticed.
    Leaving {
        /// Streams that wait find their partner at the successor.
        forwarding: bool,
    },
    /// It finishes what it has and accepts no connections.
    Draining {
        /// As above; without it no stream waits any more, and none is let in.
        forwarding: bool,
    },
    /// Everything ends.
    Stopped,
}

impl Phase {
    /// The lowercase word shown to probes and administrators.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready | Self::Asked => "ready",
            Self::Leaving { .. } => "lame_duck",
            Self::Draining { .. } | Self::Stopped => "draining",
        }
    }

    /// Whether new streams are wanted.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Ready | Self::Asked)
    }

    /// Whether an administrator has asked for the drain, or it has begun without that.
    pub fn is_asked(self) -> bool {
        self >= Self::Asked
    }

    /// Whether the process is about to stop, or further.
    pub fn is_leaving(self) -> bool {
        self >= Self::Leaving { forwarding: false }
    }

    /// Whether the drain has begun.
    pub fn is_draining(self) -> bool {
        self >= Self::Draining { forwarding: false }
    }

    /// Whether everything ends.
    pub fn is_stopped(self) -> bool {
        self == Self::Stopped
    }

    /// Whether streams that wait find their partner at the successor.
    pub fn is_forwarding(self) -> bool {
        matches!(
            self,
            Self::Leaving { forwarding: true } | Self::Draining { forwarding: true }
        )
    }

    /// Whether no stream is let in: there is no successor where it could find its partner.
    pub fn refuses_streams(self) -> bool {
        self.is_draining() && !self.is_forwarding()
    }
}

/// The phase, and whether connections can be accepted. Clones show and change the same.
#[derive(Clone, Debug)]
pub struct Life {
    phase: watch::Sender<Phase>,
    accepting: watch::Sender<bool>,
}

impl Default for Life {
    /// Starts in [`Phase::Starting`].
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Starting),
            accepting: watch::Sender::new(true),
        }
    }
}

impl Life {
    /// The current phase.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Moves to `phase`, but never backwards: a signal to stop that arrives during the start must not be undone by the
    /// start's own last step. False if it was there already, or further.
    pub fn advance(&self, phase: Phase) -> bool {
        self.phase.send_if_modified(|now| {
            let is_new = phase > *now;
            *now = phase.max(*now);
            is_new
        })
    }

    /// Resolves once the phase is one that `reached` tells, or nobody is left who could change it.
    pub fn until(&self, reached: fn(Phase) -> bool) -> impl Future<Output = ()> + Send + use<> {
        let mut phase = self.phase.subscribe();
        // It waits for itself alone, so it must not count against the work of the task that looks at it.
        unconstrained(async move {
            let _ = phase.wait_for(|now| reached(*now)).await;
        })
    }

    /// Shows whether connections can be accepted.
    pub fn set_accepting(&self, accepting: bool) {
        let change = |shown: &mut bool| std::mem::replace(shown, accepting) != accepting;
        self.accepting.send_if_modified(change);
    }

    /// Whether new streams are wanted, and can come.
    pub fn is_ready(&self) -> bool {
        self.phase().is_ready() && *self.accepting.borrow()
    }

    /// The phase as a word, or what hinders in it.
    pub fn as_str(&self) -> &'static str {
        let phase = self.phase();
        if phase.is_ready() && !*self.accepting.borrow() {
            return "cannot accept connections";
        }
        phase.as_str()
    }

    /// Awaits what `show` does with each new answer of [`Life::is_ready`], for as long as it is polled.
    pub async fn show<F: Future<Output = ()>>(self, mut show: impl FnMut(bool) -> F) {
        let (mut phase, mut accepting) = (self.phase.subscribe(), self.accepting.subscribe());
        loop {
            show(self.is_ready()).await;
            // Neither fails: this has both senders.
            tokio::select! {
                _ = phase.changed() => {}
                _ = accepting.changed() => {}
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const ALL: [Phase; 8] = [
        Phase::Starting,
        Phase::Ready,
        Phase::Asked,
        Phase::Leaving { forwarding: false },
        Phase::Leaving { forwarding: true },
        Phase::Draining { forwarding: false },
        Phase::Draining { forwarding: true },
        Phase::Stopped,
    ];

    #[test]
    fn each_phase_says_what_holds_in_it() {
        assert!(ALL.is_sorted());
        let of = |test: fn(Phase) -> bool| ALL.map(|phase| u8::from(test(phase)));
        assert_eq!(of(Phase::is_ready), [0, 1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(of(Phase::is_asked), [0, 0, 1, 1, 1, 1, 1, 1]);
        assert_eq!(of(Phase::is_leaving), [0, 0, 0, 1, 1, 1, 1, 1]);
        assert_eq!(of(Phase::is_forwarding), [0, 0, 0, 0, 1, 0, 1, 0]);
        assert_eq!(of(Phase::is_draining), [0, 0, 0, 0, 0, 1, 1, 1]);
        assert_eq!(of(Phase::refuses_streams), [0, 0, 0, 0, 0, 1, 0, 1]);
        assert_eq!(of(Phase::is_stopped), [0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn moves_forward_only_and_is_shared() {
        let life = Life::default();
        let other = life.clone();
        assert_eq!(other.as_str(), "starting");
        assert!(life.advance(Phase::Ready));
        assert!(other.is_ready());
        assert!(life.advance(Phase::Leaving { forwarding: true }));
        assert_eq!(other.as_str(), "lame_duck");
        assert!(!other.is_ready());
        assert!(life.advance(Phase::Draining { forwarding: false }));
        assert!(!life.advance(Phase::Draining { forwarding: false }));
        assert!(!life.advance(Phase::Ready));
        assert_eq!(other.phase(), Phase::Draining { forwarding: false });
    }

    #[test]
    fn is_ready_only_while_connections_can_be_accepted() {
        let life = Life::default();
        life.advance(Phase::Ready);
        life.set_accepting(false);
        assert!(!life.is_ready());
        assert_eq!(life.as_str(), "cannot accept connections");
        life.set_accepting(true);
        assert!(life.is_ready());
        life.advance(Phase::Draining { forwarding: false });
        life.set_accepting(false);
        assert!(!life.is_ready());
        assert_eq!(life.as_str(), "draining");
    }

    #[test]
    fn waits_for_a_phase_or_one_after_it() {
        let life = Life::default();
        let mut draining = Box::pin(life.until(Phase::is_draining));
        life.advance(Phase::Leaving { forwarding: false });
        assert!(draining.as_mut().now_or_never().is_none());
        life.advance(Phase::Stopped);
        assert!(draining.now_or_never().is_some());
        assert!(life.until(Phase::is_asked).now_or_never().is_some());
    }

    #[test]
    fn who_waits_is_let_go_when_nobody_is_left() {
        let life = Life::default();
        let stopped = life.until(Phase::is_stopped);
        drop(life);
        assert!(stopped.now_or_never().is_some());
    }

    #[test]
    fn shows_each_change() {
        let life = Life::default();
        let seen = std::sync::Mutex::new(Vec::new());
        let note = |ready| {
            seen.lock().unwrap().push(ready);
            std::future::ready(())
        };
        let mut shown = Box::pin(life.clone().show(note));
        let mut look = || assert!(shown.as_mut().now_or_never().is_none());
        look();
        life.advance(Phase::Ready);
        look();
        life.set_accepting(false);
        look();
        life.set_accepting(true);
        look();
        life.advance(Phase::Leaving { forwarding: false });
        look();
        drop(shown);
        assert_eq!(
            seen.into_inner().unwrap(),
            [false, true, false, true, false]
        );
    }
}
