//! Goes each way to a router, one after the other, as far as it leads.

use std::{ffi::OsString, io, net::SocketAddr, time::Instant};

use futures_util::future::join_all;

use super::{
    finding::Report,
    http2, names, tls,
    way::{PATIENCE, Way},
};
use crate::{
    cli::{
        exit::{Exit, Failure},
        join::credentials::RouterArgs,
    },
    client::{Connector, proxy::Route},
    common::dial::{self, Tried},
};

/// Reaches a router in all ways there are.
pub(super) struct Routes {
    given: Connector,
    credulous: Connector,
    short: Connector,
    /// What certificates must be believed by, for people. `None`: any is believed.
    believed_by: Option<String>,
}

impl Routes {
    /// # Errors
    ///
    /// The options cannot be used.
    pub(super) fn new(args: &RouterArgs, env: &[(String, OsString)]) -> Result<Self, Failure> {
        let mut credulous = args.clone();
        (credulous.insecure, credulous.ca) = (!args.plaintext, None);
        let mut short = credulous.clone();
        short.no_post_quantum = true;
        let connector = |args: &RouterArgs| {
            let mut connector = args.connector(env)?;
            connector.timeout = PATIENCE;
            Ok::<_, Failure>(connector)
        };
        let by = match &args.ca {
            Some(file) => format!("--ca {}", file.display()),
            None => "what this system trusts".to_owned(),
        };
        Ok(Self {
            given: connector(args)?,
            credulous: connector(&credulous)?,
            short: connector(&short)?,
            believed_by: (!args.insecure).then_some(by),
        })
    }

    /// Goes all ways as far as they lead.
    pub(super) async fn explore(&self, report: &mut Report) -> Vec<Way> {
        let endpoint = self.given.endpoint();
        match self.given.route() {
            Route::Unset => {}
            Route::Unusable(..) => {
                let advice = "gRPC does not use it either, and connects directly";
                report.warning("proxy", self.given.route(), advice);
            }
            route @ (Route::Empty(_) | Route::Excepted { .. }) => report.good("proxy", route),
            Route::Through(proxy) => {
                let proxy = proxy.to_string();
                let label = format!("{endpoint} through {proxy}");
                return self
                    .explore_proxy(label, report)
                    .await
                    .into_iter()
                    .collect();
            }
        }
        let addresses = names::addresses(endpoint, report).await;
        let tried = join_all(addresses.iter().map(|&address| knock(address))).await;
        let any = tried.iter().any(Result::is_ok);
        let mut ways = Vec::new();
        for (address, answer) in addresses.into_iter().zip(tried) {
            match answer {
                Ok(took) => {
                    report.good("tcp", format_args!("{address} answers in {took:.1} ms"));
                    let via = |connector: &Connector| connector.clone().via(address);
                    ways.push(self.walk(via, address.to_string(), report).await);
                }
                Err(tried) if any => {
                    let advice = format!(
                        "{}; programs go on to the next address, some only after a while",
                        advice(&tried)
                    );
                    report.warning("tcp", tried, advice);
                }
                Err(tried) => {
                    let advice = advice(&tried);
                    report.failed("tcp", Exit::Unreachable, tried, advice);
                }
            }
        }
        ways
    }

    async fn explore_proxy(&self, label: String, report: &mut Report) -> Option<Way> {
        let start = Instant::now();
        match self.given.tcp().await {
            Ok(_) => {
                let took = start.elapsed().as_secs_f64() * 1000.0;
                report.good("proxy", format_args!("{label}: connected in {took:.1} ms"));
                Some(self.walk(Connector::clone, label, report).await)
            }
            Err(error) => {
                let advice = format!(
                    "{} To go without it, list the host in no_proxy",
                    error.advice().trim_start_matches("; ")
                );
                report.failed("proxy", Exit::Unreachable, error, advice.trim());
                None
            }
        }
    }

    /// Goes on where TCP answers.
    async fn walk(
        &self,
        by: impl Fn(&Connector) -> Connector,
        label: String,
        report: &mut Report,
    ) -> Way {
        let mut way = Way {
            connector: by(&self.given),
            credulous: by(&self.credulous),
            short: by(&self.short),
            believed_by: self.believed_by.clone(),
            label,
            is_router: false,
            clock: None,
        };
        if way.connector.is_tls() && !tls::examine(&way, report).await {
            return way;
        }
        if let Some(clock) = http2::examine(&way, report).await {
            way.is_router = true;
            way.clock = clock;
        }
        way
    }
}

/// Makes a TCP connection, and gives how long that took, in milliseconds.
async fn knock(address: SocketAddr) -> Result<f64, Tried> {
    let start = Instant::now();
    dial::one(address, (start + PATIENCE).into()).await?;
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

fn advice(tried: &Tried) -> &'static str {
    match tried.error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens there: is the port right, and does the router run?"
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            "this machine has no route there: is the network or the VPN up, and does it carry this kind of address?"
        }
        io::ErrorKind::TimedOut => "a firewall drops it, or the host is down",
        _ => "what lies between does not let it through",
    }
}
