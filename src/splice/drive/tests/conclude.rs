//! What a peer and its partner are told at the end, and for how long the router tries.

use super::*;
use crate::splice::{ending::GOAWAY_MESSAGE, lane::Next, mock::Told};

const LINGER: Duration = Duration::from_secs(5);

fn by_other(cause: Cause) -> Ending {
    Ending::from(cause).for_other()
}

fn partner_ended(inside_message: bool) -> LaneEnd {
    LaneEnd::Ended {
        ending: by_other(Cause::Lost),
        inside_message,
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_then_goaway_then_status() {
    for cut in [1, 3, 1_000] {
        let (mut side, peer, mut tx, _rx) = side();
        give(&mut tx, message(20));
        tx.end(partner_ended(false));
        let ending = by_other(Cause::Lost);
        let concluding = conclude(&mut side, ending, true, LINGER);
        let reading = async {
            while peer.told().is_none() {
                peer.opens(cut);
                sleep(SECOND).await;
            }
        };
        let (told, ()) = tokio::join!(concluding, reading);
        assert!(told);
        let expected = [&message(20)[..], GOAWAY_MESSAGE].concat();
        assert_eq!(peer.received(), expected);
        assert_eq!(peer.told(), Some(Told::Finished(ending)));
        assert_eq!(side.totals().bytes_out, 25);
    }
}

#[tokio::test(start_paused = true)]
async fn inside_a_message_there_is_no_room_for_goaway() {
    let (mut side, peer, mut tx, _rx) = side();
    peer.opens(1_000);
    give(&mut tx, message(100)[..50].to_vec());
    tx.end(partner_ended(true));
    let ending = by_other(Cause::Lost);
    assert!(conclude(&mut side, ending, true, LINGER).await);
    assert_eq!(peer.received(), message(100)[..50]);
    assert_eq!(peer.told(), Some(Told::Finished(ending)));
}

#[tokio::test(start_paused = true)]
async fn who_never_met_a_partner_gets_goaway_and_status() {
    let (mut side, peer, _tx, _rx) = side();
    peer.opens(1_000);
    let ending = Cause::Unpaired(SECOND).into();
    assert!(conclude(&mut side, ending, false, LINGER).await);
    assert_eq!(peer.received(), GOAWAY_MESSAGE);
    assert_eq!(peer.told(), Some(Told::Finished(ending)));
}

#[tokio::test(start_paused = true)]
async fn a_clean_end_is_a_status_alone() {
    let (mut side, peer, mut tx, mut rx) = side();
    tx.end(LaneEnd::HalfClosed);
    peer.half_closes();
    let waker = std::task::Waker::noop();
    let mut cx = Context::from_waker(waker);
    assert!(side.poll_paired(&mut cx).is_pending());
    let end = Next::End(LaneEnd::HalfClosed);
    assert_eq!(rx.poll_next(&mut cx), Poll::Ready(end));
    let ending = Cause::Completed.into();
    assert!(conclude(&mut side, ending, true, LINGER).await);
    assert_eq!(
        (peer.frames().len(), peer.told()),
        (0, Some(Told::Finished(ending)))
    );
    drop(side);
    assert_eq!(tx.abandoned(), None);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_gone_is_reset_and_its_partner_told() {
    for cause in [Cause::Cancelled, Cause::Lost] {
        let (mut side, peer, tx, mut rx) = side();
        peer.opens(1_000);
        let start = Instant::now();
        assert!(!conclude(&mut side, cause.into(), true, LINGER).await);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!((peer.frames().len(), peer.told()), (0, Some(Told::Reset)));
        let end = LaneEnd::Ended {
            ending: by_other(cause),
            inside_message: false,
        };
        let waker = std::task::Waker::noop();
        assert_eq!(rx.poll_end(&mut Context::from_waker(waker)), Some(end));
        assert_eq!(tx.abandoned(), Some(by_other(cause)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_other_half_of_the_pair_ends_before_goaway() {
    let (mut side, peer, mut tx, mut rx) = side();
    peer.opens(1_000);
    let concluding = conclude(&mut side, Cause::Draining.into(), true, LINGER);
    let partner = async {
        sleep(SECOND).await;
        assert_eq!(peer.frames().len(), 0);
        let waker = std::task::Waker::noop();
        assert!(rx.poll_end(&mut Context::from_waker(waker)).is_some());
        give(&mut tx, message(3));
        tx.end(partner_ended(false));
    };
    let (told, ()) = tokio::join!(concluding, partner);
    assert!(told);
    assert_eq!(peer.received(), [&message(3)[..], GOAWAY_MESSAGE].concat());
}

/// Reads so much at the start, as long as the splice lasts, and nothing at the end.
async fn stalled(before: usize) -> Duration {
    let (mut side, peer, mut tx, _rx) = side();
    peer.opens(before);
    give(&mut tx, message(20));
    let waker = std::task::Waker::noop();
    assert!(
        side.poll_paired(&mut Context::from_waker(waker))
            .is_pending()
    );
    assert_eq!(side.totals().bytes_out, before as u64);
    tx.end(partner_ended(false));
    let start = Instant::now();
    assert!(!conclude(&mut side, by_other(Cause::Lost), true, LINGER).await);
    assert_eq!(peer.told(), Some(Told::Reset));
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_cut_off_after_the_linger() {
    assert_eq!(stalled(0).await, LINGER);
    assert_eq!(stalled(10).await, LINGER, "progress before does not count");
    assert_eq!(stalled(25).await, LINGER, "no room for the GOAWAY frame");
}

#[tokio::test(start_paused = true)]
async fn progress_keeps_the_telling_alive() {
    for last in [1, 4, 9, 31] {
        let (mut side, peer, mut tx, _rx) = side();
        give(&mut tx, message(100));
        tx.end(partner_ended(false));
        let start = Instant::now();
        let concluding = conclude(&mut side, by_other(Cause::Lost), true, LINGER);
        let reading = async {
            for _ in 0..last {
                sleep(SECOND).await;
                peer.opens(1);
            }
        };
        let (told, ()) = tokio::join!(concluding, reading);
        assert!(!told);
        let quiet = (start + last * SECOND).elapsed();
        assert!(quiet >= LINGER && quiet <= 2 * LINGER, "{quiet:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_in_the_middle_of_goaway_is_cut_off_too() {
    let (mut side, peer, _tx, _rx) = side();
    peer.opens(3);
    let start = Instant::now();
    let ending = Cause::Draining.into();
    assert!(!conclude(&mut side, ending, false, LINGER).await);
    assert_eq!(peer.received(), GOAWAY_MESSAGE[..3]);
    assert_eq!(peer.told(), Some(Told::Reset));
    assert!(start.elapsed() >= LINGER && start.elapsed() <= 2 * LINGER);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_breaks_while_it_is_told_is_reset() {
    for paired in [true, false] {
        let (mut side, peer, mut tx, _rx) = side();
        give(&mut tx, message(20));
        tx.end(partner_ended(false));
        let start = Instant::now();
        let concluding = conclude(&mut side, Cause::Draining.into(), paired, LINGER);
        let breaking = async {
            sleep(SECOND).await;
            peer.sink_breaks(Broken::Cancelled);
        };
        let (told, ()) = tokio::join!(concluding, breaking);
        assert_eq!((told, peer.told()), (false, Some(Told::Reset)));
        assert_eq!(start.elapsed(), SECOND);
    }
}
