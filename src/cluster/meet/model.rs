//! Explores all that can happen to a few halves at a few routers.
//!
//! [`Meet`](super::Meet) is the real one. What surrounds it is small and plain: for each router a table with one place, for
//! each half what its task would do, and a bus on which every announcement stays in flight for ever. Time is left out: all is
//! due, and no call has failed lately.

#![allow(
    clippy::print_stdout,
    reason = "what was explored, for who runs it by hand"
)]

use std::collections::{HashMap, HashSet, VecDeque, hash_map::Entry};

use tokio::time::Instant;

use self::{
    state::{HALVES, State, World, Wrong},
    steps::Step,
};

mod calls;
mod check;
mod key;
mod state;
mod steps;

/// Holds what was found on the way, and how one gets there.
#[derive(Default)]
struct Explored {
    numbers: HashMap<u128, u32>,
    /// The state before, and the step from there.
    before: Vec<Option<(u32, Step)>>,
    /// What follows for sure: state, next state.
    sure: Vec<(u32, u32)>,
    ends: Vec<u32>,
}

impl Explored {
    /// Numbers a state. The second is true if it is new.
    fn number(&mut self, key: u128, before: Option<(u32, Step)>) -> (u32, bool) {
        let next = self.before.len() as u32;
        match self.numbers.entry(key) {
            Entry::Occupied(known) => (*known.get(), false),
            Entry::Vacant(new) => {
                new.insert(next);
                self.before.push(before);
                (next, true)
            }
        }
    }

    fn way(&self, to: u32) -> String {
        let mut way = Vec::new();
        let mut at = to;
        while let Some((before, step)) = self.before[at as usize] {
            way.push(format!("{step:?}"));
            at = before;
        }
        way.reverse();
        way.join(", ")
    }

    /// Finds a state from which sure steps lead back to it.
    fn endless(&self) -> Option<u32> {
        let mut open = vec![0_u32; self.before.len()];
        let mut to = self.sure.clone();
        to.sort_unstable_by_key(|(_, next)| *next);
        for (from, _) in &to {
            open[*from as usize] += 1;
        }
        let mut settled = self.ends.clone();
        let mut left = self.before.len();
        while let Some(next) = settled.pop() {
            left -= 1;
            let first = to.partition_point(|(_, to)| *to < next);
            for (from, _) in to[first..].iter().take_while(|(_, to)| *to == next) {
                open[*from as usize] -= 1;
                if open[*from as usize] == 0 {
                    settled.push(*from);
                }
            }
        }
        // What can be left by sure steps only to another of the same kind.
        let mut at = open.iter().position(|open| *open > 0).unwrap_or(0) as u32;
        let mut seen = HashSet::new();
        while left > 0 && seen.insert(at) {
            let first = self.sure.partition_point(|(from, _)| *from < at);
            let next = self.sure[first..]
                .iter()
                .find(|(_, to)| open[*to as usize] > 0);
            at = next.map_or(at, |(_, to)| *to);
        }
        (left > 0).then_some(at)
    }
}

/// Goes through all states. Counts them, or says what is wrong and how it comes to that.
fn explore(world: &World) -> Result<usize, String> {
    let steps = Step::all(world);
    let mut explored = Explored::default();
    let first = State::new();
    let (number, _) = explored.number(first.key(world), None);
    let mut queue = VecDeque::from([(number, first)]);
    while let Some((number, state)) = queue.pop_front() {
        let told =
            |explored: &Explored, wrong, at| format!("{wrong}: {world:?}: {}", explored.way(at));
        let mut ends = true;
        for step in &steps {
            let Some(next) = state.after(world, *step) else {
                continue;
            };
            let (to, new) = explored.number(next.key(world), Some((number, *step)));
            // Who hears and has nothing to do.
            if to == number {
                continue;
            }
            if step.is_sure() {
                ends = false;
                explored.sure.push((number, to));
            }
            if new {
                next.check(world)
                    .map_err(|wrong| told(&explored, wrong, to))?;
                queue.push_back((to, next));
            }
        }
        if ends {
            state
                .check_end(world)
                .map_err(|wrong| told(&explored, wrong, number))?;
            explored.ends.push(number);
        }
    }
    if let Some(endless) = explored.endless() {
        return Err(format!(
            "round and round: {world:?}: {}",
            explored.way(endless)
        ));
    }
    Ok(explored.before.len())
}

/// Gives all ways in which so many halves can arrive at so many routers.
fn placements(routers: usize, halves: usize) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..halves {
        let longer = all.iter().flat_map(|places| {
            let from = places.last().copied().unwrap_or(0);
            (from..routers).map(move |router| [&places[..], &[router]].concat())
        });
        all = longer.collect();
    }
    all
}

fn world(routers: usize, places: Vec<usize>) -> World {
    World {
        start: Instant::now(),
        routers,
        places,
        kills: routers - 1,
        breaks: true,
        leaves: true,
        off: None,
        wrong: None,
    }
}

/// Explores all placements of so many halves, in a world that `change` has changed.
fn all(routers: usize, halves: usize, change: impl Fn(&mut World)) -> Result<usize, String> {
    let placed = placements(routers, halves).into_iter().map(|places| {
        let mut world = world(routers, places);
        change(&mut world);
        explore(&world)
    });
    placed.sum()
}

fn holds(routers: usize, halves: usize, change: impl Fn(&mut World)) {
    let begun = Instant::now();
    let states = all(routers, halves, change).unwrap_or_else(|wrong| panic!("{wrong}"));
    let long = begun.elapsed();
    println!("{routers} routers, {halves} halves: {states} states in {long:.1?}");
}

fn is_found(wrong: Wrong, what: &str) {
    let found =
        all(3, 3, |world| world.wrong = Some(wrong)).map_or_else(|found| found, |_| String::new());
    println!("{found}");
    assert!(found.contains(what), "{wrong:?}: {found:?}");
}

/// So many halves, at most. `MODEL_HALVES=4` asks for a longer form, which takes half a minute; with 5 it is half an hour, and
/// with `--release` some minutes.
fn most(usual: usize) -> usize {
    let asked = std::env::var("MODEL_HALVES").ok();
    let most = asked.map_or(usual, |most| most.parse().unwrap_or(usual));
    most.min(HALVES)
}

#[test]
fn two_routers() {
    for halves in 2..=most(4) {
        holds(2, halves, |_| {});
    }
}

#[test]
fn three_routers() {
    for halves in 2..=most(3) {
        holds(3, halves, |_| {});
    }
}

#[test]
fn one_of_three_is_not_connected_to_the_bus() {
    for off in 0..3 {
        holds(3, 3, |world| world.off = Some(off));
    }
}

#[test]
fn where_nothing_fails_nobody_ends() {
    holds(3, 4, |world| {
        world.kills = 0;
        world.breaks = false;
        world.leaves = false;
    });
}

#[test]
fn both_call_and_nobody_is_called() {
    is_found(Wrong::EitherCalls, "round and round");
}

#[test]
fn who_is_announced_before_it_can_be_taken_is_never_found() {
    is_found(Wrong::MeetBeforeTable, "is lost");
}

#[test]
fn who_is_silent_after_a_failed_call_is_never_found() {
    is_found(Wrong::SilentAfterFailure, "is lost");
}

#[test]
fn who_may_wait_where_it_calls_is_never_found() {
    is_found(Wrong::CalleeLetsWait, "wait for ever");
}

#[test]
fn who_can_be_taken_while_it_calls_is_in_two_pairs() {
    is_found(Wrong::Unreserved, "in two pairs");
}

#[test]
fn who_comes_late_into_meet_would_push_out_the_one_that_waits() {
    is_found(Wrong::OneOfTopic, "is lost");
}
