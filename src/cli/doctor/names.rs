//! The name of a router, and all its addresses.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::{net::lookup_host, time::timeout};

use super::finding::Report;
use crate::{cli::exit::Exit, common::text::joined};

/// How long a name server may take: as long as resolvers usually ask two of them.
const PATIENCE: Duration = Duration::from_secs(10);

/// What takes longer is felt at each connection.
const SLOW: Duration = Duration::from_secs(1);

/// Looks the endpoint's host up.
pub(super) async fn addresses(endpoint: &str, report: &mut Report) -> Vec<SocketAddr> {
    let (host, _) = endpoint.rsplit_once(':').unwrap_or((endpoint, ""));
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let start = Instant::now();
    let found = match timeout(PATIENCE, lookup_host(endpoint)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            let advice = "check the spelling, the name server (/etc/resolv.conf), and whether a VPN has to be up";
            report.failed(
                "name",
                Exit::Unreachable,
                format_args!("{host} has no address: {error}"),
                advice,
            );
            return Vec::new();
        }
        Err(_) => {
            let time = humantime::format_duration(PATIENCE);
            let advice = "the name servers of this machine do not answer: check /etc/resolv.conf and the network";
            report.failed(
                "name",
                Exit::Unreachable,
                format_args!("{host}: no answer within {time}"),
                advice,
            );
            return Vec::new();
        }
    };
    let took = start.elapsed();
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if bare.parse::<IpAddr>().is_ok() {
        return addresses;
    }
    let ips = joined(addresses.iter().map(SocketAddr::ip), ", ");
    let text = format!("{host} is {ips} ({:.1} ms)", took.as_secs_f64() * 1000.0);
    if took > SLOW {
        report.warning(
            "name",
            text,
            "the name server is slow; each new connection waits for it",
        );
    } else {
        report.good("name", text);
    }
    addresses
}
