//! Two sides of a pair with peers in memory.

use std::{
    cell::Cell,
    hint::black_box,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use jumpstarter_router::inside::splice::{
    Broken, Sink, Source, ending::Ending, lane::lane, scanner::Scanner, side::Side,
};

use super::case::WHOLE;

const WINDOW: u32 = 1 << 20;

/// Sends the same message again and again, as often as it is told.
struct Sends {
    frames: Vec<Bytes>,
    at: usize,
    messages: Rc<Cell<u64>>,
}

impl Source for Sends {
    fn poll_data(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.messages.get() == 0 {
            return Poll::Pending;
        }
        let frame = self.frames[self.at].clone();
        self.at += 1;
        if self.at == self.frames.len() {
            self.at = 0;
            self.messages.set(self.messages.get() - 1);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn release(&mut self, _: &mut Context<'_>, bytes: usize) {
        black_box(bytes);
    }
}

/// Takes all.
struct Takes(Rc<Cell<u64>>);

impl Sink for Takes {
    fn poll_capacity(&mut self, _: &mut Context<'_>, want: usize) -> Poll<Result<usize, Broken>> {
        Poll::Ready(Ok(want))
    }
    fn send(&mut self, chunk: Bytes) -> Result<(), Broken> {
        self.0.set(self.0.get() + chunk.len() as u64);
        drop(black_box(chunk));
        Ok(())
    }
    fn poll_broken(&mut self, _: &mut Context<'_>) -> Poll<Broken> {
        Poll::Pending
    }
    fn finish(&mut self, _: Ending) {}
    fn reset(&mut self) {}
}

/// One peer sends, the other takes.
pub struct Pair {
    sender: Side<Sends, Takes>,
    receiver: Side<Sends, Takes>,
    messages: Rc<Cell<u64>>,
    length: u64,
    taken: Rc<Cell<u64>>,
}

impl Pair {
    pub fn new(frames: &[Bytes]) -> Self {
        let (there, back) = (lane(), lane());
        let length = frames.iter().map(|frame| frame.len() as u64).sum();
        let messages = Rc::new(Cell::new(0));
        let taken = Rc::new(Cell::new(0));
        let side = |messages, taken, lanes| {
            let source = Sends {
                frames: frames.to_vec(),
                at: 0,
                messages,
            };
            let scanner = Scanner::new(4 << 20, WHOLE, false);
            Side::new(source, Takes(taken), scanner, lanes, WINDOW)
        };
        Self {
            sender: side(messages.clone(), Rc::default(), (there.0, back.1)),
            receiver: side(Rc::default(), taken.clone(), (back.0, there.1)),
            messages,
            length,
            taken,
        }
    }

    /// Passes so many messages from one peer to the other.
    pub fn pass(&mut self, messages: u64) {
        let mut cx = Context::from_waker(Waker::noop());
        self.messages.set(messages);
        self.taken.set(0);
        while self.taken.get() < messages * self.length {
            assert!(self.sender.poll_paired(&mut cx).is_pending());
            assert!(self.receiver.poll_paired(&mut cx).is_pending());
        }
        // The credit goes back.
        assert!(self.sender.poll_paired(&mut cx).is_pending());
    }
}
