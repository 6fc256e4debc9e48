//! A whole router: sockets bound, parts wired together, run and drained. `serve`, `lab` and the tests start here.

pub(crate) mod cluster;
mod drain;
mod expiry;
pub(crate) mod listeners;
pub(crate) mod live;
pub(crate) mod open_files;

use std::{
    io,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::http::Uri;
use futures_util::FutureExt;
use rustls_pki_types::ServerName;

use thiserror::Error;
use tokio::{task::JoinSet, time::Instant};
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::server::HealthReporter;

pub use self::drain::Drained;
use self::{
    listeners::{HandOverError, HandedOver, Listener, Listeners},
    live::{Live, LiveError, LiveErrors, Parts},
};
use crate::{
    admin::{
        api::{self, guard::Tokens},
        http,
    },
    auth::{Key, KeyRing, KeyRingError, Refusal, Rules},
    common::procfs::host_name,
    config::{Config, Secret},
    observe::{log, metrics::Metrics},
    pairing::table::Table,
    protocol::ROUTER_DESCRIPTORS,
    splice::ending::Ending,
    tls::provider::Provider,
    tls::trust::Trust,
    transport::{
        accept::{self, Who},
        call::refusal,
        forwarding::{Identity, Successor, Target},
        memory::{
            budget::Budget,
            cgroup::{self, Group},
            resident::Resident,
        },
        phase::Phase,
        pressure, sampler,
        settings::Pairing,
        shared::Shared,
        tls::{self, current::CurrentTls},
    },
};

/// The service's name in `grpc.health.v1`, besides the empty name for the whole process.
const SERVICE: &str = "jumpstarter.v1.RouterService";

/// Why a router cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// No usable signing key or certificate.
    #[error(transparent)]
    Live(#[from] LiveErrors),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address} ({key}): {error}; is another program using it? Set {key} to a free address"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Its key in the configuration.
        key: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// A socket that was handed over cannot be used.
    #[error(transparent)]
    HandOver(#[from] HandOverError),
    /// The thread that watches memory cannot be started.
    #[error("cannot start a thread: {0}; is the limit on processes too low?")]
    Thread(io::Error),
    /// The services beside the router's own cannot be set up.
    #[error("cannot set up gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl StartError {
    /// Whether it will be the same at every further try, until somebody changes the configuration or the system's. A
    /// port may become free, and an address may come with its network.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Live(_) | Self::HandOver(_) | Self::Reflection(_) => true,
            Self::Bind { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
            Self::Thread(_) => false,
        }
    }
}

/// A running router. Dropping it stops everything at once; [`Server::drain`] does so in order.
#[derive(Debug)]
pub struct Server {
    router: Arc<Shared>,
    live: Arc<Live>,
    health: HealthReporter,
    tasks: JoinSet<()>,
    /// Where gRPC is served.
    pub address: SocketAddr,
    /// Where health is served.
    pub health_address: Option<SocketAddr>,
    /// Where metrics are served apart from health.
    pub metrics_address: Option<SocketAddr>,
    /// Where the administrator's page and API are served.
    pub admin_address: Option<SocketAddr>,
    /// The TLS provider in use.
    pub provider: Provider,
    /// Whether the certificate was made at start.
    pub self_signed: bool,
}

impl Server {
    /// Binds all addresses, then serves. Must be called in a tokio runtime.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_with(HandedOver::default(), config, |_| {}).await
    }

    /// Starts on sockets that were handed over as far as there are any, and with further gRPC services on the
    /// router's port.
    pub async fn start_with(
        handed_over: HandedOver,
        config: &Config,
        add: impl FnOnce(&mut RoutesBuilder),
    ) -> Result<Self, StartError> {
        let Parts {
            rules,
            successor,
            tls: live_tls,
            provider,
            bus,
        } = Parts::of(config)?;
        let self_signed = live_tls.as_ref().is_some_and(live::Tls::is_self_signed);
        let tls = live_tls.as_ref().map(|tls| tls.current.clone());

        let listeners = Listeners::open(config, handed_over)?;
        let address = listeners.grpc.address;

        let refusals = [Refusal::CAUSES, refusal::CAUSES].concat();
        let metrics = Arc::new(Metrics::new(Ending::REASONS, &refusals));
        metrics.started(SystemTime::now());
        metrics
            .token_keys
            .set(rules.keys.keys().iter().map(Key::name));
        metrics.set_build_info(crate::VERSION, crate::COMMIT, &provider.to_string());
        let (health, others) = services(add)?;
        let router = Shared::new(
            rules,
            table(config),
            config.into(),
            metrics.clone(),
            Budget::new(config.memory.windows.bytes() as u64),
            others,
        );
        router.forwarding.successor.store(Arc::new(successor));
        let _ = router.forwarding.own.set(own(config, address, tls.clone()));
        warn_of_no_successor(config, &listeners.grpc);
        let at = |listener: &Option<Listener>| listener.as_ref().map(|listener| listener.address);
        let mut server = Self {
            health,
            tasks: JoinSet::new(),
            address,
            health_address: at(&listeners.health),
            metrics_address: at(&listeners.metrics),
            admin_address: at(&listeners.admin),
            provider,
            self_signed,
            live: Arc::new(Live::new(router.clone(), live_tls, bus)),
            router,
        };
        #[cfg(feature = "cluster")]
        if !config.cluster.servers.is_empty() {
            server.join(config, server.live.bus(), listeners.grpc.shared)?;
        }
        server.serve(listeners, tls, config)?;
        server.watch_memory(config)?;
        set_serving(server.health.clone(), true).await;
        server.router.life.advance(Phase::Ready);
        let (life, health) = (server.router.life.clone(), server.health.clone());
        let shown = life.show(move |ready| set_serving(health.clone(), ready));
        server.run("shows health", shown);
        Ok(server)
    }

    /// Serves on all sockets.
    fn serve(
        &mut self,
        listeners: Listeners,
        tls: Option<Arc<CurrentTls>>,
        config: &Config,
    ) -> Result<(), StartError> {
        let registered = |error| StartError::Bind {
            address: self.address,
            key: "listen.address",
            error,
        };
        let handed_over = listeners.grpc.handed_over;
        let grpc = tokio::net::TcpListener::from_std(listeners.grpc.socket).map_err(registered)?;
        let accepting = accept::run(
            self.router.clone(),
            grpc,
            tls.clone(),
            handed_over,
            Who::Peers,
        );
        self.run("accepts connections", accepting);
        let metrics = self.router.metrics.clone();
        if let Some(listener) = listeners.health {
            let state = http::AdminState {
                life: self.router.life.clone(),
                metrics: metrics.clone(),
            };
            self.serve_http(listener, http::full(state));
        }
        if let Some(listener) = listeners.metrics {
            self.serve_http(listener, http::metrics_only(metrics.clone()));
        }
        if let Some(listener) = listeners.admin {
            self.serve_admin(listener, config);
        }
        self.run("forgets spent tokens", expire(self.router.clone()));
        if let Some(tls) = tls {
            self.run("watches the certificate", expiry::watch(tls, metrics));
        }
        Ok(())
    }

    fn watch_memory(&mut self, config: &Config) -> Result<(), StartError> {
        let survey = pressure::survey(self.router.clone());
        self.run("surveys streams", survey);
        self.router.memory.set_limit(memory_limit(config));
        // A limit that is configured is the process's own; that of a group counts all that the group is charged for.
        let group = match config.memory.limit {
            Some(_) => None,
            None => cgroup::memory_limit().and_then(|_| Group::own()),
        };
        pressure::watch(&self.router, Resident::new(group)).map_err(StartError::Thread)
    }

    /// Spawns a task that lasts as long as the server. Should it panic, nothing else does what it `does`, so everything
    /// stops: see [`Server::failed`].
    fn run(&mut self, does: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let router = self.router.clone();
        self.tasks.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                router.metrics.panics.inc();
                tracing::error!(
                    task = does,
                    "a task of the router itself panicked, so everything stops"
                );
                router.life.advance(Phase::Stopped);
            }
        });
    }

    /// Serves HTTP. A listener that another process may share is left to that one when this one is asked to stop.
    fn serve_http(&mut self, listener: Listener, app: axum::Router) {
        let end = self.router.life.until(if listener.shared {
            Phase::is_leaving
        } else {
            Phase::is_stopped
        });
        self.run("serves HTTP", async move {
            let served = http::serve(listener.socket, app, http::Limits::default(), end).await;
            if let Err(error) = served {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
    }

    fn serve_admin(&mut self, listener: Listener, config: &Config) {
        let loaded = config.into();
        self.live.show(&loaded, &loaded);
        let admin = api::Admin {
            shared: self.router.clone(),
            started: (Instant::now(), SystemTime::now()),
            host: host_name().into(),
            provider: self.provider,
            log: log::installed(),
            shown: self.live.shown().clone(),
        };
        let secret = |secret: Option<&Secret>| secret.map(|secret| secret.expose().to_vec());
        let tokens = Tokens {
            full: secret(config.admin.secret()),
            read: secret(config.admin.read_secret()),
        };
        self.serve_http(listener, api::routes(admin, tokens));
        self.run("samples rates", sampler::sample(self.router.clone()));
    }

    /// Gives what its connections share: metrics, table, settings.
    pub fn router(&self) -> &Arc<Shared> {
        &self.router
    }

    /// Gives what a new configuration can reach.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Resolves once an administrator asks for the drain; whoever owns the server should then begin it.
    pub async fn drain_asked(&self) {
        self.router.life.until(Phase::is_asked).await;
    }

    /// Resolves if the server stops though nobody has drained it, because one of its own tasks panicked. Whoever owns it
    /// should then end the process with an error, so that it is started anew.
    pub fn failed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.router.life.until(Phase::is_stopped)
    }
}

async fn set_serving(health: HealthReporter, serving: bool) {
    let status = if serving {
        tonic_health::ServingStatus::Serving
    } else {
        tonic_health::ServingStatus::NotServing
    };
    for name in ["", SERVICE] {
        health.set_service_status(name, status).await;
    }
}

/// Forgets spent single-use keys, and addresses that are gone, now and then.
async fn expire(router: Arc<Shared>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(30));
    loop {
        ticks.tick().await;
        router.table.expire(SystemTime::now());
        router.limits.addresses.sweep();
    }
}

fn rules(config: &Config) -> Result<Rules, KeyRingError> {
    let keys = config
        .signing_keys()
        .into_iter()
        .map(|key| Key::new(key.name, key.secret.expose()));
    Ok(Rules {
        issuer: config.auth.issuer.clone(),
        audience: config.auth.audience.clone(),
        leeway: config.auth.leeway,
        max_token_size: config.auth.max_token_size.bytes(),
        keys: KeyRing::new(keys)?,
    })
}

fn table(config: &Config) -> Table<crate::transport::shared::Offer> {
    Table::new(max_waiting(&config.pairing), config.auth.single_use)
}

fn max_waiting(pairing: &Pairing) -> usize {
    let limit = pairing.max_waiting;
    limit.map_or(usize::MAX, |count| count as usize)
}

/// Gives what may be used, bytes: as configured, or else what the control group allows now.
fn memory_limit(config: &Config) -> Option<u64> {
    let limit = config.memory.limit.map(|limit| limit.bytes() as u64);
    limit.or_else(cgroup::memory_limit)
}

/// Says where waiting streams go when the router stops.
fn successor(config: &Config) -> Result<Successor, LiveError> {
    let drain = &config.drain;
    let trust = match &drain.forward_ca {
        _ if drain.forward_insecure => Some(Trust::Any),
        None => None,
        Some(file) => {
            let text = live::text("drain.forward_ca", file)?;
            let what = "the authorities of the successor's certificate";
            let (known, _) = tls::settings::authorities((&file.path, text), what)?;
            Some(Trust::Named(known))
        }
    };
    Ok(Successor {
        to: drain.forward_to.clone(),
        trust,
        timeout: drain.forward_timeout,
        early: drain.forward_early,
    })
}

/// Puts together what the router knows of itself. `tls`: unless it serves plain text.
fn own(config: &Config, address: SocketAddr, tls: Option<Arc<CurrentTls>>) -> Identity {
    let endpoint = &config.listen.endpoint;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let target = format!("{scheme}://{endpoint}{}", crate::grpc::call::PATH);
    // The endpoint's host is a name that TLS knows, or it would not be in the configuration.
    let name = ServerName::try_from(endpoint.host.clone());
    Identity {
        address,
        name: name.unwrap_or(ServerName::IpAddress(address.ip().into())),
        tls,
        target: Uri::try_from(target).unwrap_or(Uri::from_static(crate::grpc::call::PATH)),
    }
}

fn warn_of_no_successor(config: &Config, grpc: &Listener) {
    if config.drain.forward_to == Some(Target::Own) && !grpc.shared {
        tracing::warn!(
            "drain.forward_to is \"self\", but nobody else can listen on {}: hand the socket over or set \
             listen.reuse_port",
            grpc.address
        );
    }
}

/// Makes health and reflection, which answer on the same port, and what is added to them.
fn services(
    add: impl FnOnce(&mut RoutesBuilder),
) -> Result<(HealthReporter, Routes), tonic_reflection::server::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(ROUTER_DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::builder();
    routes
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    add(&mut routes);
    Ok((reporter, routes.routes()))
}
