//! A whole Jumpstarter installation on one machine, without Kubernetes: the router, and a controller in memory.
//!
//! It is for development, teaching and CI. It is no replacement for the controller in a cluster: it has one namespace,
//! no access policies, no login by OIDC, and one process.
//!
//! [`leases`] says who has which exporter. [`desk`] adds the clock and whoever waits, [`store`] the state file.
//! [`services`] are what clients and exporters call, on the port of the router; [`tokens`] says who they are, and
//! [`refusal`] what they are told. [`folder`] is the lab's directory, [`settings`] the file in it that people write.
//! The streams themselves go through the router like any other; the lab's part in them is to mint their tokens. With
//! several [`routers`] it sends the two sides of each to different ones, which [`nats`] lets find each other; an [`external`]
//! one is tried first. [`start`] does nothing before it knows that all of it will do. [`exporters`] run along with the lab.

pub(crate) mod desk;
mod error;
pub(crate) mod exporters;
pub(crate) mod external;
pub(crate) mod folder;
pub(crate) mod leases;
pub(crate) mod names;
pub(crate) mod nats;
pub(crate) mod refusal;
pub(crate) mod routers;
pub(crate) mod selector;
pub(crate) mod services;
pub(crate) mod settings;
mod start;
pub(crate) mod store;
pub(crate) mod tokens;

use std::{
    ffi::OsString, fs::File, iter, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration,
};

use futures_util::future;
use tokio::task::JoinSet;

pub(crate) use self::error::LabError;
use self::{
    desk::Desk,
    folder::Folder,
    nats::Nats,
    routers::{Another, Routing},
    settings::Settings,
    store::StoreError,
};
use crate::{
    cluster::meet::RouterId,
    config::{Endpoint, Override},
    server::Server,
};

/// How long streams have to end when the lab is stopped.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a lab is to be.
pub struct Options {
    /// Its directory.
    pub folder: PathBuf,
    /// Where controller and router listen; not port 0, as files name the port.
    pub listen: SocketAddr,
    /// How clients and exporters reach that address, if it says so not itself.
    pub endpoint: Option<Endpoint>,
    /// Whether leases are kept in a file.
    pub keep: bool,
    /// Another router than the lab's own.
    pub router: Option<Routing>,
    /// PEM file with certificates that clients and exporters are to trust for it, beside the lab's own.
    pub router_ca: Option<PathBuf>,
    /// How many routers of its own; several need a NATS server.
    pub routers: u16,
    /// That server's program, if it is not on the PATH.
    pub nats_server: Option<PathBuf>,
    /// The environment, for other settings of the router.
    pub env: Vec<(String, OsString)>,
    /// More of them.
    pub overrides: Vec<Override>,
}

/// A running lab.
pub struct Lab {
    /// Its directory.
    pub folder: Folder,
    /// Who takes part.
    pub settings: Settings,
    /// host:port that clients and exporters are told.
    pub endpoint: String,
    /// The router, with the controller's services on its port.
    pub server: Server,
    /// More routers.
    pub others: Vec<Another>,
    nats: Option<Nats>,
    desk: Arc<Desk>,
    tasks: JoinSet<StoreError>,
    /// No other lab has the directory meanwhile.
    _held: File,
}

impl Lab {
    /// Says which router is which, if there are several: they write to the same log.
    fn name_routers(&self) {
        if self.others.is_empty() {
            return;
        }
        for (number, (endpoint, server)) in (1..).zip(self.routers()) {
            let router = RouterId(server.router().forwarding.id);
            tracing::info!(number, %router, address = endpoint, "a router of the lab");
        }
    }

    /// Gives each router, and host:port that clients and exporters are told.
    pub fn routers(&self) -> impl Iterator<Item = (&str, &Server)> {
        let others = self.others.iter();
        iter::once((&*self.endpoint, &self.server))
            .chain(others.map(|other| (&*other.endpoint, &other.server)))
    }

    /// Says where the routers' NATS server is, if they need one.
    pub fn nats(&self) -> Option<&str> {
        self.nats.as_ref().map(|nats| &*nats.url)
    }

    /// Resolves when a router stops by itself.
    pub fn router_failed(&self) -> impl Future<Output = ()> + Send + use<> {
        let all = self.routers().map(|(_, server)| Box::pin(server.failed()));
        let any = future::select_all(all.collect::<Vec<_>>());
        async { drop(any.await) }
    }

    /// Resolves when the state file cannot be written any more: a lab that cannot keep what it promises has to stop.
    pub async fn failed(&mut self) -> StoreError {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(error)) => return error,
                None => std::future::pending().await,
                Some(Err(error)) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_cancelled) => {}
                },
            }
        }
    }

    /// Tells everybody, then stops.
    pub async fn stop(mut self) {
        self.desk.stop.cancel();
        let others = self.others.into_iter().map(|other| other.server);
        let all = iter::once(self.server).chain(others);
        future::join_all(all.map(|server| server.drain(LAST_WORDS))).await;
        self.tasks.shutdown().await;
        if let Some(nats) = self.nats {
            nats.stop().await;
        }
    }
}
