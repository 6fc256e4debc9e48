//! A whole Jumpstarter installation on one machine, without Kubernetes: the router, and a controller in memory.
//!
//! It is for development, teaching and CI. It is no replacement for the controller in a cluster: it has one namespace,
//! no access policies, no login by OIDC, and one process.
//!
//! [`leases`] says who has which exporter. [`desk`] adds the clock and whoever waits, [`store`] the state file.
//! [`services`] are what clients and exporters call, on the port of the router; [`tokens`] says who they are, and
//! [`refusal`] what they are told. [`folder`] is the lab's directory, [`settings`] the file in it that people write.
//! The streams themselves go through the router like any other; the lab's part in them is to mint their tokens. With
//! several [`routers`] it sends the two sides of each to different ones, which [`nats`] lets find each other.

pub(crate) mod desk;
pub(crate) mod exporters;
pub(crate) mod folder;
pub(crate) mod leases;
pub(crate) mod names;
pub(crate) mod nats;
pub(crate) mod refusal;
pub(crate) mod routers;
pub(crate) mod selector;
pub(crate) mod services;
pub(crate) mod settings;
pub(crate) mod store;
pub(crate) mod tokens;

use std::{
    ffi::OsString,
    iter,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use futures_util::future;
use thiserror::Error;
use tokio::task::JoinSet;
use uuid::Uuid;

use self::{
    desk::Desk,
    folder::{Access, Folder, FolderError},
    leases::{Exporter, Leases},
    nats::{Nats, NatsError},
    routers::{Another, Routing, Wanted},
    settings::Settings,
    store::{Store, StoreError},
    tokens::Tokens,
};
use crate::{
    cluster::meet::RouterId,
    config::{Endpoint, Override, Secret},
    server::{Server, StartError, listeners::HandedOver},
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
    /// How many routers of its own; several need a NATS server.
    pub routers: u16,
    /// That server's program, if it is not on the PATH.
    pub nats_server: Option<PathBuf>,
    /// The environment, for other settings of the router.
    pub env: Vec<(String, OsString)>,
    /// More of them.
    pub overrides: Vec<Override>,
}

/// Why there is no lab.
#[derive(Debug, Error)]
pub enum LabError {
    /// The directory is not as it should be.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The state file is not as it should be.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The router does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no NATS server for several routers.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// Settings of the router make no sense.
    #[error("{0}")]
    Router(String),
    /// The address will not do.
    #[error(
        "--listen needs a port of your choice, as the files that the lab writes name it; 127.0.0.1:8083 is the default"
    )]
    Port,
    /// Nobody can tell how to reach it.
    #[error(
        "--listen {0} means every address of this machine; say with --endpoint by which name or address it is reached"
    )]
    Endpoint(SocketAddr),
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
}

impl Lab {
    /// Writes what is missing in the directory, then serves.
    pub async fn start(options: Options) -> Result<Self, LabError> {
        if options.listen.port() == 0 {
            return Err(LabError::Port);
        }
        let endpoint = match options.endpoint {
            Some(endpoint) => endpoint,
            None if options.listen.ip().is_unspecified() => {
                return Err(LabError::Endpoint(options.listen));
            }
            None => Endpoint {
                host: options.listen.ip().to_string(),
                port: options.listen.port(),
            },
        };
        let wanted = Wanted::find(options.routers, options.nats_server.as_deref())?;
        let now = SystemTime::now();
        let folder = Folder::open(&options.folder)?;
        let settings = folder.settings()?;
        // Before anything is written that another lab in this directory uses.
        let store = options
            .keep
            .then(|| Store::open(&folder.path().join("state.redb")))
            .transpose()?;
        let saved = store.as_ref().map(Store::load).transpose()?;

        let certificate = folder.certificate(&endpoint.host, now)?;
        let endpoint = endpoint.to_string();
        let tokens = Tokens::new(folder.token_key()?)
            .map_err(|_| FolderError::Key(folder.path().join("token.key")))?;
        admit(&folder, &settings, &tokens, &endpoint, &certificate)?;

        let mut leases = Leases::new(exporters_of(&settings));
        if let Some(saved) = saved {
            leases.restore(saved, |client| tokens.knows_client(client), desk::now());
        }
        let own_key = URL_SAFE.encode(folder::random()?);
        let nats = wanted.bus(&folder).await?;
        let at = routers::Place {
            listen: options.listen,
            endpoint: &endpoint,
            folder: &folder,
            nats: nats.as_ref(),
        };
        let config = routers::config(&at, &own_key, options.env, options.overrides)?;
        let others = wanted.others(&config).await?;
        let routing = options.router.unwrap_or_else(|| {
            let others = others.iter().map(|other| other.endpoint.clone());
            let endpoints = iter::once(endpoint.clone()).chain(others);
            Routing::new(endpoints.collect(), Secret::new(own_key))
        });
        let desk = Arc::new(Desk::new(leases, tokens, routing, store.is_some()));
        let server = Server::start_with(HandedOver::default(), &config, |routes| {
            services::add(&desk, &folder, routes);
        })
        .await?;
        let mut tasks = JoinSet::new();
        let tick = desk.clone().tick();
        tasks.spawn(async { match tick.await {} });
        if let Some(store) = store {
            tasks.spawn(desk.clone().keep(store));
        }
        let lab = Self {
            folder,
            settings,
            endpoint,
            server,
            others,
            nats,
            desk,
            tasks,
        };
        lab.name_routers();
        let routers = lab.routers().map(|(_, server)| server.router().clone());
        lab.desk.set_routers(routers.collect());
        Ok(lab)
    }

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

/// Gives everybody a token and a configuration file.
fn admit(
    folder: &Folder,
    settings: &Settings,
    tokens: &Tokens,
    endpoint: &str,
    certificate: &str,
) -> Result<(), FolderError> {
    let now = SystemTime::now();
    for (holder, given) in settings.holders() {
        let had = folder.token(&holder);
        let token = tokens.admit(holder.clone(), given, had.as_deref(), now);
        let access = Access {
            endpoint,
            certificate,
            token: &token,
        };
        folder.write_config(&holder, access)?;
    }
    if let Some(first) = settings.clients.keys().next() {
        folder.write_default(first)?;
    }
    Ok(())
}

fn exporters_of(settings: &Settings) -> std::collections::BTreeMap<String, Exporter> {
    let exporters = settings.exporters.iter();
    exporters
        .map(|(name, exporter)| {
            let uuid = Uuid::new_v4().to_string();
            let known = Exporter::new(exporter.labels.clone(), exporter.enabled, uuid);
            (name.clone(), known)
        })
        .collect()
}
