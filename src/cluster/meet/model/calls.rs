//! Holds those steps of the model that are about calls, and about how halves end.

use super::{
    super::Ticket,
    state::{At, Named, Offer, Phase, State, TOPIC, World, Wrong},
};

impl State {
    pub(super) fn set_call(&mut self, caller: usize, to: At) {
        if let Phase::Calls(_, at) = &mut self.halves[caller].phase {
            *at = to;
        }
    }

    /// Takes the half of a ticket out of a router's `Meet`.
    fn take_known(&mut self, world: &World, router: usize, ticket: Ticket) -> Option<usize> {
        // Only to look is cheaper.
        self.meet[router].of(ticket)?;
        self.meet(world, router, |meet, _| meet.leaves(ticket))
    }

    pub(super) fn request(&mut self, world: &World, caller: usize) {
        let Phase::Calls(named, _) = self.halves[caller].phase else {
            return;
        };
        let to = world.places[named.half];
        let at = if !self.alive[to] {
            At::No
        } else if self.take_known(world, to, named.ticket()).is_some() {
            At::Taking
        } else if world.wrong == Some(Wrong::CalleeLetsWait) {
            match self.table[to] {
                None => {
                    self.table[to] = Some(Offer::Call(caller));
                    At::Sits
                }
                Some(Offer::Half(half)) => self.held(world, caller, half),
                Some(Offer::Call(_)) => At::No,
            }
        } else {
            At::No
        };
        self.set_call(caller, at);
    }

    fn held(&mut self, world: &World, caller: usize, half: usize) -> At {
        self.table[world.places[half]] = None;
        self.halves[half].phase = Phase::Paired(caller);
        At::Holds(half)
    }

    pub(super) fn take(&mut self, world: &World, caller: usize) {
        let Phase::Calls(Named { half, .. }, _) = self.halves[caller].phase else {
            return;
        };
        let at = if self.table[world.places[half]] == Some(Offer::Half(half)) {
            self.held(world, caller, half)
        } else {
            // It has met at home meanwhile, or left.
            At::No
        };
        self.set_call(caller, at);
    }

    pub(super) fn answer(&mut self, world: &World, caller: usize) {
        match self.halves[caller].phase {
            Phase::Calls(_, At::Holds(half)) => self.halves[caller].phase = Phase::Paired(half),
            _ => self.failed(world, caller),
        }
    }

    pub(super) fn failed(&mut self, world: &World, caller: usize) {
        let half = &mut self.halves[caller];
        half.phase = Phase::Restores;
        if self.table[world.places[caller]] == Some(Offer::Half(caller)) {
            // It was there all the time. Only if that is what goes wrong.
            half.phase = Phase::Waits;
            half.entering = true;
        }
    }

    pub(super) fn restore(&mut self, world: &World, half: usize) {
        let router = world.places[half];
        if self.table[router].is_none() {
            self.table[router] = Some(Offer::Half(half));
            self.halves[half].phase = Phase::Waits;
            self.halves[half].entering = world.wrong != Some(Wrong::SilentAfterFailure);
        } else if let Some((ticket, _)) = self.meet[router].half(&TOPIC) {
            // Another waits there now.
            self.halves[half].phase = Phase::Calls(Named::of(ticket), At::Coming);
        }
    }

    /// The caller is gone: what becomes of the callee's side.
    pub(super) fn drop_call(&mut self, world: &World, caller: usize) {
        let Phase::Calls(named, at) = self.halves[caller].phase else {
            return;
        };
        match at {
            // It may still arrive.
            At::Coming if self.is_good(named) => self.halves[named.half].late = true,
            At::Taking => self.halves[named.half].taking = true,
            At::Holds(half) => self.halves[half].phase = Phase::Parted,
            At::Sits => self.table[world.places[named.half]] = None,
            At::Coming | At::No | At::Left => {}
        }
    }

    /// A half ends, and with it what it is part of.
    pub(super) fn end(&mut self, world: &World, half: usize) {
        match self.halves[half].phase {
            Phase::Calls(..) => self.drop_call(world, half),
            Phase::Paired(other) => match self.halves[other].phase {
                // That one does not know of it yet.
                Phase::Calls(..) => self.set_call(other, At::Left),
                _ => self.halves[other].phase = Phase::Parted,
            },
            _ => {}
        }
        let place = &mut self.table[world.places[half]];
        if *place == Some(Offer::Half(half)) {
            *place = None;
        }
        self.halves[half].phase = Phase::Ended;
    }

    pub(super) fn killed(&mut self, world: &World, router: usize) {
        for half in world.at(router) {
            if self.halves[half].phase != Phase::Away {
                self.end(world, half);
            }
        }
        for caller in 0..world.places.len() {
            if let Phase::Calls(named, At::Coming | At::Taking | At::Sits) =
                self.halves[caller].phase
                && world.places[named.half] == router
            {
                self.set_call(caller, At::No);
            }
        }
        for half in world.at(router) {
            self.halves[half].entering = false;
            self.halves[half].taking = false;
        }
        self.forget(world, router);
    }
}
