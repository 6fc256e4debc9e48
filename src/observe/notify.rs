//! Tells a service manager how the router is, in the way of systemd's `sd_notify`.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        net::{SocketAddr, UnixDatagram},
    },
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Names the socket that the service manager reads.
const SOCKET_ENV: &str = "NOTIFY_SOCKET";

/// How often the service manager wants a sign of life, microseconds.
const WATCHDOG_ENV: &str = "WATCHDOG_USEC";

/// And from which process.
const WATCHDOG_PID_ENV: &str = "WATCHDOG_PID";

/// The way to the service manager, if there is one. Failures are logged and have no other effect here: a manager that
/// hears nothing does something about it.
#[derive(Debug)]
pub(crate) struct Notify {
    manager: Option<(UnixDatagram, SocketAddr)>,
    stopping: AtomicBool,
}

impl Notify {
    /// To the socket that the environment names, or to nobody.
    pub(crate) fn new(env: &[(String, OsString)]) -> Self {
        let named = env.iter().find(|(name, _)| name == SOCKET_ENV);
        let named = named.filter(|(_, name)| !name.is_empty());
        let manager = named.and_then(|(_, name)| {
            let way = open(name).inspect_err(|error| {
                tracing::warn!(%error, "no service manager will be told anything: {SOCKET_ENV} is {name:?}");
            });
            way.ok()
        });
        Self {
            manager,
            stopping: AtomicBool::new(false),
        }
    }

    /// It serves.
    pub(crate) fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving");
    }

    /// It takes in its configuration anew. [`Notify::reloaded`] must follow, whatever becomes of it.
    pub(crate) fn reloading(&self) {
        if self.stopping.load(Ordering::Relaxed) {
            return;
        }
        // By this time the manager tells whether it was its own request that is being followed.
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// It has taken it in, or refused it.
    pub(crate) fn reloaded(&self, accepted: bool) {
        // Nor is it ready any more.
        if self.stopping.load(Ordering::Relaxed) {
            return;
        }
        self.tell(if accepted {
            "READY=1\nSTATUS=serving"
        } else {
            "READY=1\nSTATUS=serving; the changed configuration was refused, the log says why"
        });
    }

    /// It is alive.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// It drains and then ends.
    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    fn tell(&self, what: &str) {
        let Some((socket, manager)) = &self.manager else {
            return;
        };
        if let Err(error) = socket.send_to_addr(what.as_bytes(), manager) {
            tracing::warn!(%error, "cannot tell the service manager {what:?} ({SOCKET_ENV})");
        }
    }
}

/// How long the service manager waits for a sign of life, if it does.
pub(crate) fn watchdog(env: &[(String, OsString)]) -> Option<Duration> {
    let value = |wanted: &str| {
        let found = env.iter().find(|(name, _)| name == wanted);
        found.and_then(|(_, value)| value.to_str())
    };
    let meant = value(WATCHDOG_PID_ENV).is_none_or(|pid| pid == std::process::id().to_string());
    let micros = value(WATCHDOG_ENV)?.parse().ok()?;
    (meant && micros > 0).then_some(Duration::from_micros(micros))
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = address(name)?;
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up the router.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// A path, or a name without a file, which is written with an `@` and which only Linux has.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().split_first() {
        Some((b'/', _)) => SocketAddr::from_pathname(name),
        #[cfg(target_os = "linux")]
        Some((b'@', name)) => {
            use std::os::linux::net::SocketAddrExt as _;
            SocketAddr::from_abstract_name(name)
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "expected an absolute path, or a name after an @",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_that_can_be_used_is_used() {
        let used = |env: &[(&str, &str)]| {
            let env = env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.into()));
            Notify::new(&env.collect::<Vec<_>>()).manager.is_some()
        };
        assert!(!used(&[]));
        assert!(!used(&[(SOCKET_ENV, "")]));
        assert!(used(&[(SOCKET_ENV, "/run/x")]));
        assert_eq!(used(&[(SOCKET_ENV, "@x")]), cfg!(target_os = "linux"));
        let too_long = format!("/{}", "x".repeat(200));
        for wrong in ["relative", "vsock:2:3", &too_long] {
            assert!(!used(&[(SOCKET_ENV, wrong)]), "{wrong}");
        }
    }

    #[test]
    fn a_watchdog_is_for_one_process() {
        let asked = |env: &[(&str, &str)]| {
            let env = env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.into()));
            watchdog(&env.collect::<Vec<_>>())
        };
        let own = std::process::id().to_string();
        let second = Some(Duration::from_secs(1));
        assert_eq!(asked(&[(WATCHDOG_ENV, "1000000")]), second);
        let for_pid = |pid| asked(&[(WATCHDOG_ENV, "1000000"), (WATCHDOG_PID_ENV, pid)]);
        assert_eq!(for_pid(&own), second);
        assert_eq!(for_pid("1"), None);
        assert_eq!(asked(&[]), None);
        for wrong in ["", "0", "-1", "x"] {
            assert_eq!(asked(&[(WATCHDOG_ENV, wrong)]), None, "{wrong}");
        }
    }
}
