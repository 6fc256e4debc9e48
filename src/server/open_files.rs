//! How many files the process may have open, each connection being one, and whether that is enough.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{admin::http, config::Config};

/// What is open besides connections: standard streams, the runtime's own, a configuration that is being read, and what
/// libraries open for a moment. 17 were counted at rest.
const OWN: u64 = 64;

/// Raises this process's soft limit to the hard one, which nobody but root can exceed.
///
/// The soft limit, often 1024, is for programs that use `select`, which knows no larger numbers. To be called once at
/// the start of a program. What cannot be raised stays, and is told by [`Shortage::of`].
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let raised = Rlimit {
            current: maximum,
            maximum,
        };
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

/// That fewer files may be open than the configuration allows for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    limit: u64,
    needed: u64,
    /// What is needed besides connections of peers.
    besides: u64,
}

impl Shortage {
    /// What this process lacks with this configuration, if anything.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let limit = getrlimit(Resource::Nofile).current;
        // `None` is no limit.
        Self::under(limit?, config)
    }

    fn under(limit: u64, config: &Config) -> Option<Self> {
        let besides = besides(config);
        let needed = u64::from(config.connections.max) + besides;
        (limit < needed).then_some(Self {
            limit,
            needed,
            besides,
        })
    }
}

fn besides(config: &Config) -> u64 {
    let (listen, drain) = (&config.listen, &config.drain);
    let others = [
        listen.health_address,
        listen.metrics_address,
        listen.admin_address,
    ];
    let others = others.iter().flatten().count() as u64;
    // Each stream that waits when the drain begins has a connection of its own to the successor.
    let waiting = config.pairing.max_waiting.unwrap_or(config.connections.max);
    let forwarded = drain.forward_to.as_ref().map_or(0, |_| waiting);
    OWN + 1 + others * (1 + http::CONNECTIONS as u64) + u64::from(forwarded)
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            limit,
            needed,
            besides,
        } = self;
        write!(
            f,
            "this process may have {limit} files open, and needs {needed} for as many connections as connections.max \
             allows and {besides} others; raise the hard limit (LimitNOFILE= of systemd, ulimit -Hn)"
        )?;
        match limit.checked_sub(*besides) {
            Some(most @ 1..) => write!(f, ", or set connections.max to at most {most}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::forwarding::Target;

    #[test]
    fn connections_probes_and_the_successor_are_counted() {
        let mut config = Config::default();
        config.connections.max = 1000;
        let of_address = 1 + http::CONNECTIONS as u64;
        let most_besides = OWN + 1 + 2 * of_address;
        assert_eq!(besides(&config), most_besides, "health and admin");
        assert_eq!(Shortage::under(1000 + most_besides, &config), None);
        let short = Shortage::under(999 + most_besides, &config).map(|short| short.to_string());
        let said = short.unwrap_or_default();
        assert!(
            said.contains("may have 1578 files open, and needs 1579"),
            "{said}"
        );
        assert!(said.ends_with("connections.max to at most 999"), "{said}");
        let none = Shortage::under(64, &config).map(|short| short.to_string());
        assert!(none.is_some_and(|said| said.ends_with("ulimit -Hn)")));

        config.listen.admin_address = None;
        config.drain.forward_to = Some(Target::Own);
        assert_eq!(besides(&config), OWN + 1 + of_address + 10_000);
        config.pairing.max_waiting = None;
        assert_eq!(besides(&config), OWN + 1 + of_address + 1000);
    }
}
