//! `health`: asks a router how it is, for probes that run a command. The image has no shell to do so with.

use std::{
    error::Error,
    ffi::OsString,
    io, iter,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use http::{Request, StatusCode};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    config_args::ConfigArgs,
    exit::{Exit, Failure},
    http::exchange,
};
use crate::{
    common::{
        address,
        dial::{self, Unreachable},
        text::{chain, joined, printable},
    },
    config,
};

/// No answer is read beyond this, bytes.
const MOST: usize = 8 * 1024;

/// What is wrong with a router that answers no probes.
const OFF: &str =
    "listen.health_address is \"0\", so no probe is answered; set it, or give --address";

/// What may be wrong where nobody answers.
const NOBODY: &str = "is the router running, with this as its listen.health_address?";

/// So long before the end it is said which addresses have not answered.
const LAST_WORD: Duration = Duration::from_millis(50);

/// How long to wait before asking again when the connection was cut, as a router that has too many of them does.
const AGAIN: Duration = Duration::from_millis(20);

/// Options of `health`.
#[derive(Args, Clone, Debug)]
pub struct HealthArgs {
    /// Ask whether the process runs, not whether it wants new streams
    #[arg(long)]
    pub live: bool,
    /// Where to ask, as host:port or a port of this machine [default: listen.health_address of the configuration]
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// How long the answer may take
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Configuration file [env: JUMPSTARTER_ROUTER_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Runs `health`. Exit code 0 if the router is well, else 1 and why not.
pub(crate) async fn run(args: &HealthArgs, env: Vec<(String, OsString)>) -> Result<(), Failure> {
    let addresses = addresses(args, env)?;
    let well = check(args, &addresses).await;
    well.map_err(|why| Failure::new(Exit::Broken, why))
}

/// Asks, and takes everything but the answer 200 for an error.
async fn check(args: &HealthArgs, addresses: &[SocketAddr]) -> Result<(), String> {
    let end = Instant::now() + args.timeout;
    let path = if args.live { "/healthz" } else { "/readyz" };
    let all = joined(addresses, ", ");
    let answer = timeout_at(end, ask(addresses, path, end)).await;
    match answer.map_err(|_| format!("{all}: no answer within {:?}", args.timeout))? {
        Ok((StatusCode::OK, _)) => Ok(()),
        Ok((status, body)) => {
            let (status, text) = (status.as_u16(), first_line(&body));
            Err(format!("{path} of {all} answered {status}: {text}"))
        }
        Err(error) => Err(unanswered(&*error, &all)),
    }
}

/// Says why there is no answer of these addresses.
fn unanswered(error: &(dyn Error + Send + Sync + 'static), all: &str) -> String {
    if let Some(unreachable) = error.downcast_ref::<Unreachable>() {
        return format!("{unreachable}; {NOBODY}");
    }
    if is_of_sockets(error) {
        return format!("{all}: {}; {NOBODY}", chain(error));
    }
    format!("{all}: the answer is not HTTP; expected the listen.health_address of a router")
}

/// Gives the addresses to ask, of which the first that is there counts.
///
/// The rest of the configuration need not be valid: a key file that is being replaced must not fail a probe.
///
/// # Errors
///
/// An address that is not understood, and none.
pub fn addresses(
    args: &HealthArgs,
    env: Vec<(String, OsString)>,
) -> Result<Vec<SocketAddr>, Failure> {
    if let Some(address) = &args.address {
        let at = address::host_port(address).map_err(|why| {
            Failure::new(Exit::Usage, format_args!("--address {address:?}: {why}"))
        })?;
        let found = at.to_socket_addrs();
        let unknown = |error| Failure::new(Exit::Broken, format_args!("--address {at}: {error}"));
        return found.map(Iterator::collect).map_err(unknown);
    }
    let from = ConfigArgs {
        config: args.config.clone(),
        ..ConfigArgs::default()
    };
    // It has no `--set`, which is all that could be wrong with it.
    let sources = from.sources(env).unwrap_or_default();
    let address = config::glance(&sources).listen.health_address;
    let address = address.ok_or_else(|| Failure::new(Exit::Broken, OFF))?;
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

type Unanswered = Box<dyn Error + Send + Sync>;

/// Asks until there is an answer or the time is over: under a flood of connections, one may be cut.
async fn ask(
    addresses: &[SocketAddr],
    path: &str,
    end: Instant,
) -> Result<(StatusCode, Vec<u8>), Unanswered> {
    loop {
        match ask_once(addresses, path, end).await {
            Err(error) if is_cut(&*error) && Instant::now() + AGAIN < end => sleep(AGAIN).await,
            result => return result,
        }
    }
}

async fn ask_once(
    addresses: &[SocketAddr],
    path: &str,
    end: Instant,
) -> Result<(StatusCode, Vec<u8>), Unanswered> {
    // What has not answered by then says so itself.
    let socket = dial::first(addresses, end - LAST_WORD).await?;
    let (host, request) = (socket.peer_addr()?.to_string(), Request::get(path));
    tracing::debug!(address = host, path, "asking");
    let answer = exchange(socket, &host, request, Bytes::new(), MOST).await?;
    Ok((answer.status, answer.body))
}

/// Tells whether an error or one of its causes is of this type and `wanted`.
fn among<'a, E: Error + 'static>(
    error: &'a (dyn Error + 'static),
    wanted: impl Fn(&E) -> bool,
) -> bool {
    iter::successors(Some(error), |&error| error.source())
        .filter_map(|error| error.downcast_ref())
        .any(wanted)
}

fn is_cut(error: &(dyn Error + 'static)) -> bool {
    among(error, hyper::Error::is_incomplete_message)
        || among(error, |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            )
        })
}

/// Tells whether there is no answer, rather than one that is not understood.
fn is_of_sockets(error: &(dyn Error + 'static)) -> bool {
    is_cut(error) || among(error, |_: &io::Error| true)
}

/// Gives the first line of a body, as short as a line for people is.
fn first_line(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let line = body.lines().next().unwrap_or_default().trim();
    printable(&line.chars().take(200).collect::<String>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::common::text::tests::{HOSTILE, assert_harmless};

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
        for port in [":97", "97"] {
            assert_eq!(at(Some(port), &env), ["127.0.0.1:97"]);
        }
        let off = vec![(VARIABLE.to_owned(), OsString::from("0"))];
        assert_eq!(addresses(&args(None), off).unwrap_err().to_string(), OFF);
        let wrong = addresses(&args(Some("localhost")), vec![]).unwrap_err();
        assert_eq!(wrong.exit, Exit::Usage);
        assert!(
            wrong
                .to_string()
                .starts_with("--address \"localhost\": expected a port")
        );
    }

    #[test]
    fn one_line_of_an_answer_is_shown() {
        assert_eq!(first_line(b"draining \nmore"), "draining");
        assert_eq!(first_line(b""), "");
        assert_harmless(&first_line(HOSTILE.replace('\n', "").as_bytes()));
    }
}
