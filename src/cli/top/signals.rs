//! Signals that end this process or stop it: before they do, the terminal is given back.

use std::{future::poll_fn, io, task::Poll};

use rustix::process::Signal as Name;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// End a process that does nothing about them, and can be waited for. Not SIGPIPE, which Rust's programs never get.
const ENDING: [Name; 7] = [
    Name::HUP,
    Name::INT,
    Name::QUIT,
    Name::TERM,
    Name::ALARM,
    Name::USR1,
    Name::USR2,
];

/// Says what a signal wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The end.
    End(Name),
    /// A pause, as after Ctrl-Z.
    Stop,
    /// To go on after one that could not be waited for.
    Continue,
}

/// Waits for signals.
#[derive(Debug)]
pub(super) struct Signals(Vec<(Wanted, Signal)>);

impl Signals {
    /// Begins to listen.
    pub(super) fn new() -> io::Result<Self> {
        let mut all: Vec<_> = ENDING.map(|name| (name, Wanted::End(name))).into();
        all.push((Name::TSTP, Wanted::Stop));
        all.push((Name::CONT, Wanted::Continue));
        let all = all.into_iter().map(|(name, wanted)| {
            let kind = SignalKind::from_raw(name.as_raw());
            Ok((wanted, signal(kind)?))
        });
        Ok(Self(all.collect::<io::Result<_>>()?))
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Wanted {
        poll_fn(|context| {
            for (wanted, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*wanted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Ends this process as the signal does where nobody listens for it.
pub(super) fn end(name: Name) -> io::Result<()> {
    signal_hook::low_level::emulate_default_handler(name.as_raw())
}
