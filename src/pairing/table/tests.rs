#![allow(clippy::unwrap_used, clippy::map_entry)]
use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
    time::{Duration, UNIX_EPOCH},
};

use proptest::prelude::*;

use super::*;

fn key(name: &str) -> Arc<str> {
    Arc::from(name)
}

/// Keeps nothing.
fn leaves<T>(offer: T) -> impl FnOnce() -> Result<(T, ()), Refused> {
    || Ok((offer, ()))
}

#[test]
fn a_key_pairs_again_and_again() {
    let table = Table::new(10, false);
    for round in 0..3 {
        let first = table.arrive(&key("a"), UNIX_EPOCH, leaves(round));
        assert!(matches!(first, Ok(Place::Waiting(..))));
        assert_eq!(
            table.arrive(&key("a"), UNIX_EPOCH, leaves(99)),
            Ok(Place::Paired(round))
        );
    }
    assert_eq!(table.waiting(), 0);
    assert!(table.slots.is_empty());
}

#[test]
fn an_earlier_waiter_does_not_remove_a_later_one() {
    let table = Table::new(10, false);
    let Ok(Place::Waiting(early, ())) = table.arrive(&key("a"), UNIX_EPOCH, leaves(1)) else {
        panic!("nobody waits yet");
    };
    table.arrive(&key("a"), UNIX_EPOCH, leaves(2)).unwrap();
    table.arrive(&key("a"), UNIX_EPOCH, leaves(3)).unwrap();
    assert_eq!(table.leave("a", early), None);
    assert_eq!(
        table.arrive(&key("a"), UNIX_EPOCH, leaves(4)),
        Ok(Place::Paired(3))
    );
}

#[test]
fn who_took_the_offer_back_waits_again_unless_another_does() {
    let table = Table::new(1, false);
    let Ok(Place::Waiting(ticket, ())) = table.arrive(&key("a"), UNIX_EPOCH, leaves(1)) else {
        panic!("nobody waits yet");
    };
    assert_eq!(table.leave("a", ticket), Some(1));
    assert_eq!(table.restore(&key("a"), ticket, 1), Ok(()));
    assert_eq!(table.waiting(), 1);
    let paired = table.arrive(&key("a"), UNIX_EPOCH, leaves(2));
    assert_eq!(paired, Ok(Place::Paired(1)));
    table.arrive(&key("a"), UNIX_EPOCH, leaves(3)).unwrap();
    assert_eq!(table.restore(&key("a"), ticket, 1), Err(1));
    assert_eq!(table.waiting(), 1);
}

#[test]
fn who_is_dropped_leaves() {
    let table = Arc::new(Table::new(10, false));
    let offer = Arc::new(());
    let wait = || {
        let Ok(Place::Waiting(ticket, ())) =
            table.arrive(&key("a"), UNIX_EPOCH, leaves(offer.clone()))
        else {
            panic!("nobody waits");
        };
        Waiter::new(table.clone(), key("a"), ticket)
    };
    drop(wait());
    assert_eq!((table.waiting(), table.slots.len()), (0, 0));
    assert_eq!(Arc::strong_count(&offer), 1, "what it held is free");

    let left = wait();
    assert!(left.leave().is_some());
    let early = wait();
    drop(left);
    assert_eq!(table.waiting(), 1, "only its own place");
    let paired = table.arrive(&key("a"), UNIX_EPOCH, leaves(offer.clone()));
    assert!(matches!(paired, Ok(Place::Paired(_))));
    let late = wait();
    drop(early);
    assert_eq!(table.waiting(), 1, "it has no place any more");
    drop(late);
    assert_eq!(table.waiting(), 0);
}

#[test]
fn who_finds_no_seat_leaves_nothing_behind() {
    let table: Table<u8> = Table::new(1, false);
    let full: Result<(u8, ()), _> = Err(Refused::Spent);
    let refused = table.arrive(&key("a"), UNIX_EPOCH, || full);
    assert_eq!(refused, Err(Refused::Spent));
    assert_eq!((table.waiting(), table.slots.len()), (0, 0));
    table.arrive(&key("a"), UNIX_EPOCH, leaves(1)).unwrap();
    let paired = table.arrive(&key("a"), UNIX_EPOCH, || full);
    assert_eq!(paired, Ok(Place::Paired(1)), "a partner is not asked");
}

#[test]
fn single_use_holds_until_expiry() {
    let table = Table::new(10, true);
    let expiry = UNIX_EPOCH + Duration::from_secs(10);
    table.arrive(&key("a"), expiry, leaves(1)).unwrap();
    table.arrive(&key("a"), expiry, leaves(2)).unwrap();
    assert_eq!(
        table.arrive(&key("a"), expiry, leaves(3)),
        Err(Refused::Spent)
    );
    table.expire(expiry - Duration::from_millis(1));
    assert_eq!(
        table.arrive(&key("a"), expiry, leaves(3)),
        Err(Refused::Spent)
    );
    table.expire(expiry);
    assert!(table.arrive(&key("a"), expiry, leaves(3)).is_ok());
}

#[test]
fn limits_can_change() {
    let table = Table::new(10, false);
    table.arrive(&key("a"), UNIX_EPOCH, leaves(1)).unwrap();
    table.configure(1, true);
    let refused = table.arrive(&key("b"), UNIX_EPOCH, leaves(2));
    assert_eq!(refused, Err(Refused::TooManyWaiting { limit: 1 }));
    table.arrive(&key("a"), UNIX_EPOCH, leaves(3)).unwrap();
    assert_eq!(
        table.arrive(&key("a"), UNIX_EPOCH, leaves(4)),
        Err(Refused::Spent)
    );
}

#[derive(Clone, Debug)]
enum Step {
    Arrive(u8),
    Leave(usize),
    Expire(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..4).prop_map(Step::Arrive),
        4 => (0usize..40).prop_map(Step::Leave),
        2 => (0u8..20).prop_map(Step::Expire),
    ]
}

proptest! {
    /// Against the plainest model: a map of waiters and a map of spent keys.
    #[test]
    fn behaves_as_the_model(single_use: bool, max in 1usize..4, steps in prop::collection::vec(step(), 0..80)) {
        let table = Table::new(max, single_use);
        let mut waiters: HashMap<u8, usize> = HashMap::new();
        let mut spent: HashMap<u8, u64> = HashMap::new();
        let mut tickets: Vec<(u8, Option<Ticket>)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Arrive(name) => {
                    let expiry = UNIX_EPOCH + Duration::from_secs(u64::from(name) * 5);
                    let got = table.arrive(&key(&name.to_string()), expiry, leaves(number));
                    let want = if spent.contains_key(&name) {
                        Err(Refused::Spent)
                    } else if let Some(first) = waiters.remove(&name) {
                        if single_use { spent.insert(name, u64::from(name) * 5); }
                        Ok(Place::Paired(first))
                    } else if waiters.len() == max {
                        Err(Refused::TooManyWaiting { limit: max })
                    } else {
                        waiters.insert(name, number);
                        let Ok(Place::Waiting(ticket, ())) = got else { panic!("{got:?}") };
                        while tickets.len() <= number { tickets.push((0, None)); }
                        tickets[number] = (name, Some(ticket));
                        Ok(Place::Waiting(ticket, ()))
                    };
                    prop_assert_eq!(got, want);
                }
                Step::Leave(number) => {
                    let Some(&(name, Some(ticket))) = tickets.get(number) else { continue };
                    let want = (waiters.get(&name) == Some(&number)).then(|| waiters.remove(&name)).flatten();
                    prop_assert_eq!(table.leave(&name.to_string(), ticket), want);
                }
                Step::Expire(at) => {
                    table.expire(UNIX_EPOCH + Duration::from_secs(u64::from(at)));
                    spent.retain(|_, until| *until > u64::from(at));
                }
            }
            prop_assert_eq!(table.waiting(), waiters.len());
            prop_assert_eq!(table.slots.len(), waiters.len() + spent.len());
        }
    }
}

#[test]
fn every_offer_is_taken_exactly_once_under_contention() {
    let table = Table::new(1000, false);
    let taken = Mutex::new(Vec::new());
    let left = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (table, taken, left) = (&table, &taken, &left);
            scope.spawn(move || {
                for round in 0..2_000u32 {
                    let id = thread * 2_000 + round;
                    let name = (round % 3).to_string();
                    match table.arrive(&key(&name), UNIX_EPOCH, leaves(id)) {
                        Ok(Place::Paired(other)) => {
                            taken.lock().unwrap().extend([other, id]);
                        }
                        Ok(Place::Waiting(ticket, ())) if round % 5 == 0 => {
                            if let Some(own) = table.leave(&name, ticket) {
                                assert_eq!(own, id);
                                left.lock().unwrap().push(own);
                            }
                        }
                        Ok(Place::Waiting(..)) => {}
                        Err(refused) => panic!("{refused}"),
                    }
                }
            });
        }
    });
    let mut all = taken.into_inner().unwrap();
    all.extend(left.into_inner().unwrap());
    let distinct: HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "somebody was given away twice");
    assert_eq!(all.len() + table.waiting(), 8_000);
}
