//! A whole Jumpstarter installation on one machine, without Kubernetes: the router, and a controller in memory.
//!
//! It is for development, teaching and CI. It is no replacement for the controller in a cluster: it has one namespace,
//! no access policies, no login by OIDC, and one process.
//!
//! [`leases`] says who has which exporter. [`desk`] adds the clock and whoever waits, [`store`] the state file.
//! [`services`] are what clients and exporters call, on the port of the router; [`tokens`] says who they are, and
//! [`refusal`] what they are told. [`folder`] is the lab's directory, [`settings`] the file in it that people write.
//! The streams themselves go through the router like any other; the lab's part in them is to mint their tokens.

pub(crate) mod desk;
pub(crate) mod exporters;
pub(crate) mod folder;
pub(crate) mod leases;
pub(crate) mod names;
pub(crate) mod refusal;
pub(crate) mod selector;
pub(crate) mod services;
pub(crate) mod settings;
pub(crate) mod store;
pub(crate) mod tokens;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use thiserror::Error;
use tokio::task::JoinSet;
use uuid::Uuid;

use self::{
    desk::{Desk, Routing},
    folder::{Access, Folder, FolderError},
    leases::{Exporter, Leases},
    settings::Settings,
    store::{Store, StoreError},
    tokens::Tokens,
};
use crate::{
    common::text::joined,
    config::{self, Config, Endpoint, Override, Secret, Sources},
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
        let config = router(
            options.listen,
            &endpoint,
            &folder,
            &own_key,
            options.env,
            options.overrides,
        )?;
        let routing = options.router.unwrap_or_else(|| Routing {
            endpoint: endpoint.clone(),
            key: Secret::new(own_key),
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
        Ok(Self {
            folder,
            settings,
            endpoint,
            server,
            desk,
            tasks,
        })
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
        self.server.drain(LAST_WORDS).await;
        self.tasks.shutdown().await;
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

/// Makes the router's configuration. Address, certificate and key are the lab's; anything else can be set as for any router.
fn router(
    listen: SocketAddr,
    endpoint: &str,
    folder: &Folder,
    key: &str,
    env: Vec<(String, OsString)>,
    more: Vec<Override>,
) -> Result<Config, LabError> {
    let file = |name: &str| path_text(&folder.path().join(name));
    let own = [
        ("listen.address", listen.to_string()),
        ("listen.endpoint", endpoint.to_owned()),
        ("listen.health_address", "0".to_owned()),
        ("tls.certificate", file("tls.crt")?),
        ("tls.key", file("tls.key")?),
        ("auth.key", key.to_owned()),
    ];
    let own = own.into_iter().map(|(key, value)| Override {
        key: key.to_owned(),
        value,
        flag: "lab".to_owned(),
    });
    let sources = Sources {
        file: None,
        env,
        overrides: own.chain(more).collect(),
        notes: Vec::new(),
    };
    match config::load(&sources) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            Ok(loaded.config)
        }
        Err(problems) => Err(LabError::Router(format!(
            "the router's settings: {}",
            joined(problems.all(), "; ")
        ))),
    }
}

fn path_text(path: &Path) -> Result<String, LabError> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        LabError::Router(format!(
            "{} is no text; choose another directory",
            path.display()
        ))
    })
}
