#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    lab::selector::{Labels, Selector},
    protocol::v1::ExporterStatus,
};

const NOW: Time = Duration::from_secs(1_000_000);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Exporters `x1` and `x2` with board=x, `y` with board=y, `off` with board=off that is disabled.
fn lab() -> Leases {
    let exporter = |board, enabled| {
        Exporter::new(
            labels(&[("board", board)]),
            enabled,
            format!("uuid of {board}"),
        )
    };
    let all = [
        ("x1", exporter("x", true)),
        ("x2", exporter("x", true)),
        ("y", exporter("y", true)),
        ("off", exporter("off", false)),
    ];
    Leases::new(all.map(|(name, e)| (name.to_owned(), e)).into())
}

/// The same, all of them connected and available.
fn open() -> Leases {
    let mut lab = lab();
    for name in ["x1", "x2", "y", "off"] {
        lab.connect(name, NOW).unwrap();
        lab.report(name, ExporterStatus::Available, String::new(), NOW)
            .unwrap();
    }
    lab
}

fn wish(selector: &str, duration: u64) -> Terms {
    Terms {
        selector: Selector::parse(selector).unwrap(),
        duration: seconds(duration),
        ..Terms::default()
    }
}

fn named(exporter: &str, duration: u64) -> Terms {
    Terms {
        exporter: Some(exporter.to_owned()),
        ..wish("", duration)
    }
}

fn request(lab: &mut Leases, name: &str, terms: Terms, now: Time) {
    lab.request("me", name, terms, now).unwrap();
}

fn holder<'a>(lab: &'a Leases, name: &str) -> Option<&'a str> {
    lab.lease(name).unwrap().holds()
}

/// What ended the lease, and when.
fn end(lab: &Leases, name: &str) -> (End, Time) {
    match &lab.lease(name).unwrap().phase {
        Phase::Ended { why, at, .. } => (why.clone(), *at),
        other => panic!("{name} has not ended: {other:?}"),
    }
}

fn reason(lab: &Leases, name: &str) -> String {
    match end(lab, name).0 {
        End::Unsatisfiable { reason, message } => format!("{reason}: {message}"),
        other => panic!("{name} ended otherwise: {other:?}"),
    }
}

#[test]
fn leases_are_given_in_the_order_they_were_wanted() {
    let mut lab = open();
    for name in ["a", "b", "c", "d"] {
        request(&mut lab, name, wish("board=x", 60), NOW);
    }
    assert_eq!(holder(&lab, "a"), Some("x1"));
    assert_eq!(holder(&lab, "b"), Some("x2"));
    assert_eq!((holder(&lab, "c"), holder(&lab, "d")), (None, None));
    let wait = lab.why_waiting(lab.lease("c").unwrap(), NOW);
    assert_eq!(wait.0, "NotAvailable");

    // Released, but the exporter has not tidied up.
    lab.report("x2", ExporterStatus::LeaseReady, String::new(), NOW)
        .unwrap();
    assert_eq!(lab.release("b", NOW), Ok(true));
    assert_eq!(lab.release("b", NOW), Ok(false));
    assert_eq!(holder(&lab, "c"), None);
    let wait = lab.why_waiting(lab.lease("c").unwrap(), NOW);
    assert_eq!(wait.0, "NotReady");
    lab.report("x2", ExporterStatus::Available, String::new(), NOW)
        .unwrap();
    assert_eq!(holder(&lab, "c"), Some("x2"));
    assert_eq!(holder(&lab, "d"), None);
}

#[test]
fn a_lease_ends_when_its_time_is_up_and_the_next_begins() {
    let mut lab = open();
    request(&mut lab, "a", named("y", 60), NOW);
    request(&mut lab, "b", wish("board=y", 60), NOW);
    assert_eq!(lab.next_deadline(NOW), Some(NOW + seconds(60)));
    lab.settle(NOW + Duration::new(59, 999_999_999));
    assert_eq!(holder(&lab, "a"), Some("y"));
    lab.settle(NOW + seconds(60));
    assert_eq!(end(&lab, "a"), (End::Expired, NOW + seconds(60)));
    assert_eq!(holder(&lab, "b"), Some("y"));
    assert_eq!(lab.lease("b").unwrap().expires(), Some(NOW + seconds(120)));
}

#[test]
fn a_scheduled_lease_begins_on_time_and_ends_with_its_window() {
    let mut lab = open();
    let scheduled = Terms {
        begin: Some(NOW + seconds(100)),
        ..named("y", 60)
    };
    request(&mut lab, "later", scheduled.clone(), NOW);
    request(&mut lab, "now", named("y", 110), NOW + seconds(1));
    assert_eq!(holder(&lab, "now"), Some("y"));
    let wait = lab.why_waiting(lab.lease("later").unwrap(), NOW);
    assert_eq!(wait.0, "Scheduled");
    assert_eq!(lab.next_deadline(NOW), Some(NOW + seconds(100)));
    lab.settle(NOW + seconds(100));
    assert_eq!(holder(&lab, "later"), None);
    lab.settle(NOW + seconds(111));
    assert_eq!(holder(&lab, "later"), Some("y"));
    lab.settle(NOW + seconds(160));
    assert_eq!(end(&lab, "later"), (End::Expired, NOW + seconds(160)));

    // Nothing frees the exporter in time.
    request(&mut lab, "long", named("y", 1000), NOW + seconds(160));
    let missed = Terms {
        begin: Some(NOW + seconds(200)),
        ..named("y", 60)
    };
    request(&mut lab, "missed", missed, NOW + seconds(170));
    lab.settle(NOW + seconds(260));
    assert_eq!(end(&lab, "missed"), (End::Expired, NOW + seconds(260)));
}

#[test]
fn a_lease_that_nothing_can_satisfy_is_told_so_at_once() {
    let mut lab = open();
    for (name, terms, part) in [
        (
            "a",
            wish("board=z", 60),
            "NoMatch: No exporter matches board=z; this lab has off",
        ),
        ("b", named("z", 60), "ExporterNotFound: "),
        (
            "c",
            Terms {
                exporter: Some("y".to_owned()),
                ..wish("board=x", 60)
            },
            "SelectorMismatch: Requested exporter y does not match selector board=x",
        ),
        ("d", named("off", 60), "ExporterDisabled: "),
        ("e", wish("board=off", 60), "AllDisabled: All 1 "),
    ] {
        request(&mut lab, name, terms, NOW);
        let found = reason(&lab, name);
        assert!(found.starts_with(part), "{found}");
    }
    let allowed = Terms {
        allow_disabled: true,
        ..named("off", 60)
    };
    request(&mut lab, "f", allowed, NOW);
    assert_eq!(holder(&lab, "f"), Some("off"));
}

#[test]
fn an_exporter_that_is_gone_keeps_its_lease_and_gets_no_other() {
    let mut lab = lab();
    request(&mut lab, "a", named("y", 60), NOW);
    let wait = lab.why_waiting(lab.lease("a").unwrap(), NOW);
    assert_eq!(wait.0, "Offline");
    let first = lab.connect("y", NOW).unwrap();
    assert_eq!(holder(&lab, "a"), Some("y"));

    // It connects anew before the old connection is seen to be gone.
    let second = lab.connect("y", NOW).unwrap();
    lab.disconnect("y", first);
    assert!(lab.exporter("y").unwrap().online());
    lab.disconnect("y", second);
    assert_eq!(holder(&lab, "a"), Some("y"));
    assert_eq!(
        lab.dial("me", "a"),
        Err(Refusal::NotListening("a".to_owned()))
    );
    lab.settle(NOW + seconds(60));
    request(&mut lab, "b", named("y", 60), NOW + seconds(61));
    assert_eq!(holder(&lab, "b"), None);
    lab.connect("y", NOW + seconds(62)).unwrap();
    assert_eq!(holder(&lab, "b"), Some("y"));
}

#[test]
fn what_dial_is_told() {
    let mut lab = open();
    request(&mut lab, "a", named("y", 60), NOW);
    request(&mut lab, "b", named("y", 60), NOW);
    let not_ready = Refusal::NotReady("Available");
    assert_eq!(lab.dial("me", "a"), Ok(Dial::Soon(not_ready)));
    assert_eq!(lab.dial("me", "b"), Err(Refusal::NotActive("b".to_owned())));
    let somebody = lab.dial("you", "a").unwrap_err().to_string();
    assert!(somebody.contains("permission denied"), "{somebody}");
    assert_eq!(
        lab.dial("me", "z"),
        Err(Refusal::LeaseNotFound("z".to_owned()))
    );
    for status in [
        ExporterStatus::LeaseReady,
        ExporterStatus::BeforeLeaseHook,
        ExporterStatus::AfterLeaseHook,
        ExporterStatus::Unspecified,
    ] {
        lab.report("y", status, String::new(), NOW).unwrap();
        assert_eq!(lab.dial("me", "a"), Ok(Dial::Now), "{status:?}");
    }
    for status in [
        ExporterStatus::Offline,
        ExporterStatus::BeforeLeaseHookFailed,
        ExporterStatus::AfterLeaseHookFailed,
    ] {
        lab.report("y", status, String::new(), NOW).unwrap();
        let refused = lab.dial("me", "a");
        assert!(
            matches!(refused, Err(Refusal::Unusable(_))),
            "{status:?}: {refused:?}"
        );
    }
    lab.release("a", NOW).unwrap();
    assert_eq!(lab.dial("me", "a"), Err(Refusal::Ended("a".to_owned())));
}

#[test]
fn times_and_owners_change() {
    let mut lab = open();
    request(&mut lab, "a", named("y", 60), NOW);
    let longer = Times {
        duration: Some(seconds(100)),
        ..Times::default()
    };
    lab.amend("me", "a", longer, None, NOW).unwrap();
    lab.settle(NOW + seconds(60));
    assert_eq!(holder(&lab, "a"), Some("y"));

    let later = Times {
        begin: Some(NOW + seconds(500)),
        ..Times::default()
    };
    let refused = lab.amend("me", "a", later, None, NOW).unwrap_err();
    assert!(refused.to_string().contains("already started"), "{refused}");
    let refused = lab.amend("you", "a", longer, None, NOW).unwrap_err();
    assert!(matches!(refused, Refusal::NotYours { .. }), "{refused}");

    lab.amend("me", "a", Times::default(), Some("you"), NOW)
        .unwrap();
    assert!(lab.dial("me", "a").is_err() && lab.dial("you", "a").is_ok());

    // What has passed cannot be taken back.
    let short = Times {
        duration: Some(seconds(10)),
        ..Times::default()
    };
    let refused = lab.amend("you", "a", short, None, NOW + seconds(61));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "cannot shorten lease a to 10s: 1m 1s of it have passed; to end it now, delete it"
    );
    assert_eq!(lab.lease("a").unwrap().terms.duration, seconds(100));
    let just = Times {
        duration: Some(seconds(62)),
        ..Times::default()
    };
    lab.amend("you", "a", just, None, NOW + seconds(61))
        .unwrap();
    // Nor does one go on whose time is up, though nobody has looked yet.
    let late = lab.amend("you", "a", longer, None, NOW + seconds(62));
    assert!(late.unwrap_err().to_string().contains("has already ended"));
    assert_eq!(end(&lab, "a"), (End::Expired, NOW + seconds(62)));

    request(&mut lab, "b", wish("board=x", 60), NOW);
    request(&mut lab, "c", wish("board=x", 60), NOW);
    request(&mut lab, "d", wish("board=x", 60), NOW);
    lab.amend("me", "d", later, None, NOW).unwrap();
    assert_eq!(lab.lease("d").unwrap().due(), NOW + seconds(500));
    let refused = lab.amend("me", "d", Times::default(), Some("you"), NOW);
    assert!(refused.is_err(), "it has not started");
    let past = Times {
        begin: Some(seconds(500)),
        ..Times::default()
    };
    let refused = lab.amend("me", "d", past, None, NOW).unwrap_err();
    assert!(
        refused.to_string().contains("would have ended"),
        "{refused}"
    );
}

/// As upstream's controller has it.
#[test]
fn a_lease_is_released_once_even_if_its_time_is_up() {
    let mut lab = open();
    request(&mut lab, "a", named("y", 60), NOW);
    assert_eq!(lab.release("a", NOW), Ok(true));
    assert_eq!(lab.release("a", NOW), Ok(false));
    request(&mut lab, "b", named("y", 60), NOW);
    lab.settle(NOW + seconds(60));
    assert_eq!(end(&lab, "b").0, End::Expired);
    assert_eq!(lab.release("b", NOW + seconds(61)), Ok(true));
    assert_eq!(end(&lab, "b"), (End::Expired, NOW + seconds(60)));
    assert_eq!(lab.release("b", NOW + seconds(61)), Ok(false));
}

#[test]
fn exporters_set_no_labels_but_their_own() {
    let mut lab = open();
    let own = labels(&[("jumpstarter.dev/driver", "power"), ("board", "z")]);
    lab.register("y", own, NOW).unwrap();
    let found = &lab.exporter("y").unwrap().labels;
    assert_eq!(found.get("board").unwrap(), "y");
    assert_eq!(found.get("jumpstarter.dev/driver").unwrap(), "power");
    lab.register("y", Labels::new(), NOW).unwrap();
    assert_eq!(lab.exporter("y").unwrap().labels.len(), 1);
}

#[test]
fn a_later_run_takes_over() {
    let mut before = open();
    request(&mut before, "held", named("y", 60), NOW);
    request(&mut before, "waits", named("y", 60), NOW);
    request(&mut before, "other", wish("board=x", 60), NOW);
    before.lease("other").unwrap();
    request(&mut before, "over", named("x2", 60), NOW);
    before.release("over", NOW).unwrap();
    before
        .request("gone", "stranger", named("x2", 60), NOW)
        .unwrap();
    let saved: Vec<_> = before
        .take_unsaved()
        .into_iter()
        .filter_map(|(_, lease)| lease)
        .collect();
    assert_eq!(saved.len(), 5);
    assert!(!before.has_unsaved());

    let mut after = lab();
    after.exporters.remove("x1");
    let knows = |client: &str| client != "gone";
    after.restore(saved, knows, NOW + seconds(1));
    assert_eq!(holder(&after, "held"), Some("y"));
    assert_eq!(holder(&after, "waits"), None);
    // Its exporter and its client are not in lab.toml any more.
    assert_eq!(end(&after, "other").0, End::Released);
    assert_eq!(end(&after, "stranger").0, End::Released);
    let next = after
        .request("me", "next", named("y", 60), NOW + seconds(2))
        .unwrap();
    assert_eq!(next.order, 5);
    after.settle(NOW + seconds(60));
    assert_eq!(end(&after, "held"), (End::Expired, NOW + seconds(60)));
}

#[test]
fn what_is_kept_is_limited() {
    let mut lab = open();
    for n in 0..MOST_ENDED + 5 {
        let name = format!("l{n}");
        request(&mut lab, &name, named("y", 60), NOW + seconds(n as u64));
        lab.release(&name, NOW + seconds(n as u64)).unwrap();
    }
    assert_eq!(lab.leases().len(), MOST_ENDED);
    assert!(lab.lease("l4").is_err() && lab.lease("l5").is_ok());
    let gone = lab.take_unsaved();
    assert!(gone.contains(&("l0".to_owned(), None)));
    assert_eq!(
        lab.request("me", "l5", named("y", 60), NOW),
        Err(Refusal::LeaseExists("l5".to_owned()))
    );
}

/// Something that can happen.
#[derive(Clone, Debug)]
enum Event {
    Connect(usize),
    Disconnect(usize),
    Report(usize, ExporterStatus),
    Request {
        selector: usize,
        duration: u64,
        begin: Option<u64>,
    },
    Amend(usize, u64),
    Release(usize),
    Pass(u64),
}

const EXPORTERS: [&str; 4] = ["x1", "x2", "y", "off"];
const SELECTORS: [&str; 5] = ["board=x", "board=y", "board in (x,y)", "board", "board=z"];

fn event() -> impl Strategy<Value = Event> {
    let status = prop_oneof![
        Just(ExporterStatus::Available),
        Just(ExporterStatus::LeaseReady),
        Just(ExporterStatus::Offline),
    ];
    prop_oneof![
        2 => (0..4usize).prop_map(Event::Connect),
        1 => (0..4usize).prop_map(Event::Disconnect),
        3 => (0..4usize, status).prop_map(|(exporter, status)| Event::Report(exporter, status)),
        4 => (0..5usize, 1..60u64, proptest::option::of(0..60u64))
            .prop_map(|(selector, duration, begin)| Event::Request { selector, duration, begin }),
        1 => (0..30usize, 1..60u64).prop_map(|(lease, duration)| Event::Amend(lease, duration)),
        2 => (0..30usize).prop_map(Event::Release),
        3 => (0..30u64).prop_map(Event::Pass),
    ]
}

fn happen(lab: &mut Leases, event: &Event, now: &mut Time, made: &mut usize) {
    match event {
        Event::Connect(n) => {
            lab.connect(EXPORTERS[*n], *now).unwrap();
        }
        Event::Disconnect(n) => {
            if let Some(session) = lab.exporter(EXPORTERS[*n]).unwrap().session {
                lab.disconnect(EXPORTERS[*n], session);
            }
        }
        Event::Report(n, status) => lab
            .report(EXPORTERS[*n], *status, String::new(), *now)
            .unwrap(),
        Event::Request {
            selector,
            duration,
            begin,
        } => {
            let terms = Terms {
                begin: begin.map(|after| *now + seconds(after)),
                ..wish(SELECTORS[*selector], *duration)
            };
            request(lab, &format!("l{made}"), terms, *now);
            *made += 1;
        }
        Event::Amend(n, duration) => {
            let times = Times {
                duration: Some(seconds(*duration)),
                ..Times::default()
            };
            let _ = lab.amend("me", &format!("l{n}"), times, None, *now);
        }
        Event::Release(n) => {
            let _ = lab.release(&format!("l{n}"), *now);
        }
        Event::Pass(after) => {
            *now += seconds(*after);
            lab.settle(*now);
        }
    }
}

/// All that the module promises.
fn check(before: &BTreeMap<String, Lease>, lab: &Leases, now: Time) {
    for (name, exporter) in lab.exporters() {
        let holders: Vec<_> = lab
            .leases()
            .values()
            .filter(|lease| lease.holds() == Some(name))
            .map(|lease| lease.name.clone())
            .collect();
        assert!(holders.len() <= 1, "{name} has {holders:?}");
        assert_eq!(exporter.lease.as_ref(), holders.first());
    }
    for lease in lab.leases().values() {
        let could_have = || lab.matching(&lease.terms);
        match &lease.phase {
            Phase::Waiting => {
                assert!(lease.expires().is_none_or(|at| at > now));
                if lease.due() <= now {
                    let free = could_have().find(|(_, exporter)| exporter.free());
                    assert!(free.is_none(), "{} waits, {free:?} is free", lease.name);
                }
                assert!(could_have().next().is_some(), "nothing can satisfy it");
            }
            Phase::Held { exporter, since } => {
                assert!(lease.expires().unwrap() > now);
                assert!(*since >= lease.due());
                assert!(could_have().any(|(name, _)| name == exporter));
                if before
                    .get(&lease.name)
                    .is_none_or(|old| old.holds().is_none())
                {
                    // Nobody who has wanted this exporter for longer still waits.
                    let passed_over = lab.leases().values().find(|other| {
                        other.phase == Phase::Waiting
                            && other.due() <= now
                            && (other.due(), other.order) < (lease.due(), lease.order)
                            && lab.matching(&other.terms).any(|(name, _)| name == exporter)
                    });
                    assert!(passed_over.is_none(), "{passed_over:?} was passed over");
                }
            }
            Phase::Ended { at, why, .. } => {
                if let Some(old) = before.get(&lease.name)
                    && *why == End::Expired
                    && !old.ended()
                {
                    assert!(*at <= now, "it ended before its time");
                }
            }
        }
    }
    let next = lab.next_deadline(now);
    assert!(next.is_none_or(|next| next > now), "{next:?} has passed");
    let ends: Vec<_> = lab.leases().values().filter_map(Lease::expires).collect();
    assert!(ends.iter().all(|end| next.is_some_and(|next| next <= *end)));
}

proptest! {
    #[test]
    fn what_is_promised_holds(events in proptest::collection::vec(event(), 1..80)) {
        let mut lab = lab();
        let (mut now, mut made) = (NOW, 0);
        let mut known: BTreeMap<String, Lease> = BTreeMap::new();
        for event in &events {
            let before = lab.leases().clone();
            happen(&mut lab, event, &mut now, &mut made);
            check(&before, &lab, now);
            // What is saved is what there is.
            for (name, lease) in lab.take_unsaved() {
                match lease {
                    Some(lease) => known.insert(name, lease),
                    None => known.remove(&name),
                };
            }
            prop_assert_eq!(&known, lab.leases());
        }
        // A later run of the lab knows the same.
        let mut again = super::tests::lab();
        again.restore(known.into_values().collect(), |_| true, now);
        prop_assert_eq!(again.leases(), lab.leases());
        check(&BTreeMap::new(), &again, now);
    }
}
