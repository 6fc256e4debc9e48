//! Tells a service manager how far the router is, in the way of systemd's `sd_notify`.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Names the socket that the service manager reads.
const SOCKET_ENV: &str = "NOTIFY_SOCKET";

/// The way to the service manager, if there is one. Failures are logged and have no other effect here: a manager that
/// hears nothing does something about it.
#[derive(Debug)]
pub struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// To the socket that the environment names, or to nobody.
    pub fn new(env: &[(String, OsString)]) -> Self {
        let named = env.iter().find(|(name, _)| name == SOCKET_ENV);
        let Some((_, name)) = named.filter(|(_, name)| !name.is_empty()) else {
            return Self(None);
        };
        match open(name) {
            Ok(way) => Self(Some(way)),
            Err(error) => {
                tracing::warn!(%error, "no service manager will be told anything: {SOCKET_ENV} is {name:?}");
                Self(None)
            }
        }
    }

    /// It serves.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving");
    }

    /// It drains and then ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    fn tell(&self, what: &str) {
        let Some((socket, manager)) = &self.0 else {
            return;
        };
        if let Err(error) = socket.send_to_addr(what.as_bytes(), manager) {
            tracing::warn!(%error, "cannot tell the service manager {what:?} ({SOCKET_ENV})");
        }
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = address(name)?;
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up the router.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// A path, or a name without a file, which is written with an `@`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().split_first() {
        Some((b'/', _)) => SocketAddr::from_pathname(name),
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
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
            Notify::new(&env.collect::<Vec<_>>()).0.is_some()
        };
        assert!(!used(&[]));
        assert!(!used(&[(SOCKET_ENV, "")]));
        assert!(used(&[(SOCKET_ENV, "/run/x")]));
        assert!(used(&[(SOCKET_ENV, "@x")]));
        let too_long = format!("/{}", "x".repeat(200));
        for wrong in ["relative", "vsock:2:3", &too_long] {
            assert!(!used(&[(SOCKET_ENV, wrong)]), "{wrong}");
        }
    }
}
