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
    // 2 of 32, `tcpi_notsent_bytes` and `tcpi_min_rtt`. The struct only ever grows at its end. Before the first sample
    // the kernel says the largest number.
    const MIN_RTT: usize = (8 + 24 * 4 + 4 * 8 + 4 * 2) + 4;
    let mut info = [0_u8; MIN_RTT + 4];
    let mut length = info.len() as libc::socklen_t;
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
    if (length as usize) < info.len() {
        return Ok(None);
    }
    let mut micros = [0; 4];
    micros.copy_from_slice(&info[MIN_RTT..]);
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
}
