//! Every deadline to the millisecond, under a clock that only moves when all is quiet.
#![allow(clippy::unwrap_used)]

mod conclude;

use std::future::{pending, ready};

use tokio::time::sleep;

use super::*;
use crate::splice::{
    lane::{LaneEnd, LaneSender},
    mock::{Peer, drain, message, side},
};

const SECOND: Duration = Duration::from_secs(1);

fn deadlines() -> Deadlines {
    Deadlines {
        pairing: 60 * SECOND,
        idle: None,
        stall: None,
        lifetime: None,
        caller: None,
        linger: 5 * SECOND,
    }
}

fn give(tx: &mut LaneSender, bytes: Vec<u8>) {
    let ready = bytes.len();
    tx.push(bytes.into(), ready);
    tx.flush(1);
}

fn cause<T>(waited: Result<T, Ending>) -> Option<Cause> {
    waited.err().map(|ending| ending.cause)
}

#[tokio::test(start_paused = true)]
async fn nobody_came_in_time() {
    let (mut side, peer, _tx, mut rx) = side();
    let arrived = Instant::now();
    sleep(SECOND).await;
    peer.sends(message(10));
    let control = Control::default();
    let waited = wait(&mut side, &control, &deadlines(), arrived, pending::<()>()).await;
    assert_eq!(cause(waited), Some(Cause::Unpaired(60 * SECOND)));
    assert_eq!(arrived.elapsed(), 60 * SECOND);
    assert_eq!(drain(&mut rx), message(10), "read while waiting");
}

#[tokio::test(start_paused = true)]
async fn a_partner_at_the_last_moment_comes_first() {
    let (mut side, peer, _tx, _rx) = side();
    let arrived = Instant::now();
    let joined = Box::pin(sleep(60 * SECOND));
    let control = Control::default();
    let waited = wait(&mut side, &control, &deadlines(), arrived, joined).await;
    assert!(waited.is_ok());

    peer.breaks(Broken::Cancelled);
    control.end(Cause::Draining);
    let waited = wait(&mut side, &control, &deadlines(), arrived, ready(7)).await;
    assert_eq!(waited, Ok(7), "its end is for the splice to see");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_can_end_before_its_partner_comes() {
    type Act = fn(&Peer, &Control);
    let acts: [(Act, Cause); 4] = [
        (|peer, _| peer.breaks(Broken::Cancelled), Cause::Cancelled),
        (|peer, _| peer.breaks(Broken::Lost), Cause::Lost),
        (|_, control| control.end(Cause::Draining), Cause::Draining),
        (
            |_, control| control.end(Cause::Administrator),
            Cause::Administrator,
        ),
    ];
    for (act, expected) in acts {
        for half_closed in [false, true] {
            let (mut side, peer, _tx, _rx) = side();
            let (arrived, control) = (Instant::now(), Control::default());
            if half_closed {
                peer.half_closes();
            }
            let deadlines = deadlines();
            let waiting = wait(&mut side, &control, &deadlines, arrived, pending::<()>());
            let acting = async {
                sleep(3 * SECOND).await;
                act(&peer, &control);
            };
            let (waited, ()) = tokio::join!(waiting, acting);
            assert_eq!(cause(waited), Some(expected));
            assert_eq!(arrived.elapsed(), 3 * SECOND);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_callers_own_deadline_counts_while_waiting_and_after() {
    for paired in [false, true] {
        let (mut side, _peer, _tx, _rx) = side();
        let (arrived, control) = (Instant::now(), Control::default());
        let mut deadlines = deadlines();
        deadlines.caller = Some(arrived + 7 * SECOND);
        deadlines.lifetime = Some(7 * SECOND);
        let ended = if paired {
            let ending = splice(&mut side, &control, &deadlines, arrived, |_| {}).await;
            Some(ending.cause)
        } else {
            let waited = wait(&mut side, &control, &deadlines, arrived, pending::<()>()).await;
            cause(waited)
        };
        assert_eq!(ended, Some(Cause::Deadline));
        assert_eq!(arrived.elapsed(), 7 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_counts_from_the_arrival() {
    let (mut side, peer, _tx, _rx) = side();
    let (arrived, control) = (Instant::now(), Control::default());
    let mut deadlines = deadlines();
    deadlines.lifetime = Some(100 * SECOND);
    deadlines.idle = Some(30 * SECOND);
    sleep(10 * SECOND).await;
    let moving = async {
        loop {
            peer.sends(message(1));
            sleep(SECOND).await;
        }
    };
    let ending = tokio::select! {
        ending = splice(&mut side, &control, &deadlines, arrived, |_| {}) => ending,
        () = moving => unreachable!(),
    };
    assert_eq!(ending.cause, Cause::TooOld(100 * SECOND));
    assert_eq!(arrived.elapsed(), 100 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn nothing_moved_from_the_start() {
    let (mut side, _peer, _tx, _rx) = side();
    let mut deadlines = deadlines();
    deadlines.idle = Some(30 * SECOND);
    sleep(10 * SECOND).await;
    let (start, control) = (Instant::now(), Control::default());
    let ending = splice(&mut side, &control, &deadlines, start, |_| {}).await;
    assert_eq!(ending.cause, Cause::Idle(30 * SECOND));
    assert_eq!(start.elapsed(), 30 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn idle_is_once_to_twice_the_time_after_the_last_byte_either_way() {
    for inbound in [true, false] {
        for last in [1, 29, 31, 59, 95, 149] {
            let (mut side, peer, mut tx, _rx) = side();
            peer.opens(1_000_000);
            let (start, control) = (Instant::now(), Control::default());
            let mut deadlines = deadlines();
            deadlines.idle = Some(30 * SECOND);
            let moving = async {
                for second in 0..=last {
                    if second % 28 == 0 || second == last {
                        if inbound {
                            peer.sends(message(1));
                        } else {
                            give(&mut tx, message(1));
                        }
                    }
                    if second < last {
                        sleep(SECOND).await;
                    }
                }
            };
            let splicing = splice(&mut side, &control, &deadlines, start, |_| {});
            let (ending, ()) = tokio::join!(splicing, moving);
            assert_eq!(ending.cause, Cause::Idle(30 * SECOND));
            let quiet = (start + last * SECOND).elapsed();
            assert!(quiet >= 30 * SECOND && quiet <= 60 * SECOND, "{quiet:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_waits_has_its_lifetime_too() {
    for (lifetime, expected) in [
        (7, Cause::TooOld(7 * SECOND)),
        (61, Cause::Unpaired(60 * SECOND)),
    ] {
        let (mut side, _peer, _tx, _rx) = side();
        let (arrived, control) = (Instant::now(), Control::default());
        let mut deadlines = deadlines();
        deadlines.lifetime = Some(lifetime * SECOND);
        let waited = wait(&mut side, &control, &deadlines, arrived, pending::<()>()).await;
        assert_eq!(cause(waited), Some(expected));
        assert_eq!(arrived.elapsed(), SECOND * lifetime.min(60));
    }
}

/// The peer takes all up to `last`, then nothing. When does it count as stalled?
async fn stalls_after(last: u32, moves_the_other_way: bool) -> Ending {
    let (mut side, peer, mut tx, _rx) = side();
    let (start, control) = (Instant::now(), Control::default());
    let mut deadlines = deadlines();
    deadlines.stall = Some(30 * SECOND);
    let moving = async {
        for second in 0..200 {
            give(&mut tx, message(1));
            if second <= last {
                peer.opens(6);
            }
            if moves_the_other_way {
                peer.sends(message(1));
            }
            sleep(SECOND).await;
        }
    };
    let splicing = splice(&mut side, &control, &deadlines, start, |_| {});
    let ending = tokio::select! {
        ending = splicing => ending,
        () = moving => panic!("not ended"),
    };
    // Bytes wait from the first second in which none was taken.
    let stalled = (start + (last + 1) * SECOND).elapsed();
    assert!(stalled.abs_diff(30 * SECOND) < SECOND / 100, "{stalled:?}");
    ending
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_stalls_whatever_it_sends() {
    for last in [0, 1, 29, 30, 31, 95] {
        for moves_the_other_way in [false, true] {
            let ending = stalls_after(last, moves_the_other_way).await;
            assert_eq!(ending, Cause::Stalled(30 * SECOND).into());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_stops_inside_a_message_is_ended() {
    for trickles in [false, true] {
        let (mut side, peer, _tx, mut rx) = side();
        let (start, control) = (Instant::now(), Control::default());
        let mut deadlines = deadlines();
        deadlines.stall = Some(30 * SECOND);
        let mut bytes = message(5).into_iter().chain(message(1_000));
        peer.sends(bytes.by_ref().take(500).collect::<Vec<_>>());
        let sending = async {
            loop {
                sleep(SECOND).await;
                if trickles {
                    peer.sends(bytes.by_ref().take(1).collect::<Vec<_>>());
                }
            }
        };
        let ending = tokio::select! {
            ending = splice(&mut side, &control, &deadlines, start, |_| {}) => ending,
            () = sending => unreachable!(),
        };
        assert_eq!(ending, Cause::Unfinished(30 * SECOND).into());
        let long = start.elapsed();
        assert!((30 * SECOND..31 * SECOND).contains(&long), "{long:?}");
        assert_eq!(drain(&mut rx), message(5), "what is whole is not lost");
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_now_and_then_is_as_good_as_none() {
    let (mut side, peer, mut tx, _rx) = side();
    let (start, control) = (Instant::now(), Control::default());
    let mut deadlines = deadlines();
    deadlines.stall = Some(30 * SECOND);
    give(&mut tx, message(1_000));
    let reading = async {
        loop {
            sleep(SECOND).await;
            peer.opens(1);
        }
    };
    let ending = tokio::select! {
        ending = splice(&mut side, &control, &deadlines, start, |_| {}) => ending,
        () = reading => unreachable!(),
    };
    assert_eq!(ending, Cause::Stalled(30 * SECOND).into());
}

#[tokio::test(start_paused = true)]
async fn a_slow_peer_that_takes_what_is_there_in_time_has_not_stalled() {
    let (mut side, peer, mut tx, _rx) = side();
    let (start, control) = (Instant::now(), Control::default());
    let mut deadlines = deadlines();
    deadlines.stall = Some(30 * SECOND);
    give(&mut tx, message(1_000));
    let moving = async {
        for _ in 0..5 {
            sleep(29 * SECOND).await;
            peer.opens(180);
        }
        peer.opens(2_000);
        sleep(300 * SECOND).await;
    };
    let splicing = splice(&mut side, &control, &deadlines, start, |_| {});
    tokio::select! {
        ending = splicing => panic!("{ending:?} after {:?}", start.elapsed()),
        () = moving => {}
    }
    assert_eq!(peer.received(), message(1_000), "and nothing waits now");
}

#[tokio::test(start_paused = true)]
async fn without_deadlines_a_quiet_pair_stays() {
    let (mut side, _peer, _tx, _rx) = side();
    let (start, control) = (Instant::now(), Control::default());
    let deadlines = deadlines();
    let splicing = splice(&mut side, &control, &deadlines, start, |_| {});
    let year = 365 * 86_400 * SECOND;
    assert!(tokio::time::timeout(year, splicing).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_pair_is_ended_from_outside() {
    let (mut side, _peer, _tx, _rx) = side();
    let (start, control) = (Instant::now(), Control::default());
    let deadlines = deadlines();
    let acting = async {
        sleep(SECOND).await;
        control.end(Cause::Administrator);
        control.end(Cause::Draining);
    };
    let splicing = splice(&mut side, &control, &deadlines, start, |_| {});
    let (ending, ()) = tokio::join!(splicing, acting);
    assert_eq!(ending, Cause::Administrator.into());
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn progress_is_reported_up_to_the_end() {
    let (mut side, peer, mut tx, _rx) = side();
    peer.opens(1_000);
    peer.sends(message(10));
    give(&mut tx, message(20));
    peer.source_breaks(Broken::Lost);
    let (start, control) = (Instant::now(), Control::default());
    let mut last = None;
    let ending = splice(&mut side, &control, &deadlines(), start, |totals| {
        last = Some(*totals);
    })
    .await;
    assert_eq!(ending, Cause::Lost.into());
    assert_eq!(last, Some(side.totals()));
    assert_eq!(last.map(|totals| totals.bytes_in), Some(15));
}
