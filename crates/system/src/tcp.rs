//! What the kernel knows of a TCP connection.

use std::{io, os::fd::AsFd, time::Duration};

/// The shortest round trip that the kernel has measured lately between this host and the other end of the connection
/// (`tcpi_min_rtt`, Linux 4.6 and newer). `None` if it does not say, as on other systems or before the first
/// acknowledgement.
///
/// # Errors
/// What the system says if `socket` is not a TCP socket.
#[cfg(target_os = "linux")]
pub fn shortest_round_trip(socket: &impl AsFd) -> io::Result<Option<Duration>> {
    use std::os::fd::AsRawFd;

    // The first fields of `struct tcp_info` (linux/tcp.h), in order: 8 bytes, 24 numbers of 32 bits, 4 of 64, then
    // 4 of 32, of which `tcpi_min_rtt` is the last. The struct only ever grows at its end. Before the first sample
    // the kernel says the largest number.
    const MIN_RTT: u8 = 8 + 24 * 4 + 4 * 8 + 3 * 4;
    const LENGTH: u8 = MIN_RTT + 4;
    let mut info = [0_u8; LENGTH as usize];
    let mut length = libc::socklen_t::from(LENGTH);
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; `info` is valid for writes of `length` bytes,
    // and the kernel writes no more than that and sets `length` to how much it wrote (getsockopt(2)).
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if length < libc::socklen_t::from(LENGTH) {
        return Ok(None);
    }
    let mut micros = [0; 4];
    micros.copy_from_slice(&info[MIN_RTT.into()..]);
    let micros = u32::from_ne_bytes(micros);
    Ok((micros != u32::MAX && micros != 0).then(|| Duration::from_micros(micros.into())))
}

/// Other systems are not asked.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn shortest_round_trip(_: &impl AsFd) -> io::Result<Option<Duration>> {
    Ok(None)
}

/// How large the receive buffer of a socket may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// So many bytes and no more.
    AtMost(u16),
    /// As the kernel sees fit from now on, as it is at first (`net.ipv4.tcp_rmem`).
    Free,
}

/// Sets it. Returns whether the kernel can do that (Linux 5.14 and newer); otherwise nothing has changed.
///
/// # Errors
/// What the system says if `socket` is no socket.
#[cfg(target_os = "linux")]
pub fn set_receive_buffer(socket: &impl AsFd, receive: Receive) -> io::Result<bool> {
    use std::os::fd::AsRawFd;

    // The number on all architectures that Rust's standard library supports but SPARC (asm-generic/socket.h). There it
    // is another option, so it is not tried.
    const SO_BUF_LOCK: libc::c_int = 72;
    const SIZE: libc::socklen_t = 4;
    const _: () = assert!(size_of::<libc::c_int>() == SIZE as usize);
    if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
        return Ok(false);
    }
    let set = |option: libc::c_int, value: libc::c_int| {
        // SAFETY: the descriptor is open for as long as `socket` is borrowed; the kernel reads the four bytes of
        // `value`, which lives until the call returns (setsockopt(2)).
        let result = unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const value).cast(),
                SIZE,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // A size that is set is locked: the kernel would leave it at that for ever. So only if the lock can be taken off.
    match set(SO_BUF_LOCK, 0) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => return Ok(false),
        result => result?,
    }
    // The kernel doubles it, for what it needs besides the bytes themselves (socket(7)).
    let size = |bytes: u16| set(libc::SO_RCVBUF, libc::c_int::from(bytes) / 2);
    match receive {
        Receive::AtMost(bytes) => size(bytes)?,
        Receive::Free => {}
    }
    Ok(true)
}

/// Other systems keep their own size.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn set_receive_buffer(_: &impl AsFd, _: Receive) -> io::Result<bool> {
    Ok(false)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn a_loopback_connection_is_short() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut near = TcpStream::connect(listener.local_addr()?)?;
        let (mut far, _) = listener.accept()?;
        for _ in 0..3 {
            near.write_all(b"x")?;
            far.read_exact(&mut [0])?;
            far.write_all(b"y")?;
            near.read_exact(&mut [0])?;
        }
        let trip = shortest_round_trip(&near)?;
        assert!(
            trip.is_some_and(|trip| trip < Duration::from_millis(100)),
            "{trip:?}"
        );
        assert!(shortest_round_trip(&std::fs::File::open("/dev/null")?).is_err());
        Ok(())
    }

    /// How much a reader that reads all finds in the end.
    fn grown(receive: &[Receive]) -> io::Result<Option<usize>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut near = TcpStream::connect(listener.local_addr()?)?;
        let (mut far, _) = listener.accept()?;
        for receive in receive {
            if !set_receive_buffer(&far, *receive)? {
                return Ok(None);
            }
        }
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        let mut buffer = vec![0; 1 << 18];
        let mut most = 0;
        for _ in 0..5_000 {
            while near.write(&[0; 16 * 1024]).is_ok() {}
            if let Ok(count) = far.read(&mut buffer) {
                most = most.max(count);
            }
        }
        Ok(Some(most))
    }

    #[test]
    fn a_small_receive_buffer_grows_if_it_may() -> io::Result<()> {
        let small = 32 * 1024;
        if let Some(grown) = grown(&[Receive::AtMost(small), Receive::Free])? {
            assert!(grown > 64 * 1024, "{grown}");
        }
        if let Some(grown) = grown(&[Receive::AtMost(small)])? {
            assert!(grown <= usize::from(small), "{grown}");
        }
        Ok(())
    }
}
