//! Each way to a router, one after the other, as far as it goes.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{finding::Report, http2, names, tls};
use crate::{
    cli::{exit::Exit, join::credentials::RouterArgs},
    client::{ConnectError, Connector},
};

/// How long one address may take to answer. Programs that try several go to the next sooner.
const PATIENCE: Duration = Duration::from_secs(5);

/// What both clocks said at about the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub router: SystemTime,
    pub here: SystemTime,
}

/// Leads to a router, by one of its addresses.
pub(super) struct Way {
    /// Connects this way only.
    pub connector: Connector,
    /// Is the address, for people.
    pub label: String,
    address: SocketAddr,
    /// Whether a router is at its end.
    pub is_router: bool,
    pub clock: Option<Clock>,
}

impl Way {
    /// Makes another connector go this way.
    pub(super) fn along(&self, connector: Connector) -> Connector {
        connector.via(self.address)
    }
}

/// Goes all ways to a router as far as they lead.
pub(super) async fn explore(
    args: &RouterArgs,
    connector: &Connector,
    report: &mut Report,
) -> Vec<Way> {
    let addresses = names::addresses(connector.endpoint(), report).await;
    let tried = join_all(addresses.iter().map(|&address| knock(connector, address))).await;
    let any = tried.iter().any(Result::is_ok);
    let mut ways = Vec::new();
    for (address, answer) in addresses.into_iter().zip(tried) {
        match answer {
            Ok(took) => {
                report.good("tcp", format_args!("{address} answers in {took:.1} ms"));
                ways.push(walk(args, connector, address, report).await);
            }
            Err((why, advice)) if any => {
                let advice = format!(
                    "{advice}; programs go on to the next address, some only after a while"
                );
                report.warning("tcp", format_args!("{address}: {why}"), advice);
            }
            Err((why, advice)) => {
                report.failed(
                    "tcp",
                    Exit::Unreachable,
                    format_args!("{address}: {why}"),
                    advice,
                );
            }
        }
    }
    ways
}

/// Makes a TCP connection. Gives how long that took in milliseconds, or what went wrong, with advice.
async fn knock(connector: &Connector, address: SocketAddr) -> Result<f64, (String, &'static str)> {
    let start = Instant::now();
    match timeout(PATIENCE, connector.clone().via(address).tcp()).await {
        Ok(Ok(_)) => Ok(start.elapsed().as_secs_f64() * 1000.0),
        Ok(Err(error)) => {
            let kind = match &error {
                ConnectError::Io { error, .. } => error.kind(),
                _ => io::ErrorKind::Other,
            };
            let advice = match kind {
                io::ErrorKind::ConnectionRefused => {
                    "nothing listens there: is the port right, and does the router run?"
                }
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                    "this machine has no route there: is the network or the VPN up, and does it carry this kind of address?"
                }
                _ => "what lies between does not let it through",
            };
            Err((error.to_string(), advice))
        }
        Err(_) => {
            let time = humantime::format_duration(PATIENCE);
            let advice = "a firewall drops it, or the host is down";
            Err((format!("no answer within {time}"), advice))
        }
    }
}

/// Goes on where TCP answers.
async fn walk(
    args: &RouterArgs,
    connector: &Connector,
    address: SocketAddr,
    report: &mut Report,
) -> Way {
    let mut way = Way {
        connector: connector.clone().via(address),
        label: address.to_string(),
        address,
        is_router: false,
        clock: None,
    };
    if way.connector.is_tls() && !tls::examine(args, &way, report).await {
        return way;
    }
    if let Some(clock) = http2::examine(&way, report).await {
        way.is_router = true;
        way.clock = clock;
    }
    way
}
