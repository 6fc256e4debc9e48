//! A whole router: sockets bound, parts wired together, run and drained. `serve`, `demo` and the tests start here.

mod expiry;
pub mod live;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, SystemTime},
};

use thiserror::Error;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::server::HealthReporter;

use self::live::{Live, LiveError};
use crate::{
    admin::{api, http},
    auth::{ALL_CAUSES, Key, KeyRing, KeyRingError, Rules},
    config::{Config, Size, TlsProvider},
    observe::{
        log,
        metrics::Metrics,
        readiness::{Phase, Readiness},
    },
    pairing::table::Table,
    protocol::ROUTER_DESCRIPTORS,
    splice::ending::Ending,
    transport::{
        accept, admission,
        budget::Budget,
        certificate::CurrentCertificate,
        cgroup, live as live_streams,
        pace::Rates,
        pressure,
        router::{ConnectionSettings, Router, Settings, StreamSettings},
        tls::{self, Provider, TlsError},
    },
};

/// How long streams that were ended by the drain have to be told, and connections to be closed. With the
/// default drain timeout of 25 s it stays inside the 30 s that Kubernetes grants.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often the drain looks whether it is done.
const LOOK: Duration = Duration::from_millis(20);

/// The service's name in `grpc.health.v1`, besides the empty name for the whole process.
const SERVICE: &str = "jumpstarter.v1.RouterService";

/// Why a router cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// No usable signing key or certificate.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    /// The thread that watches memory cannot be started.
    #[error("cannot start a thread: {0}; is the limit on processes too low?")]
    Thread(io::Error),
    /// The services beside the router's own cannot be set up.
    #[error("cannot set up gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A running router. Dropping it stops everything at once; [`Server::drain`] does so in order.
#[derive(Debug)]
pub struct Server {
    router: Arc<Router>,
    live: Arc<Live>,
    readiness: Readiness,
    health: HealthReporter,
    stop: CancellationToken,
    drain_asked: CancellationToken,
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

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Streams that were still there at the deadline and were ended.
    pub ended: usize,
}

impl Server {
    /// Binds all addresses, then serves. Must be called in a tokio runtime.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_with(config, |_| {}).await
    }

    /// The same with further gRPC services on the router's port.
    pub async fn start_with(
        config: &Config,
        add: impl FnOnce(&mut RoutesBuilder),
    ) -> Result<Self, StartError> {
        let provider = provider(config);
        let (current, self_signed) = encryption(config, provider)?;
        let tls = current
            .as_ref()
            .map(|tls| tls::server_config(tls.certificate.clone(), tls.crypto.clone()))
            .transpose()?;
        let rules = rules(config).map_err(LiveError::from)?;

        let listen = &config.listen;
        let grpc = bind(listen.address, "listen.address", listen.backlog)?;
        let health_listener = listen
            .health_address
            .map(|address| bind(address, "listen.health_address", listen.backlog))
            .transpose()?;
        let metrics_listener = listen
            .metrics_address
            .map(|address| bind(address, "listen.metrics_address", listen.backlog))
            .transpose()?;
        let admin_listener = bind_admin(config)?;

        let metrics = Arc::new(Metrics::new(Ending::REASONS, &refusal_causes()));
        metrics.reloads.started(SystemTime::now());
        metrics
            .token_keys
            .set(rules.keys.keys().iter().map(Key::name));
        metrics.set_build_info(crate::VERSION, crate::COMMIT, &provider.to_string());
        let (health, others) = services(add)?;
        let router = Router::new(
            rules,
            table(config),
            settings(config),
            metrics.clone(),
            Budget::new(config.memory.windows.bytes() as u64),
            others,
        );
        let certificate = current.as_ref().map(|tls| tls.certificate.clone());
        let mut server = Self {
            readiness: Readiness::new(),
            health,
            stop: CancellationToken::new(),
            drain_asked: CancellationToken::new(),
            tasks: JoinSet::new(),
            address: local(&grpc, listen.address),
            health_address: health_listener
                .as_ref()
                .zip(listen.health_address)
                .map(|(listener, asked)| local(listener, asked)),
            metrics_address: metrics_listener
                .as_ref()
                .zip(listen.metrics_address)
                .map(|(listener, asked)| local(listener, asked)),
            admin_address: admin_listener
                .as_ref()
                .zip(listen.admin_address)
                .map(|(listener, asked)| local(listener, asked)),
            provider,
            self_signed,
            live: Arc::new(Live::new(router.clone(), current)),
            router,
        };
        let registered = |error| StartError::Bind {
            address: listen.address,
            key: "listen.address",
            error,
        };
        let grpc = tokio::net::TcpListener::from_std(grpc).map_err(registered)?;
        server.tasks.spawn(accept::run(
            server.router.clone(),
            grpc,
            tls,
            server.stop.clone(),
        ));
        if let Some(listener) = health_listener {
            let state = http::AdminState {
                readiness: server.readiness.clone(),
                metrics: metrics.clone(),
            };
            server.serve_http(listener, http::full(state));
        }
        if let Some(listener) = metrics_listener {
            server.serve_http(listener, http::metrics_only(metrics.clone()));
        }
        if let Some(listener) = admin_listener {
            server.serve_admin(listener, config);
        }
        server.tasks.spawn(expire(server.router.clone()));
        if let Some(certificate) = certificate {
            server.tasks.spawn(expiry::watch(certificate, metrics));
        }
        server.tasks.spawn(pressure::survey(server.router.clone()));
        let limit = config.memory.limit.map(|limit| limit.bytes() as u64);
        if let Some(limit) = limit.or_else(cgroup::memory_limit) {
            pressure::watch(&server.router, limit).map_err(StartError::Thread)?;
        }
        server.set_serving(true).await;
        server.readiness.set(Phase::Ready);
        Ok(server)
    }

    fn serve_http(&mut self, listener: TcpListener, app: axum::Router) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let served = http::serve(listener, app, stop.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
    }

    fn serve_admin(&mut self, listener: TcpListener, config: &Config) {
        let admin = api::Admin {
            streams: self.router.clone(),
            readiness: self.readiness.clone(),
            started: Instant::now(),
            provider: self.provider,
            drain: self.drain_asked.clone(),
            log: log::installed(),
        };
        let token = config.admin.secret();
        let token = token.map(|token| token.expose().to_vec());
        self.serve_http(listener, api::routes(admin, token));
        self.tasks.spawn(live_streams::sample(self.router.clone()));
    }

    async fn set_serving(&self, serving: bool) {
        let status = if serving {
            tonic_health::ServingStatus::Serving
        } else {
            tonic_health::ServingStatus::NotServing
        };
        for name in ["", SERVICE] {
            self.health.set_service_status(name, status).await;
        }
    }

    /// What its connections share: metrics, table, settings.
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// What a new configuration can reach.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Resolves once an administrator asks for the drain; whoever owns the server should then begin it.
    pub async fn drain_asked(&self) {
        self.drain_asked.cancelled().await;
    }

    /// Stops in order: not ready at once, nobody new, waiting streams are told, pairs have until `timeout`,
    /// then they are told, too.
    pub async fn drain(mut self, timeout: Duration) -> Drained {
        let deadline = Instant::now() + timeout;
        self.readiness.set(Phase::Draining);
        self.set_serving(false).await;
        self.router.drain();
        self.wait_for_streams(deadline).await;
        let ended = self.router.streams();
        if ended > 0 {
            tracing::warn!(
                streams = ended,
                "drain deadline reached; ending what is left"
            );
            self.router.end_all();
            self.wait_for_streams(Instant::now() + LAST_WORDS).await;
        }
        // Closing connections flushes what the streams said last.
        let deadline = Instant::now() + LAST_WORDS / 2;
        while self.router.metrics.connections_open.get() > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
        self.stop.cancel();
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        Drained { ended }
    }

    async fn wait_for_streams(&self, deadline: Instant) {
        let mut told = Instant::now();
        while self.router.streams() > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
            if told.elapsed() >= Duration::from_secs(10) {
                told = Instant::now();
                tracing::info!(streams = self.router.streams(), "draining");
            }
        }
    }
}

/// Forgets spent single-use keys, and addresses that are gone, now and then.
async fn expire(router: Arc<Router>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(30));
    loop {
        ticks.tick().await;
        router.table.expire(SystemTime::now());
        router.addresses.sweep();
    }
}

fn bind(address: SocketAddr, key: &'static str, backlog: u32) -> Result<TcpListener, StartError> {
    accept::bind(address, backlog).map_err(|error| StartError::Bind {
        address,
        key,
        error,
    })
}

/// What TLS needs, if it is in use, and whether the certificate is self-signed.
fn encryption(
    config: &Config,
    provider: Provider,
) -> Result<(Option<live::Tls>, bool), StartError> {
    if config.tls.plaintext {
        return Ok((None, false));
    }
    let crypto = provider.crypto();
    let (key, self_signed) = live::certificate(config, &crypto)?;
    let sessions = config.tls.session_cache as usize;
    let tls = live::Tls {
        certificate: CurrentCertificate::new(key, sessions),
        crypto,
        self_signed: self_signed.into(),
    };
    Ok((Some(tls), self_signed))
}

/// The default address is a convenience, and another router on this machine may have it.
fn bind_admin(config: &Config) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = config.listen.admin_address else {
        return Ok(None);
    };
    match bind(address, "listen.admin_address", config.listen.backlog) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if Config::default().listen.admin_address == Some(address) => {
            tracing::warn!(%error, "there is no admin page or API");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The address in use, with the port the system chose if 0 was asked for.
fn local(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

fn provider(config: &Config) -> Provider {
    match config.tls.provider {
        TlsProvider::Auto => Provider::Auto,
        TlsProvider::AwsLcRs => Provider::AwsLcRs,
        TlsProvider::Ring => Provider::Ring,
    }
    .resolve()
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

fn table(config: &Config) -> Table<crate::transport::router::Offer> {
    Table::new(max_waiting(config), config.auth.single_use)
}

fn max_waiting(config: &Config) -> usize {
    let limit = config.pairing.max_waiting;
    limit.map_or(usize::MAX, |count| count as usize)
}

fn settings(config: &Config) -> Settings {
    let (streams, connections) = (&config.streams, &config.connections);
    let proxies = &config.listen.proxy_protocol_from;
    let rate = |size: Size| Some(size.bytes() as u64).filter(|rate| *rate > 0);
    Settings {
        streams: StreamSettings {
            window: streams.initial_window.bytes() as u32,
            max_window: streams.max_window.bytes() as u32,
            max_message: streams.max_message_size.bytes() as u64,
            max: streams.max.map(|n| n as usize),
            max_per_address: streams.max_per_address.map(|n| n as usize),
            new_per_second: streams.new_per_second_per_address,
            refused_tokens_per_second: config.auth.refused_per_second_per_address,
            rates: Rates {
                stream: rate(streams.bytes_per_second),
                address: rate(streams.bytes_per_second_per_address),
            },
            pairing_timeout: config.pairing.timeout,
            idle_timeout: streams.idle_timeout,
            stall_timeout: streams.stall_timeout,
            max_duration: streams.max_duration,
            linger: streams.linger,
        },
        connections: ConnectionSettings {
            max: connections.max as usize,
            max_per_address: connections.max_per_address.map(|n| n as usize),
            max_streams: streams.max_per_connection,
            proxies: proxies.iter().map(|network| network.net()).collect(),
            proxy_header_timeout: config.listen.proxy_protocol_timeout,
            max_header_size: connections.max_header_size.bytes() as u32,
            send_buffer: streams.send_buffer.bytes(),
            tls_handshake_timeout: connections.tls_handshake_timeout,
            preface_timeout: connections.preface_timeout,
            first_stream_timeout: connections.first_stream_timeout,
            idle_timeout: connections.idle_timeout,
            max_age: connections.max_age,
            max_age_grace: connections.max_age_grace,
            keepalive_interval: connections.keepalive_interval.into(),
            keepalive_timeout: connections.keepalive_timeout,
            tcp_user_timeout: connections.tcp_user_timeout.into(),
            write_stall_timeout: connections.write_stall_timeout.into(),
        },
    }
}

fn refusal_causes() -> Vec<&'static str> {
    [&ALL_CAUSES[..], admission::REFUSALS].concat()
}

/// Health and reflection, which answer on the same port, and what is added to them.
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
