//! Says where streams that wait in vain for a partner go when this router stops.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{HeaderValue, Uri};
use rustls_pki_types::ServerName;
use tokio_util::task::TaskTracker;

use crate::{tls::trust::Trust, transport::tls::current::CurrentTls};

/// Says where the successor is, and how it is recognised.
#[derive(Clone, Debug, Default)]
pub struct Successor {
    /// `None`: nothing is forwarded.
    pub to: Option<Target>,
    /// Which certificate it must show, for the name of `listen.endpoint`; `None`: the one that this process uses.
    pub trust: Option<Trust>,
    /// How long it may take to be reached once the drain has begun.
    pub timeout: Duration,
    /// Streams that wait are forwarded from the signal to stop on, not only once the drain begins.
    pub early: bool,
}

/// Names the successor's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one this process listened on.
    Own,
    /// host:port.
    Endpoint(String),
}

/// Holds what a router knows of itself once it listens.
#[derive(Debug)]
pub struct Identity {
    /// Where it listens.
    pub address: SocketAddr,
    /// The name that its certificate is for.
    pub name: ServerName<'static>,
    /// Its certificate with the rest of TLS; `None` without TLS.
    pub tls: Option<Arc<CurrentTls>>,
    /// The call's target, as its peers write it.
    pub target: Uri,
}

/// Knows where streams that wait in vain go, and which process this is.
#[derive(Debug)]
pub struct Forwarding {
    /// The successor; new attempts to reach it take the newest.
    pub successor: ArcSwap<Successor>,
    /// Where this process listens; set once it does.
    pub own: OnceLock<Identity>,
    /// Tells this process from all others.
    pub(crate) id: [u8; 16],
    /// The same, as other routers are told it.
    pub(crate) process: HeaderValue,
    /// Streams at the successor, which end when everything does.
    pub(crate) tasks: TaskTracker,
}

impl Default for Forwarding {
    fn default() -> Self {
        let id = uuid::Uuid::new_v4();
        Self {
            successor: ArcSwap::default(),
            own: OnceLock::new(),
            id: id.into_bytes(),
            // Digits, letters and hyphens are allowed.
            process: HeaderValue::try_from(id.to_string()).unwrap_or(HeaderValue::from_static("")),
            tasks: TaskTracker::new(),
        }
    }
}
