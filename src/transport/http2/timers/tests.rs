//! Every deadline alone, its edges to the nanosecond, and what comes first when several are due.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const INSTANT: Duration = Duration::from_nanos(1);
/// So long that it never comes in a test.
const FAR: Duration = Duration::from_secs(4_000_000_000);

/// A new connection to which nothing has happened.
const NEW: View = View {
    read: 0,
    written: 0,
    blocked: false,
    any_stream: false,
    streams: 0,
    other_calls: 0,
    kept: false,
};

const BUSY: View = View {
    any_stream: true,
    streams: 1,
    ..NEW
};

const EMPTY: View = View {
    any_stream: true,
    ..NEW
};

/// All deadlines off, or as far away as may be.
fn none() -> Settings {
    let connections = Connections {
        first_stream_timeout: FAR,
        keepalive_interval: FAR,
        keepalive_timeout: FAR,
        write_stall_timeout: FAR,
        ..Connections::default()
    };
    Settings {
        connections,
        ..Settings::default()
    }
}

fn with(change: impl FnOnce(&mut Connections)) -> (Deadlines, Instant) {
    let mut settings = none();
    change(&mut settings.connections);
    let now = Instant::now();
    (Deadlines::new(Arc::new(settings), now, 0.0), now)
}

/// It waits for nothing that comes in a test.
#[track_caller]
fn rests(deadlines: &mut Deadlines, view: View, at: Instant) {
    let verdict = deadlines.check(view, at);
    assert!(
        matches!(verdict, Verdict::Wait(Some(next)) if next >= at + FAR / 4),
        "{verdict:?}"
    );
}

/// It says to wait until then, is content an instant earlier, and ends then.
fn ends_at(mut deadlines: Deadlines, view: View, at: Instant, end: ConnectionEnd) {
    assert_eq!(deadlines.check(view, at - INSTANT), Verdict::Wait(Some(at)));
    assert_eq!(deadlines.check(view, at), Verdict::End(end));
}

#[test]
fn without_deadlines_it_waits_for_ever() {
    let (mut deadlines, now) = with(|_| {});
    for view in [BUSY, EMPTY] {
        for seconds in [0, 1, 3_600, 1_000_000_000] {
            rests(&mut deadlines, view, now + seconds * SECOND);
        }
    }
}

#[test]
fn the_first_stream_is_waited_for_once() {
    let five = |settings: &mut Connections| settings.first_stream_timeout = 5 * SECOND;
    let (mut deadlines, now) = with(five);
    assert_eq!(
        deadlines.check(NEW, now),
        Verdict::Wait(Some(now + 5 * SECOND))
    );
    ends_at(
        deadlines,
        NEW,
        now + 5 * SECOND,
        ConnectionEnd::FirstStreamTimeout,
    );

    let (mut deadlines, now) = with(five);
    for view in [BUSY, EMPTY] {
        rests(&mut deadlines, view, now + 9 * SECOND);
    }
}

#[test]
fn idle_is_without_a_stream_and_after_one() {
    let two = |settings: &mut Connections| settings.idle_timeout = Some(2 * SECOND);
    let (mut deadlines, now) = with(two);
    rests(&mut deadlines, NEW, now + 9 * SECOND);
    rests(&mut deadlines, BUSY, now + 99 * SECOND);
    let since = now + 100 * SECOND;
    assert_eq!(
        deadlines.check(EMPTY, since),
        Verdict::Wait(Some(since + 2 * SECOND))
    );
    // A stream in between starts the time anew.
    rests(&mut deadlines, BUSY, since + SECOND);
    let since = since + SECOND + SECOND / 2;
    assert_eq!(
        deadlines.check(EMPTY, since),
        Verdict::Wait(Some(since + 2 * SECOND))
    );
    ends_at(deadlines, EMPTY, since + 2 * SECOND, ConnectionEnd::Idle);
}

#[test]
fn other_calls_are_let_finish_but_win_no_time() {
    let (mut deadlines, now) = with(|settings| settings.first_stream_timeout = 5 * SECOND);
    let asking = View {
        other_calls: 1,
        ..NEW
    };
    let due = now + 5 * SECOND;
    assert_eq!(deadlines.check(asking, now), Verdict::Wait(Some(due)));
    assert_eq!(deadlines.check(NEW, now + SECOND), Verdict::Wait(Some(due)));
    // Its end is when the connection is looked at again.
    rests(&mut deadlines, asking, due + SECOND);
    let end = Verdict::End(ConnectionEnd::FirstStreamTimeout);
    assert_eq!(deadlines.check(NEW, due + 2 * SECOND), end);
}

#[test]
fn a_connection_is_kept_while_its_peer_has_a_stream_elsewhere() {
    for (view, end) in [
        (NEW, ConnectionEnd::FirstStreamTimeout),
        (EMPTY, ConnectionEnd::Idle),
    ] {
        let (mut deadlines, now) = with(|settings| {
            settings.first_stream_timeout = 5 * SECOND;
            settings.idle_timeout = Some(5 * SECOND);
        });
        let kept = View { kept: true, ..view };
        let mut at = now;
        for _ in 0..100 {
            let next = at + 5 * SECOND;
            assert_eq!(deadlines.check(kept, at), Verdict::Wait(Some(next)));
            at = next;
        }
        assert_eq!(deadlines.idle_since(), Some(now));
        // The stream may have ended just now.
        let due = at + 5 * SECOND;
        assert_eq!(deadlines.check(view, at), Verdict::Wait(Some(due)));
        ends_at(deadlines, view, due, end);
    }
}

#[test]
fn an_old_connection_is_retired_once_and_ended_after_its_grace() {
    let (mut deadlines, now) = with(|settings| {
        settings.max_age = Some(10 * SECOND);
        settings.max_age_grace = Some(3 * SECOND);
    });
    let old = now + 10 * SECOND;
    assert_eq!(
        deadlines.check(BUSY, old - INSTANT),
        Verdict::Wait(Some(old))
    );
    assert_eq!(deadlines.check(BUSY, old), Verdict::Retire);
    assert_eq!(
        deadlines.check(BUSY, old),
        Verdict::Wait(Some(old + 3 * SECOND))
    );
    // The streams are told first, and have a moment for it.
    let over = old + 3 * SECOND;
    assert_eq!(
        deadlines.check(BUSY, over - INSTANT),
        Verdict::Wait(Some(over))
    );
    assert_eq!(
        deadlines.check(BUSY, over),
        Verdict::EndStreams(13 * SECOND)
    );
    assert!(deadlines.is_retired());
    ends_at(deadlines, BUSY, over + LAST_WORDS, ConnectionEnd::Age);
}

#[test]
fn without_a_grace_an_old_connection_goes_on() {
    let (mut deadlines, now) = with(|settings| settings.max_age = Some(10 * SECOND));
    assert_eq!(deadlines.check(BUSY, now + 11 * SECOND), Verdict::Retire);
    for seconds in [11, 1_000_000] {
        rests(&mut deadlines, BUSY, now + seconds * SECOND);
    }
}

#[test]
fn jitter_moves_the_age_by_a_tenth_at_most() {
    let mut settings = none();
    settings.connections.max_age = Some(10 * SECOND);
    let settings = Arc::new(settings);
    let now = Instant::now();
    for (jitter, seconds) in [(-9.0, 9), (-1.0, 9), (0.0, 10), (1.0, 11), (9.0, 11)] {
        let mut deadlines = Deadlines::new(settings.clone(), now, jitter);
        let Verdict::Wait(Some(at)) = deadlines.check(BUSY, now) else {
            panic!("not due yet: {jitter}")
        };
        assert_eq!((at - now).as_millis(), seconds * 1000, "{jitter}");
    }
}

fn keepalive() -> (Deadlines, Instant) {
    with(|settings| {
        settings.keepalive_interval = 10 * SECOND;
        settings.keepalive_timeout = 4 * SECOND;
    })
}

#[test]
fn silence_is_answered_with_one_ping_and_that_with_the_end() {
    let (mut deadlines, now) = keepalive();
    let due = now + 10 * SECOND;
    assert_eq!(
        deadlines.check(BUSY, due - INSTANT),
        Verdict::Wait(Some(due))
    );
    assert_eq!(deadlines.check(BUSY, due), Verdict::Ping);
    assert_eq!(
        deadlines.check(BUSY, due),
        Verdict::Wait(Some(due + 4 * SECOND))
    );
    ends_at(
        deadlines,
        BUSY,
        due + 4 * SECOND,
        ConnectionEnd::KeepaliveTimeout,
    );
}

#[test]
fn anything_the_peer_sends_proves_that_it_lives() {
    let (mut deadlines, now) = keepalive();
    let heard = now + 9 * SECOND;
    let read = |read| View { read, ..BUSY };
    assert_eq!(
        deadlines.check(read(1), heard),
        Verdict::Wait(Some(heard + 10 * SECOND))
    );
    let due = heard + 10 * SECOND;
    assert_eq!(deadlines.check(read(1), due), Verdict::Ping);
    // Bytes, though not the answer.
    let late = due + 4 * SECOND;
    assert_eq!(
        deadlines.check(read(2), late),
        Verdict::Wait(Some(late + 10 * SECOND))
    );
    // The answer itself.
    let due = late + 10 * SECOND;
    assert_eq!(deadlines.check(read(2), due), Verdict::Ping);
    deadlines.ponged(due + SECOND);
    let next = due + 11 * SECOND;
    assert_eq!(
        deadlines.check(read(2), due + 4 * SECOND),
        Verdict::Wait(Some(next))
    );
    assert_eq!(deadlines.check(read(2), next), Verdict::Ping);
}

fn stall() -> (Deadlines, Instant) {
    with(|settings| settings.write_stall_timeout = 6 * SECOND)
}

const fn blocked(written: u64) -> View {
    View {
        written,
        blocked: true,
        ..BUSY
    }
}

#[test]
fn a_socket_that_stays_full_ends_the_connection() {
    let (mut deadlines, now) = stall();
    // Nobody calls when a socket fills up, so it is looked at now and then.
    assert_eq!(
        deadlines.check(BUSY, now),
        Verdict::Wait(Some(now + 3 * SECOND))
    );
    let full = now + 3 * SECOND;
    let verdict = deadlines.check(blocked(5), full);
    assert_eq!(verdict, Verdict::Wait(Some(full + 6 * SECOND)));
    ends_at(
        deadlines,
        blocked(5),
        full + 6 * SECOND,
        ConnectionEnd::WriteStalled,
    );
}

#[test]
fn a_stall_is_noticed_within_one_and_a_half_times_its_time() {
    for offset in 0..60 {
        let (mut deadlines, now) = stall();
        let full = now + offset * SECOND / 10;
        let mut at = now;
        let end = loop {
            let view = if at < full { BUSY } else { blocked(5) };
            match deadlines.check(view, at) {
                Verdict::Wait(Some(next)) => {
                    assert!(next > at, "it moves on");
                    at = next;
                }
                verdict => break verdict,
            }
        };
        assert_eq!(end, Verdict::End(ConnectionEnd::WriteStalled));
        assert!(
            at >= full + 6 * SECOND && at <= full + 9 * SECOND,
            "{offset}"
        );
    }
}

#[test]
fn a_slow_reader_is_no_stalled_one() {
    let (mut deadlines, now) = stall();
    for second in 0..100 {
        let at = now + 5 * second * SECOND;
        let view = blocked(u64::from(second) + 1);
        assert_eq!(
            deadlines.check(view, at),
            Verdict::Wait(Some(at + 6 * SECOND))
        );
    }
    // Emptied for a moment, then full again with nothing written in between.
    let at = now + 501 * SECOND;
    let emptied = View {
        blocked: false,
        ..blocked(100)
    };
    assert_eq!(
        deadlines.check(emptied, at),
        Verdict::Wait(Some(at + 3 * SECOND))
    );
    let view = blocked(100);
    assert_eq!(
        deadlines.check(view, at + SECOND),
        Verdict::Wait(Some(at + 6 * SECOND))
    );
}

#[test]
fn the_earliest_of_all_is_next_and_none_is_forgotten() {
    let (mut deadlines, now) = with(|settings| {
        settings.idle_timeout = Some(9 * SECOND);
        settings.max_age = Some(6 * SECOND);
        settings.max_age_grace = Some(SECOND / 2);
        settings.keepalive_interval = 5 * SECOND;
        settings.keepalive_timeout = FAR;
        settings.write_stall_timeout = 8 * SECOND;
    });
    let at = |seconds: u32| now + seconds * SECOND;
    assert_eq!(deadlines.check(EMPTY, now), Verdict::Wait(Some(at(4))));
    let full = View {
        blocked: true,
        ..EMPTY
    };
    assert_eq!(deadlines.check(full, at(4)), Verdict::Wait(Some(at(5))));
    assert_eq!(deadlines.check(full, at(5)), Verdict::Ping);
    assert_eq!(deadlines.check(full, at(5)), Verdict::Wait(Some(at(6))));
    assert_eq!(deadlines.check(full, at(6)), Verdict::Retire);
    let grace = at(6) + SECOND / 2;
    let before = deadlines.check(full, grace - INSTANT);
    assert_eq!(before, Verdict::Wait(Some(grace)));
    let told = Verdict::EndStreams(6 * SECOND + SECOND / 2);
    assert_eq!(deadlines.check(full, grace), told);
    ends_at(deadlines, full, at(8), ConnectionEnd::WriteStalled);
}

#[test]
fn streams_are_told_of_the_end_of_their_connection_and_have_time_for_it() {
    let (mut deadlines, now) = with(|settings| {
        settings.max_age = Some(6 * SECOND);
        settings.max_age_grace = Some(SECOND);
    });
    let at = |seconds: u32| now + seconds * SECOND;
    assert_eq!(deadlines.check(BUSY, at(6)), Verdict::Retire);
    assert_eq!(deadlines.check(BUSY, at(6)), Verdict::Wait(Some(at(7))));
    let told = Verdict::EndStreams(7 * SECOND);
    assert_eq!(deadlines.check(BUSY, at(7)), told);
    ends_at(deadlines, BUSY, at(7) + LAST_WORDS, ConnectionEnd::Age);
}
