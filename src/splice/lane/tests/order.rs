//! What goes in comes out, whatever the order of the two ends' steps.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// A chunk; of it, so many 256ths are ready.
    Push(usize, u8),
    Flush,
    Take(usize),
    Commit,
    Credit(u64),
    End,
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 1usize..200,
        1 => Just(0),
        1 => SMALL_CHUNK - 2..SMALL_CHUNK + 2,
        2 => 1usize..70 * 1024,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => (length(), prop_oneof![Just(0), Just(255), any::<u8>()]).prop_map(|(length, ready)| Step::Push(length, ready)),
        20 => Just(Step::Flush),
        15 => prop_oneof![1usize..100, 1usize..100_000].prop_map(Step::Take),
        8 => Just(Step::Commit),
        8 => (1u64..100_000).prop_map(Step::Credit),
        1 => Just(Step::End),
    ]
}

/// The two ends of a lane, and what they should have done.
struct Model {
    tx: LaneSender,
    rx: LaneReceiver,
    /// Each long chunk: where it begins, and whether all of it was ready as it came.
    long: Vec<(u64, Bytes, bool)>,
    put: Vec<u8>,
    ready: usize,
    out: Vec<u8>,
    credit: u64,
    committed: u64,
}

impl Model {
    fn is_part(&self, at: u64, frame: &Bytes) -> bool {
        self.long.iter().any(|(start, chunk, _)| {
            let from = at.saturating_sub(*start) as usize;
            from < chunk.len() && chunk[from..].as_ptr() == frame.as_ptr()
        })
    }

    fn take(&mut self, most: usize) -> bool {
        let Some(frame) = self.rx.take(most) else {
            return false;
        };
        assert!(!frame.is_empty() && frame.len() <= most);
        let at = self.out.len() as u64;
        self.out.extend_from_slice(&frame);
        let end = at + frame.len() as u64;
        let joined = |start: u64| at < start && start < end;
        let copied = |&(start, _, whole): &(u64, Bytes, bool)| whole && joined(start);
        assert!(!self.long.iter().any(copied), "a long chunk was copied");
        match self
            .long
            .iter()
            .find(|(start, _, whole)| *whole && *start == at)
        {
            Some((_, chunk, _)) => {
                assert_eq!(frame.as_ptr(), chunk.as_ptr());
                assert_eq!(frame.len(), most.min(chunk.len()));
            }
            // The rest of a long chunk, or joined from short ones.
            None => assert!(frame.len() <= JOINED_FRAME || self.is_part(at, &frame)),
        }
        assert_eq!(self.rx.taken(), self.out.len() as u64);
        true
    }

    fn step(&mut self, step: &Step, ended: bool, cx: &mut Context<'_>) {
        match *step {
            Step::Push(..) | Step::Flush | Step::End if ended => {}
            Step::Push(length, share) => {
                let start = self.put.len();
                let chunk: Bytes = (start..start + length).map(|at| (at % 253) as u8).collect();
                let ready = length * usize::from(share) / 255;
                self.put.extend_from_slice(&chunk);
                if ready > 0 {
                    self.ready = start + ready;
                }
                if length >= SMALL_CHUNK {
                    let whole = ready == length;
                    self.long.push((start as u64, chunk.clone(), whole));
                }
                self.tx.push(chunk, ready);
            }
            Step::Flush => self.tx.flush(0),
            Step::Take(most) => {
                self.take(most);
            }
            Step::Commit => {
                self.rx.commit();
                self.committed = self.rx.taken();
            }
            Step::Credit(threshold) => {
                self.credit += self.tx.poll_credit(cx, threshold);
                assert_eq!(self.credit, self.committed);
            }
            Step::End => self.tx.end(LaneEnd::HalfClosed),
        }
        if !ended {
            assert_eq!(self.tx.held(), self.put.len() as u64 - self.credit);
            let published = self.out.len() + self.rx.waiting();
            assert_eq!(self.tx.backlog(), (self.ready - published) as u64);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_ready_comes_out_as_it_went_in(steps in prop::collection::vec(step(), 1..250)) {
        let (tx, rx) = lane();
        let (long, put, out) = (Vec::new(), Vec::new(), Vec::new());
        let mut model = Model { tx, rx, long, put, ready: 0, out, credit: 0, committed: 0 };
        let (_, waker) = Wakes::new();
        let mut cx = Context::from_waker(&waker);
        let mut ended = false;
        for step in &steps {
            model.step(step, ended, &mut cx);
            ended |= matches!(step, Step::End);
            prop_assert!(model.out.len() <= model.ready);
            prop_assert_eq!(model.tx.ring.buffer().capacity(), SLOTS);
        }
        model.tx.end(LaneEnd::HalfClosed);
        loop {
            match model.rx.poll_next(&mut cx) {
                Poll::Ready(Next::Data(waiting)) => {
                    prop_assert_eq!(waiting, model.ready - model.out.len());
                    prop_assert!(model.take(70_000));
                }
                next => {
                    prop_assert_eq!(next, Poll::Ready(Next::End(LaneEnd::HalfClosed)));
                    break;
                }
            }
        }
        prop_assert_eq!(&model.out[..], &model.put[..model.ready]);
        model.credit += model.tx.poll_credit(&mut cx, 1);
        prop_assert_eq!(model.credit, model.ready as u64);
        prop_assert_eq!(model.tx.poll_finished(&mut cx), Poll::Ready(()));
    }
}

/// Calls are whole steps above. Here the two ends run inside each other's calls.
#[test]
fn two_threads_lose_nothing() {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    fn sleep() {
        let start = std::time::Instant::now();
        std::thread::park_timeout(LONG);
        assert!(start.elapsed() < LONG, "nobody woke this thread");
    }
    const LONG: std::time::Duration = std::time::Duration::from_secs(20);
    const ROUNDS: usize = 20_000;
    let (mut tx, mut rx) = lane();
    let consumer = std::thread::spawn(move || {
        let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Context::from_waker(&waker);
        let mut at = 0;
        loop {
            match rx.poll_next(&mut cx) {
                Poll::Pending => sleep(),
                Poll::Ready(Next::Data(waiting)) => {
                    assert!(waiting <= ROUNDS * 3_000);
                    let Some(frame) = rx.take(20_000) else {
                        panic!("{waiting} bytes were announced at {at}");
                    };
                    for byte in frame {
                        assert_eq!(byte, (at % 251) as u8);
                        at += 1;
                    }
                    rx.commit();
                }
                Poll::Ready(Next::End(end)) => return (at, end),
            }
        }
    });
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let (mut put, mut credit) = (0, 0);
    let bytes: Vec<u8> = (0..251usize * 20).map(|at| (at % 251) as u8).collect();
    for round in 0..ROUNDS {
        for length in [7, 1_500, 300, 1_100, 20] {
            let length = length + round % 13;
            let start = put % 251;
            tx.push(
                Bytes::copy_from_slice(&bytes[start..start + length]),
                length,
            );
            put += length;
        }
        tx.flush(5);
        credit += tx.poll_credit(&mut cx, 1_000);
        while tx.held() > 30_000 {
            sleep();
            credit += tx.poll_credit(&mut cx, 1_000);
            tx.flush(0);
        }
    }
    tx.end(LaneEnd::HalfClosed);
    while tx.poll_finished(&mut cx).is_pending() {
        sleep();
    }
    credit += tx.poll_credit(&mut cx, 1);
    assert_eq!(consumer.join().unwrap(), (put, LaneEnd::HalfClosed));
    assert_eq!(credit, put as u64);
}
