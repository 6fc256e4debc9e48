//! One way to a router.

use std::time::{Duration, SystemTime};

use crate::client::Connector;

/// How long one address may take to answer, and then TLS. Programs that try several addresses go to the next sooner.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What both clocks said at about the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub router: SystemTime,
    pub here: SystemTime,
}

/// Leads to a router, by one of its addresses or a proxy.
pub(super) struct Way {
    /// Connects this way only, as the options say.
    pub connector: Connector,
    /// Likewise, and believes any certificate.
    pub credulous: Connector,
    /// Likewise, and begins TLS with a short message.
    pub short: Connector,
    /// What certificates must be believed by, for people. `None`: any is believed.
    pub believed_by: Option<String>,
    /// What says for people which way it is.
    pub label: String,
    /// Whether a router is at its end.
    pub is_router: bool,
    pub clock: Option<Clock>,
}
