//! Holds the steps of the model: what routers do, and what may happen to them. Each is one map operation or less, so that
//! whatever can come between two of them does.

use super::{
    super::{Elsewhere, Order, RouterId},
    state::{At, Named, Offer, Phase, State, TOPIC, World, Wrong, id},
};

/// Names a half, or a router.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A half arrives: it takes the offer of one that waits there, or waits.
    Arrive(usize),
    /// It comes into the table after it was in `Meet`. Only if that is what goes wrong.
    Place(usize),
    /// It comes into `Meet`.
    Enter(usize),
    /// A router announces what is due.
    Announce(usize),
    /// A router hears of a half, or its own voice.
    Hear(usize, usize),
    /// A router hears of a half of that router which waits no more.
    HearSpent(usize, usize),
    /// A half that was told to call takes its offer out of the table, and calls.
    Reserve(usize),
    /// Its request reaches the callee.
    Request(usize),
    /// The callee takes the offer.
    Take(usize),
    /// The caller gets the answer.
    Answer(usize),
    /// The caller gets an answer, and at once the end.
    AnswerAndEnd(usize),
    /// A half whose call failed comes back into the table, or calls the one that waits there now.
    Restore(usize),
    /// The task of a half that waits no more leaves `Meet`.
    Notice(usize),
    /// A half is told that the other side left.
    Told(usize),
    /// The caller gives up a call, or loses it.
    Break(usize),
    /// A call that was given up reaches the half that it is for.
    Late(usize),
    /// And takes it.
    TakeLate(usize),
    /// A peer goes.
    Leave(usize),
    /// A router is killed.
    Kill(usize),
}

impl Step {
    pub(super) fn all(world: &World) -> Vec<Self> {
        let of_half = [
            Self::Arrive,
            Self::Place,
            Self::Enter,
            Self::Reserve,
            Self::Request,
            Self::Take,
            Self::Answer,
            Self::AnswerAndEnd,
            Self::Restore,
            Self::Notice,
            Self::Told,
            Self::Break,
            Self::Late,
            Self::TakeLate,
            Self::Leave,
        ];
        let mut all = Vec::new();
        for half in 0..world.places.len() {
            all.extend(of_half.map(|step| step(half)));
            all.extend((0..world.routers).map(|router| Self::Hear(router, half)));
        }
        for router in 0..world.routers {
            all.extend([Self::Announce(router), Self::Kill(router)]);
            all.extend((0..world.routers).map(|from| Self::HearSpent(router, from)));
        }
        all
    }

    /// Tells whether it happens at last wherever it can. Nobody has to arrive, to leave, to break, or to hear what is old.
    pub(super) fn is_sure(self) -> bool {
        !matches!(
            self,
            Self::Arrive(_)
                | Self::HearSpent(..)
                | Self::Break(_)
                | Self::Late(_)
                | Self::Leave(_)
                | Self::Kill(_)
        )
    }
}

impl State {
    /// Gives what follows; `None` if the step cannot be made.
    pub(super) fn after(&self, world: &World, step: Step) -> Option<Self> {
        if !self.is_open(world, step) {
            return None;
        }
        let mut next = self.clone();
        match step {
            Step::Arrive(half) if world.wrong == Some(Wrong::MeetBeforeTable) => {
                next.halves[half].phase = Phase::Comes;
                next.enter(world, half);
            }
            Step::Arrive(half) | Step::Place(half) => next.place(world, half),
            Step::Enter(half) => next.enter(world, half),
            Step::Announce(router) => next.announce(world, router),
            Step::Hear(router, half) => {
                let times = self.halves[half].times;
                next.hear(world, router, Named { half, times });
            }
            Step::HearSpent(router, from) => {
                let half = world.at(from).next()?;
                next.hear(world, router, Named { half, times: 0 });
            }
            Step::Reserve(half) => {
                let Phase::Ordered(named) = self.halves[half].phase else {
                    return None;
                };
                if world.wrong != Some(Wrong::Unreserved) {
                    next.table[world.places[half]] = None;
                }
                next.halves[half].phase = Phase::Calls(named, At::Coming);
            }
            Step::Request(half) => next.request(world, half),
            Step::Take(half) => next.take(world, half),
            Step::Answer(half) => next.answer(world, half),
            Step::AnswerAndEnd(half) => next.halves[half].phase = Phase::Parted,
            Step::Restore(half) => next.restore(world, half),
            Step::Notice(half) => next.leave_meet(world, half),
            Step::Told(half) => next.halves[half].phase = Phase::Ended,
            Step::Break(half) => {
                next.drop_call(world, half);
                next.failed(world, half);
            }
            Step::Late(half) => {
                next.leave_meet(world, half);
                next.halves[half].taking = true;
            }
            Step::TakeLate(half) => {
                next.halves[half].taking = false;
                let place = &mut next.table[world.places[half]];
                if *place == Some(Offer::Half(half)) {
                    *place = None;
                    next.halves[half].phase = Phase::Parted;
                }
            }
            Step::Leave(half) => next.end(world, half),
            Step::Kill(router) => next.killed(world, router),
        }
        Some(next)
    }

    fn is_open(&self, world: &World, step: Step) -> bool {
        let phase = |half: usize| self.halves[half].phase;
        match step {
            Step::Arrive(half) => {
                let router = world.places[half];
                let earlier = |other| other >= half || phase(other) != Phase::Away;
                // Halves at one router differ in nothing but their number.
                phase(half) == Phase::Away && self.alive[router] && world.at(router).all(earlier)
            }
            Step::Place(half) => phase(half) == Phase::Comes,
            Step::Enter(half) => self.halves[half].entering,
            Step::Announce(router) => {
                let silent = |half: usize| self.halves[half].known && !self.halves[half].announced;
                world.at(router).any(silent) && self.is_heard(world, router)
            }
            Step::Hear(router, half) => self.halves[half].announced && self.hears(world, router),
            Step::HearSpent(router, from) => self.spent[from] && self.hears(world, router),
            Step::Reserve(half) => matches!(phase(half), Phase::Ordered(_)),
            Step::Request(half) => matches!(phase(half), Phase::Calls(_, At::Coming)),
            Step::Take(half) => matches!(phase(half), Phase::Calls(_, At::Taking)),
            Step::Answer(half) => matches!(
                phase(half),
                Phase::Calls(_, At::Holds(_) | At::No | At::Left)
            ),
            Step::AnswerAndEnd(half) => matches!(phase(half), Phase::Calls(_, At::Left)),
            Step::Restore(half) => phase(half) == Phase::Restores,
            Step::Notice(half) => {
                let waits = matches!(phase(half), Phase::Waits | Phase::Comes);
                self.halves[half].known && !self.halves[half].entering && !waits
            }
            Step::Told(half) => phase(half) == Phase::Parted,
            Step::Break(half) => {
                let open = !matches!(phase(half), Phase::Calls(_, At::No | At::Left));
                world.breaks && open && matches!(phase(half), Phase::Calls(..))
            }
            Step::Late(half) => self.halves[half].late,
            Step::TakeLate(half) => self.halves[half].taking,
            Step::Leave(half) => {
                let here = !matches!(phase(half), Phase::Away | Phase::Comes | Phase::Ended);
                world.leaves && here && !self.halves[half].entering
            }
            Step::Kill(router) => {
                let dead = self.alive.iter().filter(|alive| !**alive).count();
                self.alive[router] && dead < world.kills
            }
        }
    }

    /// Only to look is cheaper: where nobody waits nothing follows.
    fn hears(&self, world: &World, router: usize) -> bool {
        world.off != Some(router) && self.meet[router].half(&TOPIC).is_some()
    }

    fn place(&mut self, world: &World, half: usize) {
        let place = &mut self.table[world.places[half]];
        let phase = match place.take() {
            None => {
                *place = Some(Offer::Half(half));
                self.halves[half].entering = world.wrong != Some(Wrong::MeetBeforeTable);
                Phase::Waits
            }
            Some(Offer::Half(other)) => {
                // It calls: only if that is what goes wrong.
                if !matches!(self.halves[other].phase, Phase::Calls(_, At::Holds(_))) {
                    self.drop_call(world, other);
                }
                self.halves[other].phase = Phase::Paired(half);
                Phase::Paired(other)
            }
            Some(Offer::Call(caller)) => {
                self.set_call(caller, At::Holds(half));
                Phase::Paired(caller)
            }
        };
        self.halves[half].phase = phase;
    }

    fn enter(&mut self, world: &World, half: usize) {
        let new = &mut self.halves[half];
        new.entering = false;
        new.times += 1;
        new.entered = self.clock;
        let times = new.times;
        let ticket = Named { half, times }.ticket();
        self.meet(world, world.places[half], |meet, now| {
            if world.wrong == Some(Wrong::OneOfTopic)
                && let Some((other, _)) = meet.half(&TOPIC)
            {
                meet.leaves(other);
            }
            meet.waits(TOPIC, ticket, times - 1, half, now);
        });
    }

    fn leave_meet(&mut self, world: &World, half: usize) {
        let times = self.halves[half].times;
        let ticket = Named { half, times }.ticket();
        self.meet(world, world.places[half], |meet, _| meet.leaves(ticket));
    }

    fn announce(&mut self, world: &World, router: usize) {
        let due = self.meet(world, router, |meet, now| {
            let due = std::iter::from_fn(|| meet.take_due(now).map(|(_, ticket, _)| ticket));
            due.collect::<Vec<_>>()
        });
        for named in due.into_iter().map(Named::of) {
            self.halves[named.half].announced = true;
        }
        let all = world
            .at(router)
            .all(|half| !self.halves[half].known || self.halves[half].announced);
        assert!(all, "a half is never announced");
    }

    fn hear(&mut self, world: &World, router: usize, of: Named) {
        let from = match world.wrong {
            // As if this one were the lower.
            Some(Wrong::EitherCalls) if world.places[of.half] != router => RouterId([u8::MAX; 16]),
            _ => id(world.places[of.half]),
        };
        let other = Elsewhere {
            router: from,
            ticket: of.ticket(),
            address: String::new(),
            certificate: [0; 32],
        };
        let order = self.meet(world, router, |meet, now| meet.heard(&TOPIC, &other, now));
        // Who has met at home meanwhile does not look.
        if let Some((half, Order::Call(other))) = order
            && self.halves[half].phase == Phase::Waits
        {
            self.halves[half].phase = Phase::Ordered(Named::of(other.ticket));
        }
    }
}
