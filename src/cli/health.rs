//! `health`: asks a router how it is, for probes that run a command. The image has no shell to do so with.

use std::{
    ffi::OsString,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use thiserror::Error;

use super::{config_args::ConfigArgs, fail};
use crate::config;

/// No answer is read beyond this, bytes.
const MOST: usize = 8 * 1024;

/// How long to wait before asking again when the connection was cut, as a router does that has too many of them.
const AGAIN: Duration = Duration::from_millis(20);

/// Options of `health`.
#[derive(Args, Clone, Debug)]
pub struct HealthArgs {
    /// Ask whether the process runs, not whether it wants new streams
    #[arg(long)]
    pub live: bool,
    /// Where to ask
    #[arg(
        long,
        value_name = "HOST:PORT",
        help = "Where to ask [default: listen.health_address of the configuration]"
    )]
    pub address: Option<String>,
    /// How long the answer may take
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Configuration file
    #[arg(
        long,
        value_name = "FILE",
        help = "Configuration file [env: JUMPSTARTER_ROUTER_CONFIG]"
    )]
    pub config: Option<PathBuf>,
}

/// Why a router is not taken to be well.
#[derive(Debug, Error)]
pub enum HealthError {
    /// The address is not understood or not known.
    #[error("--address {0:?}: expected host:port: {1}")]
    Address(String, io::Error),
    /// The router answers no probes.
    #[error("listen.health_address is \"0\", so no probe is answered; set it, or give --address")]
    Off,
    /// Nobody is there.
    #[error("{0}: {1}; is the router running, with this as its listen.health_address?")]
    Unreachable(SocketAddr, io::Error),
    /// Nothing came in time.
    #[error("{0}: no answer within {1:?}")]
    Late(SocketAddr, Duration),
    /// Something else is there.
    #[error("{0}: the answer is not HTTP; expected the listen.health_address of a router")]
    NotHttp(SocketAddr),
    /// It says no.
    #[error("{path} of {address} answered {status}: {text}")]
    Unwell {
        /// Who.
        address: SocketAddr,
        /// What was asked.
        path: &'static str,
        /// The HTTP status.
        status: u16,
        /// The first line of what it said.
        text: String,
    },
}

/// Runs `health`. Exit code 0 if the router is well, else 1 and why not.
pub fn run(args: &HealthArgs, env: Vec<(String, OsString)>) -> ExitCode {
    match check(args, env) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Asks, and takes everything but the answer 200 for an error.
pub fn check(args: &HealthArgs, env: Vec<(String, OsString)>) -> Result<(), HealthError> {
    let end = Instant::now() + args.timeout;
    let path = if args.live { "/healthz" } else { "/readyz" };
    let mut refused = HealthError::Off;
    for address in addresses(args, env)? {
        match ask_again(address, path, end) {
            Ok(Answer { status: 200, .. }) => return Ok(()),
            Ok(Answer { status, text }) => {
                return Err(HealthError::Unwell {
                    address,
                    path,
                    status,
                    text,
                });
            }
            Err(error) => {
                refused = match error.kind() {
                    // The former is what a socket says whose time is over.
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        return Err(HealthError::Late(address, args.timeout));
                    }
                    io::ErrorKind::InvalidData => return Err(HealthError::NotHttp(address)),
                    _ => HealthError::Unreachable(address, error),
                };
            }
        }
    }
    Err(refused)
}

/// Where to ask, one after the other until somebody is there.
///
/// The rest of the configuration need not be valid: a key file that is being replaced must not fail a probe.
///
/// # Errors
///
/// An address that is not understood, and none.
pub fn addresses(
    args: &HealthArgs,
    env: Vec<(String, OsString)>,
) -> Result<Vec<SocketAddr>, HealthError> {
    if let Some(address) = &args.address {
        let host_given = !address.starts_with(':');
        let full = if host_given {
            address.clone()
        } else {
            format!("localhost{address}")
        };
        let found = full.to_socket_addrs();
        return match found {
            Ok(found) => Ok(found.collect()),
            Err(error) => Err(HealthError::Address(address.clone(), error)),
        };
    }
    let from = ConfigArgs {
        config: args.config.clone(),
        ..ConfigArgs::default()
    };
    // It has no `--set`, which is all that could be wrong with it.
    let sources = from.sources(env).unwrap_or_default();
    let address = config::glance(&sources).listen.health_address;
    let address = address.ok_or(HealthError::Off)?;
    let own: &[IpAddr] = if address.ip().is_unspecified() {
        &[
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]
    } else {
        &[address.ip()]
    };
    let port = address.port();
    Ok(own.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    text: String,
}

/// Asks until there is an answer or the time is over: under a flood of connections, one may be cut.
fn ask_again(address: SocketAddr, path: &str, end: Instant) -> io::Result<Answer> {
    loop {
        match ask(address, path, end) {
            Err(error) if is_cut(&error) && Instant::now() + AGAIN < end => thread::sleep(AGAIN),
            result => return result,
        }
    }
}

fn is_cut(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

fn ask(address: SocketAddr, path: &str, end: Instant) -> io::Result<Answer> {
    let left = || {
        let left = end.saturating_duration_since(Instant::now());
        // Zero would mean "for ever".
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        Ok(left)
    };
    let mut socket = TcpStream::connect_timeout(&address, left()?)?;
    socket.set_write_timeout(Some(left()?))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while answer.len() < MOST {
        socket.set_read_timeout(Some(left()?))?;
        match socket.read(&mut chunk)? {
            0 => break,
            length => answer.extend_from_slice(&chunk[..length]),
        }
    }
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    parse(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The status and the first line of the body, without what could disturb a terminal.
fn parse(answer: &[u8]) -> Option<Answer> {
    let answer = String::from_utf8_lossy(answer);
    let rest = answer.strip_prefix("HTTP/1.")?;
    let status = rest.split_once(' ')?.1.get(..3)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let line = body.lines().next().unwrap_or_default().trim();
    let text = line.chars().filter(|c| !c.is_control()).take(200).collect();
    Some(Answer { status, text })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn args(address: Option<&str>) -> HealthArgs {
        HealthArgs {
            live: false,
            address: address.map(ToOwned::to_owned),
            timeout: Duration::from_secs(2),
            config: None,
        }
    }

    fn at(address: Option<&str>, env: &[(&str, &str)]) -> Vec<String> {
        let env = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
            .collect();
        let found = addresses(&args(address), env).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_address_is_the_routers_own_unless_one_is_given() {
        const VARIABLE: &str = "JUMPSTARTER_ROUTER_LISTEN_HEALTH_ADDRESS";
        assert_eq!(at(None, &[]), ["127.0.0.1:8081", "[::1]:8081"]);
        assert_eq!(at(None, &[(VARIABLE, "127.0.0.1:99")]), ["127.0.0.1:99"]);
        let all = at(None, &[(VARIABLE, "0.0.0.0:99")]);
        assert_eq!(all, ["127.0.0.1:99", "[::1]:99"]);
        // What else is wrong is not the probe's concern.
        let env = [(VARIABLE, "127.0.0.1:99"), ("ROUTER_KEY", "")];
        assert_eq!(at(None, &env), ["127.0.0.1:99"]);
        assert_eq!(at(Some("127.0.0.1:98"), &env), ["127.0.0.1:98"]);
        assert!(at(Some(":97"), &env).iter().all(|a| a.ends_with(":97")));
        let off = vec![(VARIABLE.to_owned(), OsString::from("0"))];
        assert!(matches!(addresses(&args(None), off), Err(HealthError::Off)));
        let wrong = addresses(&args(Some("8081")), vec![]);
        assert!(matches!(wrong, Err(HealthError::Address(..))));
    }

    #[test]
    fn answers() {
        let good =
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 8\r\n\r\ndrain\x1b[0m\nmore";
        let answer = parse(good).unwrap();
        assert_eq!((answer.status, &*answer.text), (503, "drain[0m"));
        assert_eq!(parse(b"HTTP/1.1 200 OK").unwrap().status, 200);
        for bad in [
            &b""[..],
            b"SSH-2.0-x",
            b"HTTP/1.1",
            b"HTTP/1.1 2",
            b"HTTP/1.1 \xff\xff\xff\xff",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
