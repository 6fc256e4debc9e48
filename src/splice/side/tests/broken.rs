//! A peer's stream breaks, in every state a side can be in.

use super::*;

const BREAKS: [(Broken, Cause); 2] = [
    (Broken::Cancelled, Cause::Cancelled),
    (Broken::Lost, Cause::Lost),
];

#[test]
fn while_reading() {
    for (broken, cause) in BREAKS {
        let (mut side, peer, _tx, mut rx) = side();
        peer.sends([message(10), message(10)[..9].to_vec()].concat());
        peer.source_breaks(broken);
        assert_eq!(poll(&mut side), Poll::Ready(cause.into()));
        side.announce(cause.into());
        assert_eq!(drain(&mut rx), message(10));
        assert_eq!(end_of(&mut rx), Some(ended(cause)));
    }
}

#[test]
fn while_writing() {
    for (broken, cause) in BREAKS {
        let (mut side, peer, mut tx, _rx) = side();
        peer.opens(10);
        peer.sink_breaks(broken);
        assert!(poll(&mut side).is_pending(), "reading will tell");
        give(&mut tx, message(20));
        assert_eq!(poll(&mut side), Poll::Ready(cause.into()));
        side.announce(cause.into());
        assert_eq!(
            tx.abandoned(),
            Some(Ending::from(cause).for_other()),
            "the partner has to know"
        );
    }
}

#[test]
fn after_its_half_close() {
    for (broken, cause) in BREAKS {
        for partner_half_closed in [true, false] {
            let (mut side, peer, mut tx, mut rx) = side();
            let (count, waker) = Wakes::new();
            let mut cx = Context::from_waker(&waker);
            if partner_half_closed {
                tx.end(LaneEnd::HalfClosed);
            }
            peer.sends(message(10));
            peer.half_closes();
            assert!(side.poll_paired(&mut cx).is_pending());
            count.take();
            peer.sink_breaks(broken);
            assert_eq!(count.take(), 1);
            assert_eq!(side.poll_paired(&mut cx), Poll::Ready(cause.into()));
            side.announce(cause.into());
            assert_eq!(tx.abandoned(), Some(Ending::from(cause).for_other()));
            assert_eq!(end_of(&mut rx), Some(LaneEnd::HalfClosed));
            assert_eq!(drain(&mut rx), message(10));
        }
    }
}

#[test]
fn while_it_waits_for_a_partner() {
    for (broken, cause) in BREAKS {
        for half_closed in [true, false] {
            let (mut side, peer, _tx, _rx) = side();
            peer.sends(message(10));
            if half_closed {
                peer.half_closes();
            }
            assert!(side.poll_inbound(&mut cx()).is_pending());
            if half_closed {
                peer.sink_breaks(broken);
            } else {
                peer.source_breaks(broken);
            }
            let ending = side.poll_inbound(&mut cx());
            assert_eq!(ending, Poll::Ready(cause.into()));
        }
    }
}

#[test]
fn while_the_rest_is_delivered() {
    for (broken, _) in BREAKS {
        let (mut side, peer, mut tx, _rx) = side();
        give(&mut tx, message(20));
        tx.end(ended(Cause::Lost));
        peer.opens(10);
        assert!(side.poll_deliver(&mut cx()).is_pending());
        peer.sink_breaks(broken);
        assert_eq!(side.poll_deliver(&mut cx()), Poll::Ready(Err(broken)));
        assert_eq!(side.totals().bytes_out, 10);
    }
}

#[test]
fn while_it_is_told() {
    for (broken, _) in BREAKS {
        let (mut side, peer, _tx, _rx) = side();
        let mut sent = 0;
        peer.opens(3);
        assert!(side.poll_goaway(&mut cx(), &mut sent).is_pending());
        peer.sink_breaks(broken);
        let done = side.poll_goaway(&mut cx(), &mut sent);
        assert_eq!((done, sent), (Poll::Ready(Err(broken)), 3));
    }
}
