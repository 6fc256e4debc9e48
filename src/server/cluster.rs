//! Joins a router to others: a listener for them, and the bus over which they hear of each other.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use rustls::crypto::CryptoProvider;
use tokio::sync::watch;

use super::{Server, StartError, live, live::LiveError};
use crate::{
    cluster::{
        announcement::sha256,
        bus::Place,
        halves::{self, Halves, Own},
        meet::RouterId,
    },
    config::Config,
    tls::provider::Provider,
    transport::{
        accept::{self, Who},
        outbound::Pool,
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

/// Connects to the bus once, and says to which of its servers; `None` if this router is alone.
///
/// # Errors
///
/// What keeps it from being used, now or for ever.
#[cfg(feature = "cluster")]
pub(crate) async fn try_bus(config: &Config) -> Result<Option<String>, String> {
    match live::bus(config).map_err(|error| error.to_string())? {
        Some(bus) => bus
            .try_once()
            .await
            .map(Some)
            .map_err(|error| error.to_string()),
        None => Ok(None),
    }
}

#[cfg(feature = "cluster")]
impl Server {
    /// Listens for other routers, and joins the bus. `shared`: another process may serve peers on the same address.
    pub(super) fn join(
        &mut self,
        config: &Config,
        bus: watch::Receiver<Option<Place>>,
        shared: bool,
    ) -> Result<(), StartError> {
        let address = config.cluster.address;
        let failed = |error| StartError::Bind {
            address,
            key: "cluster.address",
            error,
        };
        let bind = |address| socket::bind(address, config.listen.backlog, false);
        let listener = match bind(address) {
            // The process that this one follows has it, and is called there to its end. Others are told which port it is.
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && shared
                    && config.cluster.advertise.is_none() =>
            {
                bind(SocketAddr::new(address.ip(), 0))
            }
            bound => bound,
        };
        let listener = listener.map_err(failed)?;
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
        let _ = self.router.cluster.set(Cluster {
            halves: halves.clone(),
            pool: Pool::default(),
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
#[cfg(feature = "cluster")]
fn certificate(provider: Provider) -> Result<(Arc<CurrentTls>, [u8; 32]), TlsError> {
    let mut crypto = CryptoProvider::clone(&provider.crypto());
    // Without a suite of an older version none is spoken.
    crypto.cipher_suites.retain(|suite| suite.tls13().is_some());
    let crypto = Arc::new(crypto);
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
#[cfg(feature = "cluster")]
async fn meet(router: Arc<Shared>, halves: Arc<Halves>, mut bus: watch::Receiver<Option<Place>>) {
    let mut stopped = std::pin::pin!(router.life.until(Phase::is_stopped));
    loop {
        let place = bus.borrow_and_update().clone();
        let on_bus = async {
            let joined = match &place {
                Some(place) => place.connect(&halves.name()).await,
                None => return std::future::pending().await,
            };
            match joined {
                Ok(connected) => halves::run(halves.clone(), connected).await,
                Err(error) => tracing::error!(%error, "the routers' message bus cannot be used"),
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = &mut stopped => return,
            Ok(()) = bus.changed() => halves.disconnected(),
            () = on_bus => return,
        }
    }
}
