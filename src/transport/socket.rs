//! The sockets themselves: the one that listens, and what is set on those that it accepts.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

use crate::transport::settings::Connections;

/// Binds a listening TCP socket. An unspecified IPv6 address takes IPv4 connections, too; on a host
/// without IPv6 it is taken for the unspecified IPv4 address.
///
/// `shared`: other processes of this user may listen there, too (`SO_REUSEPORT`), if they do it in the same way.
pub(crate) fn bind(
    address: SocketAddr,
    backlog: u32,
    shared: bool,
) -> io::Result<std::net::TcpListener> {
    match bind_exactly(address, backlog, shared) {
        Err(error)
            if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
                && address.is_ipv6()
                && address.ip().is_unspecified() =>
        {
            let address = (Ipv4Addr::UNSPECIFIED, address.port());
            bind_exactly(address.into(), backlog, shared)
        }
        result => result,
    }
}

fn bind_exactly(
    address: SocketAddr,
    backlog: u32,
    shared: bool,
) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restarted router takes its port back from connections that are closing.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Bytes the kernel may hold unsent before the socket counts as full.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 * 1024;

/// Sets what every connection's socket needs.
pub(crate) fn prepare(socket: &TcpStream, settings: &Connections) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    // Finds peers that vanished without a word while nothing is sent to them.
    let keepalive = TcpKeepalive::new()
        .with_time(settings.keepalive_interval)
        .with_interval(settings.keepalive_timeout.max(Duration::from_secs(1)));
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    {
        // Bytes wait here, where a PING's answer can still go before them, rather than in the kernel.
        socket.set_tcp_notsent_lowat(UNSENT)?;
        socket.set_tcp_user_timeout(Some(settings.tcp_user_timeout))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_router_takes_its_port_back_but_never_anothers() {
        let first = bind("127.0.0.1:0".parse().unwrap(), 16, false).unwrap();
        let address = first.local_addr().unwrap();
        let taken = bind(address, 16, false).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        // A connection the router closed first keeps the port in TIME_WAIT.
        first.set_nonblocking(false).unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        drop(first.accept().unwrap());
        drop(first);
        drop(client);
        bind(address, 16, false).unwrap();
    }

    #[test]
    fn two_listen_side_by_side_only_if_both_want_to() {
        let first = bind("127.0.0.1:0".parse().unwrap(), 16, true).unwrap();
        let address = first.local_addr().unwrap();
        bind(address, 16, false).unwrap_err();
        let second = bind(address, 16, true).unwrap();
        drop(first);
        drop(second);
        let _alone = bind(address, 16, false).unwrap();
        bind(address, 16, true).unwrap_err();
    }

    #[test]
    fn all_interfaces_take_both_families() {
        let Ok(listener) = bind("[::]:0".parse().unwrap(), 16, false) else {
            panic!("an unspecified address is taken on any machine")
        };
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}
