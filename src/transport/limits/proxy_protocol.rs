//! The PROXY protocol, versions 1 and 2: a load balancer says first whose connection it passes on.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. Exactly the header is read: what follows it is
//! TLS or HTTP/2. So each read asks only for bytes that the shortest header must still have.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How version 1 begins.
const TEXT: &[u8] = b"PROXY ";

/// The shortest header: `PROXY UNKNOWN` and the end of the line.
const SHORTEST: usize = 15;

/// The longest line of version 1, its end included.
const LONGEST_LINE: usize = 107;

/// How version 2 begins.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// In version 2, what stands before the addresses.
const FIXED: usize = 16;

/// The longest header of version 2 that is read. It may carry much, such as a client's certificate name.
const LONGEST: usize = 4096;

/// Why there is no address.
#[derive(Debug, Error)]
pub(crate) enum HeaderError {
    /// Closed before the first byte, as load balancers' TCP probes do.
    #[error("closed before a PROXY header")]
    Nothing,
    /// Closed, or lost, inside the header.
    #[error("the connection ended inside the PROXY header: {0}")]
    Io(#[from] io::Error),
    /// Something else.
    #[error("expected a PROXY header of version 1 or 2, found something else")]
    Missing,
    /// A header with a mistake.
    #[error("malformed PROXY header: {0}")]
    Malformed(&'static str),
}

/// Reads the header. `None`: it names no address, as with a load balancer's own health checks.
pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin)) -> Result<Option<IpAddr>, HeaderError> {
    let mut header = Vec::new();
    loop {
        let more = match look(&header)? {
            Look::Done(address) => return Ok(address),
            Look::More(more) => more,
        };
        let have = header.len();
        header.resize(have + more, 0);
        let count = io.read(&mut header[have..]).await?;
        header.truncate(have + count);
        if count == 0 && have == 0 {
            return Err(HeaderError::Nothing);
        }
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// What the bytes so far say.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// At least so many more belong to the header.
    More(usize),
    /// The header is complete.
    Done(Option<IpAddr>),
}

fn look(header: &[u8]) -> Result<Look, HeaderError> {
    let begins = |with: &[u8]| header.starts_with(with) || with.starts_with(header);
    if begins(TEXT) {
        look_at_line(header)
    } else if begins(SIGNATURE) {
        look_at_binary(header)
    } else {
        Err(HeaderError::Missing)
    }
}

fn look_at_line(header: &[u8]) -> Result<Look, HeaderError> {
    if header.len() < SHORTEST {
        return Ok(Look::More(SHORTEST - header.len()));
    }
    let Some(line) = header.strip_suffix(b"\r\n") else {
        if header.contains(&b'\n') {
            return Err(HeaderError::Malformed("the line does not end with CR LF"));
        }
        if header.len() >= LONGEST_LINE {
            return Err(HeaderError::Malformed("the line is longer than 107 bytes"));
        }
        return Ok(Look::More(if header.ends_with(b"\r") { 1 } else { 2 }));
    };
    parse_line(line).map(Look::Done)
}

fn parse_line(line: &[u8]) -> Result<Option<IpAddr>, HeaderError> {
    let malformed = HeaderError::Malformed;
    let line = std::str::from_utf8(line).map_err(|_| malformed("the line is not ASCII"))?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Ok(None);
    }
    let address = |word: Option<&str>| -> Result<IpAddr, HeaderError> {
        let word = word.unwrap_or_default();
        let parsed = match family {
            "TCP4" => word.parse::<Ipv4Addr>().map(IpAddr::from),
            "TCP6" => word.parse::<Ipv6Addr>().map(IpAddr::from),
            _ => return Err(malformed("expected TCP4, TCP6 or UNKNOWN")),
        };
        parsed.map_err(|_| malformed("an address is missing or is none of its family"))
    };
    let port = |word: Option<&str>| {
        let word = word.unwrap_or_default();
        let canonical = word == "0" || !word.starts_with(['0', '+']);
        (canonical && word.parse::<u16>().is_ok())
            .then_some(())
            .ok_or(malformed("a port is missing or is none"))
    };
    let source = address(words.next())?;
    address(words.next())?;
    port(words.next())?;
    port(words.next())?;
    match words.next() {
        None => Ok(Some(source.to_canonical())),
        Some(_) => Err(malformed("the line goes on after the ports")),
    }
}

fn look_at_binary(header: &[u8]) -> Result<Look, HeaderError> {
    let Some((fixed, rest)) = header.split_first_chunk::<FIXED>() else {
        return Ok(Look::More(FIXED - header.len()));
    };
    let [.., command, family, high, low] = *fixed;
    if command >> 4 != 2 {
        return Err(HeaderError::Malformed("the version is not 2"));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED + length > LONGEST {
        return Err(HeaderError::Malformed("longer than 4096 bytes"));
    }
    let local = match command & 15 {
        0 => true,
        1 => false,
        _ => return Err(HeaderError::Malformed("neither LOCAL nor PROXY")),
    };
    if !local && (family >> 4 > 3 || family & 15 > 2) {
        return Err(HeaderError::Malformed("unknown address family"));
    }
    if rest.len() < length {
        return Ok(Look::More(length - rest.len()));
    }
    // Source, destination, two ports. Then what else the sender knows, which nobody here asks for.
    let source = match family {
        _ if local => return Ok(Look::Done(None)),
        0x11 if length >= 12 => rest.first_chunk().map(|ip| Ipv4Addr::from(*ip).into()),
        0x21 if length >= 36 => rest.first_chunk().map(|ip: &[u8; 16]| {
            let ip: IpAddr = Ipv6Addr::from(*ip).into();
            ip.to_canonical()
        }),
        0x11 | 0x21 => return Err(HeaderError::Malformed("too short for its addresses")),
        // No address, a Unix socket's or a datagram's: as with LOCAL.
        _ => None,
    };
    Ok(Look::Done(source))
}

#[cfg(test)]
mod tests;
