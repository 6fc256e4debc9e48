//! Says what holds in every state of the model, and what holds where nothing more has to happen.

use super::state::{At, Offer, Phase, State, World, Wrong};

impl State {
    /// Checks what always holds: no half is in two pairs, and none is lost.
    pub(super) fn check(&self, world: &World) -> Result<(), String> {
        for half in 0..world.places.len() {
            let phase = self.halves[half].phase;
            let in_table = self.table[world.places[half]] == Some(Offer::Half(half));
            let good = match phase {
                Phase::Away | Phase::Comes | Phase::Restores => !in_table,
                Phase::Waits => {
                    let known = self.halves[half].entering || self.halves[half].known;
                    in_table && (known || self.is_being_taken(half))
                }
                Phase::Ordered(_) => in_table,
                Phase::Calls(named, At::Sits) => {
                    self.table[world.places[named.half]] == Some(Offer::Call(half))
                }
                Phase::Calls(..) | Phase::Paired(_) => true,
                Phase::Parted | Phase::Ended => !in_table && world.may_fail(),
            };
            if !good {
                return Err(format!("half {half} is lost"));
            }
            let (Phase::Paired(other) | Phase::Calls(_, At::Holds(other))) = phase else {
                continue;
            };
            if in_table && world.wrong != Some(Wrong::Unreserved) || !self.knows(other, half) {
                return Err(format!("half {half} is in two pairs"));
            }
        }
        Ok(())
    }

    fn knows(&self, half: usize, other: usize) -> bool {
        match self.halves[half].phase {
            Phase::Paired(known) | Phase::Calls(_, At::Holds(known)) => known == other,
            _ => false,
        }
    }

    /// Checks what holds where nothing more has to happen: of those that can hear each other at most one waits.
    pub(super) fn check_end(&self, world: &World) -> Result<(), String> {
        let mut waits = 0;
        for half in 0..world.places.len() {
            match self.halves[half].phase {
                Phase::Away | Phase::Paired(_) | Phase::Ended => {}
                // In its table there is room for one.
                Phase::Waits if world.off == Some(world.places[half]) => {}
                Phase::Waits | Phase::Calls(_, At::Sits) => waits += 1,
                _ => return Err(format!("half {half} is stuck")),
            }
        }
        if waits > 1 {
            return Err(format!("{waits} halves wait for ever"));
        }
        Ok(())
    }
}

impl World {
    fn may_fail(&self) -> bool {
        self.kills > 0 || self.breaks || self.leaves
    }
}
