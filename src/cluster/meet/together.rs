//! Holds routers to what they promise by tables and `Meet`s together, both real, with steps and times by chance.

use std::{collections::HashMap, time::Duration};

use proptest::{prelude::*, sample::Index};

use self::world::{Answer, Call, Phase, World};

mod world;

/// What happens. An index chooses among what there is.
#[derive(Clone, Debug)]
enum Step {
    Arrive {
        router: usize,
        subject: u8,
    },
    /// So many milliseconds pass, and what is due is announced.
    Pass(u64),
    /// An announcement is heard, and stays in flight if it is doubled.
    Hear {
        which: Index,
        doubled: bool,
    },
    Lose(Index),
    /// A call goes on by a step.
    Go(Index),
    /// The caller loses a call, which may still reach the callee.
    Break(Index),
    Leave(Index),
}

impl World {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Arrive { router, subject } => {
                self.arrive(router % self.routers.len(), *subject);
            }
            Step::Pass(ms) => self.pass(Duration::from_millis(*ms)),
            Step::Hear { which, doubled } if !self.flight.is_empty() => {
                let which = which.index(self.flight.len());
                let message = self.flight[which].clone();
                if !doubled {
                    self.flight.swap_remove(which);
                }
                self.hear(message);
            }
            Step::Lose(which) if !self.flight.is_empty() => {
                self.flight.swap_remove(which.index(self.flight.len()));
            }
            Step::Go(which) if !self.calls.is_empty() => self.go(which.index(self.calls.len())),
            Step::Break(which) if !self.calls.is_empty() => {
                let which = which.index(self.calls.len());
                if let Some(caller) = self.calls[which].caller {
                    self.give_up(which);
                    self.halves[caller].failed += 1;
                    self.seek(caller);
                }
            }
            Step::Leave(which) if !self.halves.is_empty() => {
                self.leave(which.index(self.halves.len()));
            }
            _ => {}
        }
    }

    /// Who waits is in the table and in `Meet`, and nobody else is.
    fn check(&self) {
        let mut waiting = vec![0; self.routers.len()];
        for (number, half) in self.halves.iter().enumerate() {
            match half.phase {
                Phase::Waits(_, ticket) => {
                    assert_eq!(self.routers[half.router].meet.of(ticket), Some(&number));
                    waiting[half.router] += 1;
                }
                Phase::Paired(other) => {
                    assert_eq!(self.halves[other].phase, Phase::Paired(number), "{number}");
                }
                Phase::Calls => {
                    let part = |call: &&Call| {
                        call.caller == Some(number) || call.answer == Answer::Half(number)
                    };
                    assert_eq!(self.calls.iter().filter(part).count(), 1, "{number}");
                }
                Phase::Ended => {}
            }
        }
        for (router, waiting) in self.routers.iter().zip(waiting) {
            assert_eq!(
                (router.table.waiting(), router.meet.halves.len()),
                (waiting, waiting)
            );
            let late = router
                .meet
                .next_due()
                .is_some_and(|due| due > self.now + Duration::from_secs(6));
            assert!(!late, "somebody is announced too seldom");
        }
    }

    /// Nothing is lost any more: gives how many of a subject wait at last.
    fn settle(&mut self) -> HashMap<u8, usize> {
        self.flight.clear();
        for _ in 0..600 {
            self.pass(Duration::from_millis(50));
            for message in std::mem::take(&mut self.flight) {
                self.hear(message);
            }
            while !self.calls.is_empty() {
                self.go(0);
            }
            self.check();
        }
        let mut waiting = HashMap::new();
        let waits = |phase| matches!(phase, Phase::Waits(..));
        for half in self.halves.iter().filter(|half| waits(half.phase)) {
            *waiting.entry(half.subject).or_default() += 1;
        }
        waiting
    }
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        3 => (0..3_usize, 0..3_u8).prop_map(|(router, subject)| Step::Arrive { router, subject }),
        3 => (0..200_u64).prop_map(Step::Pass),
        1 => (0..20_000_u64).prop_map(Step::Pass),
        6 => (index(), any::<bool>()).prop_map(|(which, doubled)| Step::Hear { which, doubled }),
        1 => index().prop_map(Step::Lose),
        4 => index().prop_map(Step::Go),
        1 => index().prop_map(Step::Break),
        1 => index().prop_map(Step::Leave),
    ]
}

proptest! {
    #[test]
    fn all_meet_at_last_and_nobody_twice(routers in 1..4_u8, steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new(routers);
        for step in &steps {
            world.step(step);
            world.check();
        }
        for (subject, waiting) in world.settle() {
            prop_assert!(waiting <= 1, "{waiting} of {subject} wait still");
        }
    }
}

#[test]
fn who_is_not_reached_is_told_and_the_other_meets_a_third() {
    let mut world = World::new(3);
    world.cut = Some([0, 1]);
    world.arrive(0, 0);
    world.arrive(1, 0);
    world.settle();
    let phases = |world: &World| {
        world
            .halves
            .iter()
            .map(|half| half.phase)
            .collect::<Vec<_>>()
    };
    assert!(matches!(
        phases(&world)[..],
        [Phase::Waits(..), Phase::Ended]
    ));
    world.arrive(2, 0);
    world.settle();
    assert_eq!(
        phases(&world),
        [Phase::Paired(2), Phase::Ended, Phase::Paired(0)]
    );
}
