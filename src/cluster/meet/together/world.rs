//! Holds routers, halves and calls between them, as plain as can be around tables and `Meet`s that are real.

#![allow(clippy::unwrap_used)]

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use tokio::time::Instant;

use super::super::{Elsewhere, Meet, Order, RouterId, Ticket, Topic, UNREACHED};
use crate::pairing::table::{Place, Refused, Table, Ticket as Seat};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    /// In the table and in `Meet`.
    Waits(Seat, Ticket),
    /// Part of a call, on either side.
    Calls,
    Paired(usize),
    /// Its peer left, it was told that the other side did, or that it is not reached.
    Ended,
}

#[derive(Debug)]
pub(super) struct Half {
    pub(super) router: usize,
    pub(super) subject: u8,
    pub(super) failed: u32,
    /// When it came into `Meet`.
    pub(super) since: Instant,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) struct Call {
    /// `None` if it has given up.
    pub(super) caller: Option<usize>,
    pub(super) to: usize,
    pub(super) subject: u8,
    pub(super) ticket: Ticket,
    pub(super) answer: Answer,
}

/// What the callee has said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    NotYet,
    Half(usize),
    Nobody,
}

pub(super) struct Router {
    pub(super) table: Table<usize>,
    pub(super) meet: Meet<usize>,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) routers: Vec<Router>,
    pub(super) halves: Vec<Half>,
    pub(super) calls: Vec<Call>,
    /// To which router, about what, and where that is.
    pub(super) flight: Vec<(usize, u8, Elsewhere)>,
    pub(super) tickets: u128,
    /// These two do not reach each other.
    pub(super) cut: Option<[usize; 2]>,
}

pub(super) fn key(subject: u8) -> Arc<str> {
    Arc::from(subject.to_string())
}

pub(super) fn topic(subject: u8) -> Topic {
    Topic([subject; 32])
}

impl World {
    pub(super) fn new(routers: u8) -> Self {
        let router = |number| Router {
            table: Table::new(1_000, false),
            meet: Meet::new(RouterId([number; 16])),
        };
        Self {
            now: Instant::now(),
            routers: (0..routers).map(router).collect(),
            halves: Vec::new(),
            calls: Vec::new(),
            flight: Vec::new(),
            tickets: 0,
            cut: None,
        }
    }

    pub(super) fn arrive(&mut self, router: usize, subject: u8) {
        self.halves.push(Half {
            router,
            subject,
            failed: 0,
            since: self.now,
            phase: Phase::Calls,
        });
        self.seek(self.halves.len() - 1);
    }

    /// A half takes the offer of one that waits, or waits. So does one whose call has failed.
    pub(super) fn seek(&mut self, number: usize) {
        let half = &self.halves[number];
        let router = &mut self.routers[half.router];
        let offer = || Ok::<_, Refused>((number, ()));
        match router
            .table
            .arrive(&key(half.subject), UNIX_EPOCH, offer)
            .unwrap()
        {
            Place::Paired(other) => self.pair(number, other),
            Place::Waiting(seat, ()) => {
                self.tickets += 1;
                let ticket = Ticket(
                    self.tickets
                        .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39d)
                        .to_le_bytes(),
                );
                router
                    .meet
                    .waits(topic(half.subject), ticket, half.failed, number, self.now);
                self.halves[number].since = self.now;
                self.halves[number].phase = Phase::Waits(seat, ticket);
            }
        }
    }

    /// `second` was given away by a table.
    pub(super) fn pair(&mut self, first: usize, second: usize) {
        let Phase::Waits(_, ticket) = self.halves[second].phase else {
            panic!(
                "{second} was given away, but does not wait: {:?}",
                self.halves[second]
            );
        };
        self.routers[self.halves[second].router].meet.leaves(ticket);
        self.halves[first].phase = Phase::Paired(second);
        self.halves[second].phase = Phase::Paired(first);
    }

    pub(super) fn pass(&mut self, long: Duration) {
        self.now += long;
        for from in 0..self.routers.len() {
            while let Some((_, ticket, half)) = self.routers[from].meet.take_due(self.now) {
                let subject = self.halves[*half].subject;
                let elsewhere = Elsewhere {
                    router: RouterId([from as u8; 16]),
                    ticket,
                    address: from.to_string(),
                    certificate: [0; 32],
                };
                // The sender hears it too.
                let all = (0..self.routers.len()).map(|to| (to, subject, elsewhere.clone()));
                self.flight.extend(all);
            }
        }
    }

    pub(super) fn hear(&mut self, (to, subject, other): (usize, u8, Elsewhere)) {
        let Router { table, meet } = &mut self.routers[to];
        let waited = meet.half(&topic(subject)).map(|(ticket, _)| ticket);
        let Some((half, order)) = meet.heard(&topic(subject), &other, self.now) else {
            return;
        };
        let Phase::Waits(seat, ticket) = self.halves[half].phase else {
            panic!("{half} does not wait");
        };
        assert_eq!(waited, Some(ticket));
        assert_eq!(table.leave(&key(subject), seat), Some(half));
        self.halves[half].phase = match order {
            Order::Unreached => {
                assert!(self.now - self.halves[half].since >= UNREACHED);
                Phase::Ended
            }
            Order::Call(other) => {
                assert!(other.router > RouterId([to as u8; 16]), "the lower calls");
                self.calls.push(Call {
                    caller: Some(half),
                    to: other.address.parse().unwrap(),
                    subject,
                    ticket: other.ticket,
                    answer: Answer::NotYet,
                });
                Phase::Calls
            }
        };
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        let apart = |cut: [usize; 2]| cut.contains(&from) && cut.contains(&to);
        from != to && self.cut.is_some_and(apart)
    }

    pub(super) fn go(&mut self, which: usize) {
        if self.calls[which].answer == Answer::NotYet {
            self.calls[which].answer = self.request(which);
            return;
        }
        let call = self.calls.swap_remove(which);
        match (call.caller, call.answer) {
            (Some(caller), Answer::Half(half)) => {
                self.halves[caller].phase = Phase::Paired(half);
                self.halves[half].phase = Phase::Paired(caller);
            }
            (Some(caller), _) => {
                self.halves[caller].failed += 1;
                self.seek(caller);
            }
            (None, Answer::Half(half)) => self.halves[half].phase = Phase::Ended,
            (None, _) => {}
        }
    }

    /// The callee takes the half of the ticket.
    fn request(&mut self, which: usize) -> Answer {
        let call = &self.calls[which];
        if call
            .caller
            .is_some_and(|caller| self.is_cut(self.halves[caller].router, call.to))
        {
            return Answer::Nobody;
        }
        let Router { table, meet } = &mut self.routers[call.to];
        let Some(half) = meet.leaves(call.ticket) else {
            return Answer::Nobody;
        };
        let Phase::Waits(seat, _) = self.halves[half].phase else {
            panic!("{half} does not wait");
        };
        assert_eq!(table.leave(&key(call.subject), seat), Some(half));
        self.halves[half].phase = Phase::Calls;
        Answer::Half(half)
    }

    pub(super) fn give_up(&mut self, which: usize) {
        let call = &mut self.calls[which];
        call.caller = None;
        if call.answer != Answer::NotYet {
            // The callee sees it as well.
            self.go(which);
        }
    }

    pub(super) fn leave(&mut self, half: usize) {
        let Half {
            router,
            subject,
            phase,
            ..
        } = self.halves[half];
        match phase {
            Phase::Waits(seat, ticket) => {
                let Router { table, meet } = &mut self.routers[router];
                assert_eq!(table.leave(&key(subject), seat), Some(half));
                assert_eq!(meet.leaves(ticket), Some(half));
            }
            Phase::Calls => {
                let own = |call: &Call| call.caller == Some(half);
                if let Some(call) = self.calls.iter().position(own) {
                    self.give_up(call);
                }
                // Or it is called, by one that does not know of it yet.
                let calls_it = |call: &&mut Call| call.answer == Answer::Half(half);
                if let Some(call) = self.calls.iter_mut().find(calls_it) {
                    call.answer = Answer::Nobody;
                }
            }
            Phase::Paired(other) => self.halves[other].phase = Phase::Ended,
            Phase::Ended => return,
        }
        self.halves[half].phase = Phase::Ended;
    }
}
