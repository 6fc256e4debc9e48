//! Joins a router to others: a listener for them, and the bus over which they hear of each other.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use tokio::sync::watch;

use super::{Server, StartError, live, live::LiveError};
use crate::{
    cluster::{
        announcement::sha256,
        halves::{self, Halves, Own},
        meet::RouterId,
        nats::{BusError, Credentials, Nats},
    },
    config::{Config, PemFile},
    transport::{
        accept::{self, Who},
        phase::Phase,
        shared::{Cluster, Shared},
        socket,
        tls::{
            self,
            current::CurrentTls,
            settings::{Terms, TlsError},
        },
    },
};

/// Sessions of other routers that are remembered, so that a new connection takes less.
const SESSIONS: usize = 1_000;

/// Says where the bus is; `None` if this router is alone.
pub(super) fn bus(config: &Config) -> Result<Option<Nats>, LiveError> {
    let cluster = &config.cluster;
    if cluster.servers.is_empty() {
        return Ok(None);
    }
    let ca = |file: &PemFile| live::text("cluster.ca", file).map(<[u8]>::to_vec);
    let credentials = cluster.credentials_file.as_ref().map(|file| {
        let text = String::from_utf8_lossy(file.key.expose());
        Credentials::read(&text)
    });
    let bus = Nats {
        servers: cluster.servers.clone(),
        credentials,
        ca: cluster.ca.as_ref().map(ca).transpose()?,
        prefix: cluster.prefix.clone(),
    };
    bus.check()?;
    Ok(Some(bus))
}

impl Server {
    /// Listens for other routers, and joins the bus.
    pub(super) fn join(
        &mut self,
        config: &Config,
        bus: watch::Receiver<Option<Nats>>,
    ) -> Result<(), StartError> {
        let address = config.cluster.address;
        let failed = |error| StartError::Bind {
            address,
            key: "cluster.address",
            error,
        };
        let listener = socket::bind(address, config.listen.backlog, config.listen.reuse_port)
            .map_err(failed)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let (tls, certificate) = certificate(self.provider)
            .map_err(|error| StartError::from(live::LiveErrors::from(LiveError::from(error))))?;
        let own = Own {
            id: RouterId(self.router.forwarding.id),
            certificate,
            listening: listener.local_addr().unwrap_or(address),
            advertised: match &config.cluster.advertise {
                Some(endpoint) => OnceLock::from(endpoint.to_string()),
                None => OnceLock::new(),
            },
        };
        let halves = Halves::new(own, self.router.metrics.clone());
        let pool = Default::default();
        let _ = self.router.cluster.set(Cluster {
            halves: halves.clone(),
            pool,
        });
        let accepting = accept::run(
            self.router.clone(),
            listener,
            Some(tls),
            false,
            Who::Routers,
        );
        self.run("accepts other routers", accepting);
        self.run(
            "meets other routers",
            meet(self.router.clone(), halves, bus),
        );
        Ok(())
    }
}

/// Makes the certificate by which other routers know this one, as its announcements name it.
fn certificate(
    provider: crate::tls::provider::Provider,
) -> Result<(Arc<CurrentTls>, [u8; 32]), TlsError> {
    let crypto = provider.crypto();
    // Nobody looks at the name.
    let key = tls::settings::self_signed("router", SystemTime::now(), &crypto)?;
    let hash = key.cert.first().map(|certificate| sha256(certificate));
    let terms = Terms {
        key: Arc::new(key),
        clients: None,
        sessions: SESSIONS,
        allow_missing_alpn: false,
    };
    Ok((CurrentTls::new(terms, crypto)?, hash.unwrap_or_default()))
}

/// Is on the bus that is configured until everything stops; a changed one takes the place of the one before.
async fn meet(router: Arc<Shared>, halves: Arc<Halves>, mut bus: watch::Receiver<Option<Nats>>) {
    let mut stopped = std::pin::pin!(router.life.until(Phase::is_stopped));
    loop {
        let nats = bus.borrow_and_update().clone();
        let on_bus = async {
            let joined = match &nats {
                Some(nats) => nats.connect(&halves.name()).await,
                None => return std::future::pending().await,
            };
            match joined {
                Ok(connected) => halves::run(halves.clone(), connected).await,
                Err(error) => tracing::error!(%error, "the routers' message bus cannot be used"),
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = &mut stopped => return,
            Ok(()) = bus.changed() => halves.disconnected(),
            () = on_bus => return,
        }
    }
}

impl From<BusError> for LiveError {
    fn from(error: BusError) -> Self {
        Self::Bus(error.to_string())
    }
}
