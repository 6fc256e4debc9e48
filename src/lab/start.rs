//! How a lab begins: first all that can be known to go wrong is looked at, then what is missing is written, then it serves.

use std::{fs::File, iter, net::TcpListener, path::Path, sync::Arc, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{
    Lab, LabError, Options,
    desk::{self, Desk},
    external,
    folder::{self, Access, Draft, FolderError},
    leases::{Exporter, Leases},
    routers::{self, Routing, Wanted},
    services,
    settings::Settings,
    store::Store,
    tokens::Tokens,
};
use crate::{
    config::{Config, Endpoint, Override, Secret},
    server::{Server, listeners::HandedOver},
};

/// Keys of the router's configuration that are the lab's, and what to do instead of setting them.
const OWN: [(&str, &str); 4] = [
    ("listen.address", "use --listen"),
    ("listen.endpoint", "use --endpoint"),
    (
        "tls.certificate",
        "put your certificate and its key into the lab's directory, as tls.crt and tls.key",
    ),
    (
        "tls.key",
        "put your certificate and its key into the lab's directory, as tls.crt and tls.key",
    ),
];

/// What is known to be good, and not yet there.
struct Plan {
    draft: Draft,
    settings: Settings,
    tokens: Tokens,
    endpoint: String,
    own_key: String,
    wanted: Wanted,
}

impl Lab {
    /// Looks whether all will do, writes what is missing in the directory, then serves.
    pub async fn start(options: Options) -> Result<Self, LabError> {
        let plan = plan(&options).await?;
        plan.draft.make()?;
        let held = hold(plan.draft.folder().path())?;
        let path = plan.draft.folder().path().join("state.redb");
        let store = options.keep.then(|| Store::open(&path)).transpose()?;
        let saved = store.as_ref().map(Store::load).transpose()?;
        let folder = plan.draft.write()?;

        let (tokens, endpoint) = (plan.tokens, plan.endpoint);
        let mut leases = Leases::new(exporters_of(&plan.settings));
        if let Some(saved) = saved {
            leases.restore(saved, |client| tokens.knows_client(client), desk::now());
        }
        let nats = plan.wanted.bus(&folder).await?;
        let at = routers::Place {
            listen: options.listen,
            endpoint: &endpoint,
            folder: Some(&folder),
            nats: nats.as_ref(),
        };
        let config = routers::config(&at, &plan.own_key, options.env, options.overrides)?;
        let others = plan.wanted.others(&config).await?;
        let routing = options.router.unwrap_or_else(|| {
            let others = others.iter().map(|other| other.endpoint.clone());
            let endpoints = iter::once(endpoint.clone()).chain(others);
            Routing::new(endpoints.collect(), Secret::new(plan.own_key))
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
            settings: plan.settings,
            endpoint,
            server,
            others,
            nats,
            desk,
            tasks,
            _held: held,
        };
        lab.name_routers();
        let routers = lab.routers().map(|(_, server)| server.router().clone());
        lab.desk.set_routers(routers.collect());
        Ok(lab)
    }
}

/// Looks at everything, and changes nothing.
async fn plan(options: &Options) -> Result<Plan, LabError> {
    let endpoint = endpoint(options)?;
    let now = SystemTime::now();
    let mut draft = Draft::of(&options.folder)?;
    let mut trusted = draft.certificate(&endpoint.host, now)?;
    if let Some(router) = &options.router {
        let more = options.router_ca.as_deref();
        let more = more.map(external::certificates).transpose()?;
        trusted.extend(more);
        external::try_router(router, &trusted, draft.folder()).await?;
    }
    let settings = draft.settings()?;
    let wanted = Wanted::find(options.routers, options.nats_server.as_deref())?;
    let own_key = URL_SAFE.encode(folder::random()?);
    let endpoint = endpoint.to_string();
    own_are_left_alone(&options.overrides)?;
    let at = routers::Place {
        listen: options.listen,
        endpoint: &endpoint,
        folder: None,
        nats: None,
    };
    let (env, overrides) = (options.env.clone(), options.overrides.clone());
    let config = routers::config(&at, &own_key, env, overrides)?;
    are_free(&config)?;

    let tokens = Tokens::new(draft.token_key()?)
        .map_err(|_| FolderError::Key(draft.folder().path().join("token.key")))?;
    admit(&mut draft, &settings, &tokens, &endpoint, &trusted)?;
    Ok(Plan {
        draft,
        settings,
        tokens,
        endpoint,
        own_key,
        wanted,
    })
}

/// Says how clients and exporters reach the lab.
fn endpoint(options: &Options) -> Result<Endpoint, LabError> {
    let listen = options.listen;
    if listen.port() == 0 {
        return Err(LabError::Port);
    }
    match &options.endpoint {
        Some(endpoint) => Ok(endpoint.clone()),
        None if listen.ip().is_unspecified() => Err(LabError::Endpoint(listen)),
        None => Ok(Endpoint {
            host: listen.ip().to_string(),
            port: listen.port(),
        }),
    }
}

fn own_are_left_alone(overrides: &[Override]) -> Result<(), LabError> {
    let own = OWN
        .into_iter()
        .find(|(key, _)| overrides.iter().any(|set| set.key == *key));
    own.map_or(Ok(()), |(key, instead)| Err(LabError::Own { key, instead }))
}

/// Looks whether the addresses can be listened on; another program could still take one before the router does.
fn are_free(config: &Config) -> Result<(), LabError> {
    let listen = &config.listen;
    if listen.reuse_port {
        return Ok(());
    }
    // The default address of the page is a convenience, and another router on this machine may have it.
    let usual = Config::default().listen.admin_address;
    let optional = [
        ("listen.health_address", listen.health_address),
        ("listen.metrics_address", listen.metrics_address),
        (
            "listen.admin_address",
            listen
                .admin_address
                .filter(|_| listen.admin_address != usual),
        ),
    ];
    let optional = optional
        .into_iter()
        .filter_map(|(key, address)| Some((key, address?)));
    for (key, address) in iter::once(("listen.address", listen.address)).chain(optional) {
        TcpListener::bind(address).map_err(|error| LabError::listen(key, address, error))?;
    }
    Ok(())
}

/// Keeps other labs out of the directory for as long as the file is open.
fn hold(path: &Path) -> Result<File, LabError> {
    let cannot = |error| {
        let (what, path) = ("read", path.to_owned());
        LabError::Folder(FolderError::File { what, path, error })
    };
    let directory = File::open(path).map_err(cannot)?;
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(LabError::InUse(path.to_owned())),
        // Some file systems have no locks.
        _ => Ok(directory),
    }
}

/// Gives everybody a token and a configuration file.
fn admit(
    draft: &mut Draft,
    settings: &Settings,
    tokens: &Tokens,
    endpoint: &str,
    certificate: &str,
) -> Result<(), FolderError> {
    let now = SystemTime::now();
    for (holder, given) in settings.holders() {
        let had = draft.folder().token(&holder);
        let token = tokens.admit(holder.clone(), given, had.as_deref(), now);
        let access = Access {
            endpoint,
            certificate,
            token: &token,
        };
        draft.config(&holder, access)?;
    }
    draft.current_client(settings)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_lab_has_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = hold(dir.path()).unwrap();
        let error = hold(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("another lab runs in "), "{error}");
        drop(held);
        hold(dir.path()).unwrap();
    }

    #[test]
    fn an_address_in_use_is_told_by_its_option() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let mut config = Config::default();
        config.listen.address = address;
        config.listen.health_address = None;
        let error = are_free(&config).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot listen on {address} (--listen): ")),
            "{error}"
        );
        config.listen.address.set_port(0);
        config.listen.metrics_address = Some(address);
        let error = are_free(&config).unwrap_err().to_string();
        assert!(
            error.contains(" (--set listen.metrics_address): "),
            "{error}"
        );
    }
}
