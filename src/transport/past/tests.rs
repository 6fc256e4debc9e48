#![allow(clippy::unwrap_used)]

use tokio::time::Instant;

use super::*;
use crate::{
    cluster::meet::RouterId,
    splice::{ending::Cause, scanner::Fault},
    transport::streams::{EntryPermit, OtherRouter, Streams},
};

fn enter(streams: &Arc<Streams>, subject: &str, first: Option<u64>) -> EntryPermit {
    let (peer, certificate) = ([192, 0, 2, 1].into(), Some("CN=lab-7".into()));
    let arrived = Instant::now();
    let permit = streams.enter(subject.into(), peer, certificate, arrived, Arc::default());
    if let Some(first) = first {
        permit.entry.set_first(first);
    }
    permit
}

fn end(entry: &StreamEntry, ending: Ending, waited: Option<u64>, seconds: u64) -> End<'_> {
    End {
        entry,
        totals: Totals {
            bytes_in: entry.id,
            ..Totals::default()
        },
        ending,
        told: true,
        waited: waited.map(Duration::from_secs),
        duration: Duration::from_secs(seconds),
    }
}

fn kept() -> Past {
    let past = Past::default();
    past.keep();
    past
}

/// A pair of which the first waited 5 s; the sides end in this order, each as it is said, after so many seconds.
fn pair(ends: [(Place, Ending, u64); 2]) -> Ended {
    let (past, streams) = (kept(), Arc::default());
    let first = enter(&streams, "s", None);
    let second = enter(&streams, "s", Some(first.entry.id));
    for (place, ending, seconds) in ends {
        let (entry, waited) = match place {
            Place::First => (&first.entry, 5),
            Place::Second => (&second.entry, 0),
        };
        past.end(&end(entry, ending, Some(waited), seconds), Level::Normal);
    }
    let mut ended = past.ended();
    assert_eq!(ended.len(), 1, "a pair is one entry");
    ended.remove(0)
}

#[test]
fn a_pair_is_one_entry_whoever_ends_first() {
    use Place::{First, Second};
    let lost = Ending::from(Cause::Lost);
    for (ends, by, duration) in [
        ([(First, lost, 9), (Second, lost.for_other(), 4)], First, 9),
        ([(Second, lost.for_other(), 5), (First, lost, 9)], First, 10),
        ([(Second, lost, 4), (First, lost.for_other(), 9)], Second, 9),
        (
            [(First, lost.for_other(), 9), (Second, lost, 6)],
            Second,
            11,
        ),
    ] {
        let ended = pair(ends);
        assert_eq!(ended.ended_by(), Some(by), "{ends:?}");
        assert_eq!(
            ended.ending, lost,
            "what happened, not what its partner was told"
        );
        assert_eq!(ended.waited, Some(Duration::from_secs(5)));
        assert_eq!(ended.duration, Duration::from_secs(duration), "{ends:?}");
        let bytes = ended.sides.map(|side| side.unwrap().totals.bytes_in);
        assert_eq!(bytes, [1, 2], "in the order of arrival");
    }
    let drained = Ending::from(Cause::Draining);
    let ended = pair([(First, drained, 9), (Second, drained, 4)]);
    assert_eq!((ended.ended_by(), ended.ending), (None, drained));
    // One side had all it wanted, and the other was lost before it was told so.
    let completed = Ending::from(Cause::Completed);
    let ended = pair([(First, completed, 9), (Second, lost, 4)]);
    assert_eq!((ended.ended_by(), ended.ending), (Some(Second), lost));
}

#[test]
fn who_waited_in_vain_has_one_side() {
    let (past, streams) = (kept(), Arc::default());
    let alone = enter(&streams, "s", None);
    let ending = Cause::Unpaired(Duration::from_secs(120)).into();
    past.end(&end(&alone.entry, ending, None, 120), Level::Normal);
    let [ended] = &past.ended()[..] else {
        panic!("one entry")
    };
    assert!(!ended.paired && ended.waited.is_none() && ended.sides[1].is_none());
    assert_eq!(ended.ended_by(), None, "the router");
}

#[test]
fn nothing_is_kept_where_nobody_can_look() {
    let (past, streams) = (Past::default(), Arc::default());
    let alone = enter(&streams, "s", None);
    past.end(
        &end(&alone.entry, Cause::Lost.into(), None, 1),
        Level::Normal,
    );
    assert!(past.ended().is_empty());
}

fn refuse(past: &Past, address: [u8; 16], cause: &'static str, reason: &str, level: Level) {
    let refusal = Refusal {
        subject: None,
        names: None,
        address: address.into(),
        certificate: None,
        cause,
        code: Code::Unauthenticated,
        reason,
    };
    past.refuse(&refusal, level);
}

/// An address of one's own network of 64 bits for each number.
fn network_of(number: u32) -> [u8; 16] {
    let mut address = [0; 16];
    (address[0], address[15]) = (0x20, 1);
    address[4..8].copy_from_slice(&number.to_be_bytes());
    address
}

#[test]
fn refusals_are_counted_together_and_push_out_nothing_that_has_ended() {
    let (past, streams) = (kept(), Arc::default());
    let alone = enter(&streams, "s", None);
    past.end(
        &end(&alone.entry, Cause::Lost.into(), None, 1),
        Level::Normal,
    );
    for number in 0..5_000 {
        refuse(&past, network_of(7), "signature", "no", Level::Normal);
        // Another host of the same network is the same.
        let mut other = network_of(7);
        other[14] = (number % 256) as u8;
        refuse(&past, other, "signature", "no, really", Level::Normal);
        refuse(
            &past,
            network_of(number),
            "expired",
            "too late",
            Level::Normal,
        );
    }
    let refused = past.refused();
    assert_eq!(refused.len(), MOST);
    let repeated = refused.iter().find(|one| one.cause == "signature").unwrap();
    assert_eq!((repeated.count, &*repeated.reason), (10_000, "no, really"));
    assert!(repeated.since <= repeated.until);
    let newest = refused.last().unwrap().address;
    assert_eq!(newest, IpAddr::from(network_of(4_999)));
    assert_eq!(past.ended().len(), 1, "what has ended is still there");
}

#[test]
fn what_peers_choose_is_bounded_in_bytes() {
    let (past, streams) = (kept(), Arc::default());
    let (subject, reason) = ("s".repeat(6_000), "r".repeat(3_000));
    for number in 0..2_000 {
        let alone = enter(&streams, &subject, None);
        past.end(
            &end(&alone.entry, Cause::Lost.into(), None, 1),
            Level::Normal,
        );
        refuse(&past, network_of(number), "memory", &reason, Level::Normal);
    }
    let bytes: usize = past.ended().iter().map(|ended| ended.subject.len()).sum();
    assert!((1 << 20..=2 << 20).contains(&bytes), "{bytes}");
    let bytes: usize = past.refused().iter().map(|one| one.reason.len()).sum();
    assert!((1 << 20..=2 << 20).contains(&bytes), "{bytes}");
}

#[test]
fn when_memory_is_short_the_newest_tenth_is_kept() {
    let (past, streams) = (kept(), Arc::default());
    let add = |number, level| {
        let alone = enter(&streams, "s", None);
        past.end(&end(&alone.entry, Cause::MemoryIdle.into(), None, 1), level);
        refuse(&past, network_of(number), "memory", "no", level);
    };
    (0..1_200).for_each(|number| add(number, Level::Normal));
    assert_eq!((past.ended().len(), past.refused().len()), (MOST, MOST));
    add(1_200, Level::NoGrowth);
    let ended = past.ended();
    assert!((50..=MOST / 10).contains(&ended.len()), "{}", ended.len());
    assert_eq!(ended.last().unwrap().id, 1_201);
    past.give_way();
    assert!(past.refused().len() <= MOST / 10);
}

#[test]
fn names_reach_what_has_ended_what_is_served_and_what_is_to_come() {
    let (past, streams) = (kept(), Arc::<Streams>::default());
    let early = enter(&streams, "s", None);
    let other = enter(&streams, "other", None);
    past.end(
        &end(&early.entry, Cause::Lost.into(), None, 1),
        Level::Normal,
    );
    let names = Arc::new(Names {
        client: Some("me".into()),
        ..Names::default()
    });
    streams.name("s", Some(&names));
    past.name("s", Some(&names));
    let late = enter(&streams, "s", None);
    for entry in [&early.entry, &late.entry] {
        assert_eq!(entry.names(), Some(names.clone()));
    }
    assert_eq!(past.ended()[0].names, Some(names.clone()));
    assert_eq!(other.entry.names(), None);
    // Others are told of until these are forgotten; who is served keeps them.
    for number in 0..11_000 {
        streams.name(&format!("{number}"), Some(&names));
    }
    assert_eq!(enter(&streams, "s", None).entry.names(), None);
    assert_eq!(late.entry.names(), Some(names.clone()));
    assert_eq!(enter(&streams, "10999", None).entry.names(), Some(names));
    streams.name("s", None);
    assert_eq!(late.entry.names(), None, "taken away");
}

#[test]
fn the_other_router_is_named() {
    let (past, streams) = (kept(), Arc::default());
    let first = enter(&streams, "s", None);
    let second = enter(&streams, "s", Some(first.entry.id));
    let router = Arc::new(OtherRouter {
        id: RouterId([7; 16]),
        address: "r:8084".to_owned(),
    });
    for entry in [&first.entry, &second.entry] {
        entry.set_other_router(&router);
    }
    let fault = Cause::Fault(Fault::UnknownFlag { flag: 9 });
    past.end(&end(&first.entry, fault.into(), Some(5), 9), Level::Normal);
    past.end(
        &end(&second.entry, Ending::from(fault).for_other(), Some(0), 4),
        Level::Normal,
    );
    let sides = past.ended().remove(0).sides.map(Option::unwrap);
    assert!(sides[0].router.is_none(), "that one is a peer");
    assert_eq!(sides[1].router.as_ref().unwrap().address, "r:8084");
}

#[test]
fn bytes_of_who_has_left_are_counted_once() {
    let streams = Arc::<Streams>::default();
    let (stays, leaves, relay) = (
        enter(&streams, "s", None),
        enter(&streams, "s", None),
        enter(&streams, "s", None),
    );
    relay.entry.set_relay();
    let totals = |bytes_in, bytes_out| Totals {
        bytes_in,
        bytes_out,
        ..Totals::default()
    };
    let sample = || streams.sample(Duration::from_secs(1), 0);
    for permit in [&stays, &leaves, &relay] {
        permit.entry.control.count(&totals(1_000, 500));
    }
    assert_eq!(
        sample(),
        (2_000, 1_000),
        "a relay's peer is counted elsewhere"
    );
    assert_eq!(sample(), (0, 0));
    stays.entry.control.count(&totals(1_001, 502));
    leaves.entry.control.count(&totals(1_005, 505));
    streams.leave(&leaves.entry, &totals(1_010, 510));
    drop(leaves);
    assert_eq!(sample(), (11, 12));
}
