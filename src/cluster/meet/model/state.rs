//! Holds a state of the model: what routers, halves and the bus are about.

use std::{rc::Rc, time::Duration};

use tokio::time::Instant;

use super::super::{Meet, RouterId, Ticket, Topic};

pub(super) const ROUTERS: usize = 3;
pub(super) const HALVES: usize = 5;
pub(super) const TOPIC: Topic = Topic([7; 32]);

/// Says what is explored, and what may happen in it.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub start: Instant,
    pub routers: usize,
    /// Where each half arrives.
    pub places: Vec<usize>,
    /// So many routers may be killed.
    pub kills: usize,
    /// Calls may break.
    pub breaks: bool,
    /// Peers may leave.
    pub leaves: bool,
    /// This router is not connected to the bus.
    pub off: Option<usize>,
    pub wrong: Option<Wrong>,
}

/// Says which rule the routers break, to see that the model notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Whoever hears of the other first calls.
    EitherCalls,
    /// A half is announced before it is in the table.
    MeetBeforeTable,
    /// After a failed call it is in the table, but not announced again.
    SilentAfterFailure,
    /// Who calls in vain waits there.
    CalleeLetsWait,
    /// Who calls may be taken meanwhile.
    Unreserved,
    /// `Meet` has one half of a topic, the one that came last.
    OneOfTopic,
}

/// Names one waiting of one half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub half: usize,
    pub times: u32,
}

impl Named {
    pub(super) fn ticket(self) -> Ticket {
        let mut bytes = [0; 16];
        bytes[0] = self.half as u8;
        bytes[1..5].copy_from_slice(&self.times.to_be_bytes());
        Ticket(bytes)
    }

    pub(super) fn of(ticket: Ticket) -> Self {
        let [half, a, b, c, d, ..] = ticket.0;
        Self {
            half: half.into(),
            times: u32::from_be_bytes([a, b, c, d]),
        }
    }
}

/// How far a call has come at the callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// The request is on its way.
    Coming,
    /// The half is out of `Meet`, and next out of the table.
    Taking,
    /// It has this half; the answer is on its way.
    Holds(usize),
    /// It waits in the table. Only if that is what goes wrong.
    Sits,
    /// It has nobody, or is gone: the caller will see.
    No,
    /// It had a half, which has ended: the caller may see that as an answer and an end, or as a call that broke.
    Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Away,
    /// In `Meet`, not yet in the table. Only if that is what goes wrong.
    Comes,
    /// In the table.
    Waits,
    /// In the table, told to call.
    Ordered(Named),
    /// Out of the table.
    Calls(Named, At),
    /// Its call has failed; it is not yet back in the table.
    Restores,
    Paired(usize),
    /// The other side is gone, which it will be told.
    Parted,
    /// Left, or was told that the other side did, or lost its router.
    Ended,
}

/// What waits in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Half(usize),
    Call(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Half {
    pub phase: Phase,
    /// How often it came into `Meet`.
    pub times: u32,
    /// When it did last.
    pub entered: u32,
    /// It is about to come into `Meet`: its task does so next, whatever happens meanwhile.
    pub entering: bool,
    /// It is in `Meet`.
    pub known: bool,
    /// An announcement with its ticket is in flight.
    pub announced: bool,
    /// A call with its ticket is on its way whose caller has given up.
    pub late: bool,
    /// Such a call has taken it out of `Meet`, and will out of the table.
    pub taking: bool,
}

/// Holds all that is true at one time. What was announced stays in flight: who hears it, how often and when, is open. So it
/// may be lost, doubled and late, in any order.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Hours: all is due, nobody is deaf, nobody is unreached.
    pub clock: u32,
    pub alive: [bool; ROUTERS],
    pub table: [Option<Offer>; ROUTERS],
    pub meet: [Rc<Meet<usize>>; ROUTERS],
    pub halves: [Half; HALVES],
    /// Announcements with tickets that are good no more are in flight from here.
    pub spent: [bool; ROUTERS],
}

impl State {
    pub(super) fn new() -> Self {
        let half = Half {
            phase: Phase::Away,
            times: 0,
            entered: 0,
            entering: false,
            known: false,
            announced: false,
            late: false,
            taking: false,
        };
        Self {
            clock: 0,
            alive: [true; ROUTERS],
            table: [None; ROUTERS],
            meet: std::array::from_fn(|router| Rc::new(Meet::new(id(router)))),
            halves: [half; HALVES],
            spent: [false; ROUTERS],
        }
    }

    /// Does something with a router's `Meet`, and looks who is in it afterwards.
    pub(super) fn meet<R>(
        &mut self,
        world: &World,
        router: usize,
        act: impl FnOnce(&mut Meet<usize>, Instant) -> R,
    ) -> R {
        self.clock += 1;
        let now = world.start + Duration::from_hours(self.clock.into());
        let meet = Rc::make_mut(&mut self.meet[router]);
        let done = act(meet, now);
        self.look(world, router);
        done
    }

    /// A router has no memory any more.
    pub(super) fn forget(&mut self, world: &World, router: usize) {
        self.alive[router] = false;
        self.table[router] = None;
        self.meet[router] = Rc::new(Meet::new(id(router)));
        self.look(world, router);
    }

    fn look(&mut self, world: &World, router: usize) {
        let meet = &self.meet[router];
        let mut known = 0;
        for (number, half) in self.halves.iter_mut().enumerate() {
            if world.places.get(number) != Some(&router) {
                continue;
            }
            let times = half.times;
            let ticket = Named {
                half: number,
                times,
            }
            .ticket();
            half.known = meet.of(ticket).is_some();
            known += usize::from(half.known);
            if !half.known {
                self.spent[router] |= std::mem::take(&mut half.announced);
                half.late = false;
            }
        }
        // Also what is not told apart by `key`.
        let all = [meet.halves.len(), meet.topics.len(), meet.due.len()];
        assert_eq!(all, [known; 3], "something is left behind");
    }

    pub(super) fn is_good(&self, named: Named) -> bool {
        let half = &self.halves[named.half];
        half.known && half.times == named.times
    }

    /// Tells whether a call is just taking this half.
    pub(super) fn is_being_taken(&self, half: usize) -> bool {
        let takes = |other: &Half| matches!(other.phase, Phase::Calls(named, At::Taking) if named.half == half);
        self.halves[half].taking || self.halves.iter().any(takes)
    }

    /// Tells whether anybody would act on what this router announces.
    pub(super) fn is_heard(&self, world: &World, from: usize) -> bool {
        world.off != Some(from)
            && (0..world.routers).any(|to| {
                to != from
                    && (to < from || world.wrong == Some(Wrong::EitherCalls))
                    && self.listens(world, to)
            })
    }

    fn listens(&self, world: &World, router: usize) -> bool {
        let may_wait = |phase| !matches!(phase, Phase::Paired(_) | Phase::Parted | Phase::Ended);
        self.alive[router]
            && world.off != Some(router)
            && world
                .at(router)
                .any(|half| may_wait(self.halves[half].phase))
    }
}

impl World {
    /// The halves that arrive at this router.
    pub(super) fn at(&self, router: usize) -> impl Iterator<Item = usize> + '_ {
        let here = move |half: &usize| self.places[*half] == router;
        (0..self.places.len()).filter(here)
    }
}

pub(super) fn id(router: usize) -> RouterId {
    RouterId([router as u8 + 1; 16])
}
