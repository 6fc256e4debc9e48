//! Tells states of the model apart by what can follow from them.

use super::state::{At, HALVES, Half, Named, Offer, Phase, State, World};

impl State {
    /// Says the same of two states if the same can follow from them. Which number a ticket has does not matter, nor which
    /// one of those that are good no more.
    pub(super) fn key(&self, world: &World) -> u128 {
        let mut key = Key(0);
        for (number, half) in self.halves[..world.places.len()].iter().enumerate() {
            let (phase, a, b) = match half.phase {
                Phase::Away => (0, 0, 0),
                Phase::Comes => (1, 0, 0),
                Phase::Waits => (2, 0, 0),
                Phase::Ordered(named) => (3, self.name(world, named), 0),
                Phase::Calls(named, at) => {
                    let at = match at {
                        At::Coming => 0,
                        At::Taking => 1,
                        At::Sits => 2,
                        At::No => 3,
                        At::Left => 4,
                        At::Holds(half) => 8 + half as u8,
                    };
                    // When the request was read its ticket matters no more.
                    let named = match at {
                        0 => self.name(world, named),
                        1 => named.half as u8,
                        _ => world.places[named.half] as u8,
                    };
                    (4, named, at)
                }
                Phase::Restores => (5, 0, 0),
                Phase::Paired(other) => (6, other as u8, 0),
                Phase::Parted => (7, 0, 0),
                Phase::Ended => (8, 0, 0),
            };
            key.put(phase, 4);
            key.put(a, 3);
            key.put(b, 4);
            for is in [
                half.entering,
                half.known,
                half.announced,
                half.late,
                half.taking,
            ] {
                key.put(is.into(), 1);
            }
            key.put(self.before(world, number), 3);
        }
        for router in 0..world.routers {
            key.put(self.alive[router].into(), 1);
            key.put(
                (self.spent[router] && self.is_heard(world, router)).into(),
                1,
            );
            let offer = match self.table[router] {
                None => 0,
                Some(Offer::Half(half)) => 1 + half,
                Some(Offer::Call(half)) => 8 + half,
            };
            key.put(offer as u8, 4);
        }
        key.0
    }

    /// Counts the halves that came into the same `Meet` before this one and are still there: the last one is asked first.
    fn before(&self, world: &World, half: usize) -> u8 {
        let Half { known, entered, .. } = self.halves[half];
        let before = |other: &usize| {
            let other = &self.halves[*other];
            known && other.known && other.entered < entered
        };
        world.at(world.places[half]).filter(before).count() as u8
    }

    fn name(&self, world: &World, named: Named) -> u8 {
        let good = self.is_good(named);
        (if good {
            named.half
        } else {
            HALVES + world.places[named.half]
        }) as u8
    }
}

struct Key(u128);

impl Key {
    fn put(&mut self, value: u8, bits: u32) {
        self.0 = (self.0 << bits) | u128::from(value);
    }
}
