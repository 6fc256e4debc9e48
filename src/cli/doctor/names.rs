//! The name of a router or a proxy, and all its addresses.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::finding::Report;
use crate::{
    cli::exit::Exit,
    common::{dial, text::joined},
};

/// How long name servers may take: as long as resolvers usually ask two of them.
const PATIENCE: Duration = Duration::from_secs(10);

/// What takes longer is felt at each connection.
const SLOW: Duration = Duration::from_secs(1);

/// Looks the endpoint's host up.
pub(super) async fn addresses(endpoint: &str, report: &mut Report) -> Vec<SocketAddr> {
    let host = dial::host(endpoint);
    let start = Instant::now();
    let addresses = match dial::resolve(endpoint, (start + PATIENCE).into()).await {
        Ok(addresses) => addresses,
        Err(error) => {
            let advice = "check the spelling, the name server (/etc/resolv.conf), and whether a VPN has to be up";
            report.failed("name", Exit::Unreachable, error, advice);
            return Vec::new();
        }
    };
    if dial::literal(host).is_some() {
        return addresses;
    }
    let took = start.elapsed();
    let ips = joined(addresses.iter().map(SocketAddr::ip), ", ");
    let text = format!("{host} is {ips} ({:.1} ms)", took.as_secs_f64() * 1000.0);
    if took > SLOW {
        let advice = "the name server is slow; each new connection waits for it";
        report.warning("name", text, advice);
    } else {
        report.good("name", text);
    }
    addresses
}
