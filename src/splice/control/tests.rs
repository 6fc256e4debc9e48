use super::*;
use crate::splice::mock::Wakes;

#[test]
fn the_first_cause_wins() {
    let control = Control::default();
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    assert_eq!(control.poll_end(&mut cx), Poll::Pending);
    control.end(Cause::Draining);
    control.end(Cause::Administrator);
    for _ in 0..2 {
        assert_eq!(control.poll_end(&mut cx), Poll::Ready(Cause::Draining));
    }
}

#[test]
fn the_last_task_that_asked_is_woken() {
    let control = Control::default();
    let (first, first_waker) = Wakes::new();
    let (last, last_waker) = Wakes::new();
    let _ = control.poll_end(&mut Context::from_waker(&first_waker));
    let _ = control.poll_end(&mut Context::from_waker(&last_waker));
    control.end(Cause::Administrator);
    assert_eq!((first.take(), last.take()), (0, 1));
}

#[test]
fn an_end_before_the_task_asks_is_not_lost() {
    let control = Control::default();
    control.end(Cause::Draining);
    let (_, waker) = Wakes::new();
    let end = control.poll_end(&mut Context::from_waker(&waker));
    assert_eq!(end, Poll::Ready(Cause::Draining));
}

#[test]
fn meeting_the_partner_is_noted() {
    let control = Control::default();
    assert!(!control.is_paired());
    control.set_paired();
    assert!(control.is_paired());
}

#[test]
fn the_state_follows_the_stream() {
    let control = Control::default();
    assert_eq!(control.state(), State::Waiting);
    control.set_paired();
    assert_eq!(control.state(), State::Paired);
    control.set_concluding();
    assert_eq!(control.state(), State::Ending);
    let asked = Control::default();
    asked.end(Cause::Administrator);
    assert_eq!(asked.state(), State::Ending);
}

#[test]
fn what_was_carried_can_be_seen() {
    let control = Control::default();
    let totals = Totals {
        bytes_in: 1,
        messages_in: 2,
        bytes_out: 3,
        messages_out: 4,
    };
    control.count(&totals);
    assert_eq!(control.carried(), totals);
}
