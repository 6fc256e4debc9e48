//! Whether the router wants new streams.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

/// Where the process is in its life. The order is the order of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not listening yet.
    Starting,
    /// Takes new streams.
    Ready,
    /// Is about to stop, but still takes new streams from those who have not noticed.
    LameDuck,
    /// Finishes what it has and accepts no connections.
    Draining,
}

impl Phase {
    /// The lowercase word shown to probes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::LameDuck => "lame_duck",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The shared phase, and whether anything hinders. Clones show and change the same. Starts as [`Phase::Starting`].
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<State>);

#[derive(Debug, Default)]
struct State {
    phase: AtomicU8,
    hindered: AtomicBool,
}

impl Readiness {
    /// Starts in [`Phase::Starting`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves to `phase`, but never backwards: a signal to stop that arrives during the start must
    /// not be undone by the start's own last step.
    pub fn set(&self, phase: Phase) {
        self.0.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// The current phase.
    pub fn get(&self) -> Phase {
        match self.0.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            2 => Phase::LameDuck,
            _ => Phase::Draining,
        }
    }

    /// Shows whether connections can be accepted.
    pub fn set_accepting(&self, accepting: bool) {
        self.0.hindered.store(!accepting, Ordering::Release);
    }

    fn is_hindered(&self) -> bool {
        self.0.hindered.load(Ordering::Acquire)
    }

    /// Whether new streams are wanted, and can come.
    pub fn is_ready(&self) -> bool {
        self.get() == Phase::Ready && !self.is_hindered()
    }

    /// The phase, or what hinders in it.
    pub fn as_str(&self) -> &'static str {
        match self.get() {
            Phase::Ready if self.is_hindered() => "cannot accept connections",
            phase => phase.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_forward_only_and_is_shared() {
        let readiness = Readiness::new();
        let other = readiness.clone();
        assert_eq!(other.get(), Phase::Starting);
        readiness.set(Phase::Ready);
        assert!(other.is_ready());
        readiness.set(Phase::LameDuck);
        assert_eq!(other.get(), Phase::LameDuck);
        assert!(!other.is_ready());
        readiness.set(Phase::Draining);
        readiness.set(Phase::Ready);
        assert_eq!(other.get(), Phase::Draining);
    }

    #[test]
    fn is_ready_only_while_connections_can_be_accepted() {
        let readiness = Readiness::new();
        readiness.set(Phase::Ready);
        readiness.set_accepting(false);
        assert!(!readiness.is_ready());
        assert_eq!(readiness.as_str(), "cannot accept connections");
        readiness.set_accepting(true);
        assert!(readiness.is_ready());
        readiness.set(Phase::Draining);
        readiness.set_accepting(true);
        assert!(!readiness.is_ready());
        assert_eq!(readiness.as_str(), "draining");
    }
}
