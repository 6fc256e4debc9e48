//! Signals that end this process or stop it: before they do, the terminal is given back.

use std::{
    future::poll_fn,
    io,
    sync::{Arc, atomic::AtomicBool},
    task::Poll,
    time::Duration,
};

use nix::unistd::{getpgrp, getsid, tcgetpgrp};
use rustix::process::{Signal as Name, getpid, kill_current_process_group, kill_process};
use signal_hook::flag;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

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

/// In this time the runtime notices what has come.
const AT_ONCE: Duration = Duration::from_millis(10);

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
    /// Begins to listen. A second ending signal ends the process at once, so also while it waits for a terminal that takes
    /// nothing, such as that of a connection that is stuck; modes of the terminal are not set back then.
    pub(super) fn new() -> io::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        for name in ENDING {
            flag::register_conditional_default(name.as_raw(), ending.clone())?;
            flag::register(name.as_raw(), ending.clone())?;
        }
        let mut all: Vec<_> = ENDING.map(|name| (name, Wanted::End(name))).into();
        all.push((Name::TSTP, Wanted::Stop));
        all.push((Name::CONT, Wanted::Continue));
        let all = all.into_iter().map(|(name, wanted)| {
            let kind = SignalKind::from_raw(name.as_raw());
            Ok((wanted, signal(kind)?))
        });
        Ok(Self(all.collect::<io::Result<_>>()?))
    }

    /// Tells which one has come already, an ending one first.
    pub(super) async fn come(&mut self) -> Option<Wanted> {
        timeout(AT_ONCE, self.next()).await.ok()
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

/// Stops this process until somebody continues it. `group`: whoever waits for it is stopped with it, as by Ctrl-Z.
pub(super) fn stop(group: bool) -> io::Result<()> {
    if group {
        kill_current_process_group(Name::STOP)?;
    } else {
        kill_process(getpid(), Name::STOP)?;
    }
    Ok(())
}

/// Tells whether there is a shell that could continue this process. In the group that leads the session there is none, as
/// behind `kubectl exec`: who stops there stops for good. A session or group outside this process's PID namespace is 0, see
/// `pid_namespaces(7)`: of a group there nobody knows what it leads.
pub(super) fn can_stop() -> bool {
    getsid(None).is_ok_and(|session| session != getpgrp())
}

/// Tells whether the terminal is another group's just now. Whoever changes it all the same is stopped by the system, for as
/// long as that is so. A group outside the PID namespace, 0, says nothing.
pub(super) fn is_in_background() -> bool {
    tcgetpgrp(io::stdout()).is_ok_and(|group| group.as_raw() != 0 && group != getpgrp())
}
