//! What of a configuration takes effect while the router runs: first all of it is made ready, then all of it is put in
//! force. Only the first can fail.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use rustls::{crypto::CryptoProvider, sign::CertifiedKey};
use thiserror::Error;
use tokio::sync::watch;

use super::{expiry, max_waiting, memory_limit, open_files::Shortage, rules, successor};
use crate::{
    admin::api::settings::{Configured, Shown},
    auth::{Key, KeyRingError, Rules},
    cluster::bus::{Credentials, Place},
    common::text::joined,
    config::{self, Config, Loaded, PemFile},
    tls::provider::Provider,
    transport::{
        forwarding::Successor,
        settings::Settings,
        shared::Shared,
        tls::{
            self,
            current::{CurrentTls, Ready},
            settings::{Clients, Terms, TlsError},
        },
    },
};

/// Why a configuration cannot be put in force.
#[derive(Debug, Error)]
pub enum LiveError {
    /// No usable signing key.
    #[error(transparent)]
    Keys(#[from] KeyRingError),
    /// A file cannot be read.
    #[error("{key}: cannot read {path}: {error}; check that it exists and that the router may read it", path = path.display())]
    Unreadable {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: String,
    },
    /// No usable certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No usable message bus.
    #[error("{0}")]
    Bus(String),
}

/// Everything that is wrong with what a configuration names.
#[derive(Debug, Error)]
#[error("{}", joined(.0, "; "))]
pub struct LiveErrors(Vec<LiveError>);

impl LiveErrors {
    /// Each of them, of which there is at least one.
    pub fn all(&self) -> &[LiveError] {
        &self.0
    }
}

/// What a router starts with, made of its configuration and the files that this names. All that can be wrong with them
/// is found here, for whoever starts a router and for whoever only asks whether it would start.
#[derive(Debug)]
pub(super) struct Parts {
    pub rules: Rules,
    pub successor: Successor,
    /// Unless it serves plain text.
    pub tls: Option<Tls>,
    /// The TLS provider in use.
    pub provider: Provider,
    /// Where other routers are heard of; `None` if there are none.
    pub bus: Option<Place>,
}

impl Parts {
    pub(super) fn of(config: &Config) -> Result<Self, LiveErrors> {
        let mut errors = Vec::new();
        let provider = config.tls.provider.resolve();
        let rules = kept(rules(config).map_err(LiveError::from), &mut errors);
        let successor = kept(successor(config), &mut errors);
        let tls = kept(Tls::of(config, provider), &mut errors);
        let bus = kept(bus(config), &mut errors);
        match (rules, successor, tls, bus) {
            (Some(rules), Some(successor), Some(tls), Some(bus)) => Ok(Self {
                rules,
                successor,
                tls,
                provider,
                bus,
            }),
            _ => Err(LiveErrors(errors)),
        }
    }
}

impl From<LiveError> for LiveErrors {
    fn from(error: LiveError) -> Self {
        Self(vec![error])
    }
}

fn kept<T>(result: Result<T, LiveError>, errors: &mut Vec<LiveError>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

/// Whether a router could start with this configuration, as far as no port and no other process matters. What is not
/// wrong but should be known comes back as warnings.
///
/// # Errors
///
/// All that would keep it from starting.
pub(crate) fn check(config: &Config) -> Result<Vec<String>, LiveErrors> {
    let parts = Parts::of(config)?;
    let certificate = parts.tls.filter(|tls| !tls.is_self_signed());
    let expires = certificate.and_then(|tls| tls.current.expires_at());
    let expiry = expires.and_then(|expires| expiry::remark(expires, SystemTime::now()));
    let shortage = Shortage::of(config).map(|shortage| shortage.to_string());
    Ok(expiry.into_iter().chain(shortage).collect())
}

/// The parts of a running router that a new configuration reaches.
#[derive(Debug)]
pub struct Live {
    router: Arc<Shared>,
    tls: Option<Tls>,
    /// Where other routers are heard of.
    bus: watch::Sender<Option<Place>>,
    /// What administrators see of the configuration.
    shown: Arc<Shown>,
}

/// Of a router that serves TLS.
#[derive(Debug)]
pub(super) struct Tls {
    pub current: Arc<CurrentTls>,
    pub self_signed: AtomicBool,
}

impl Tls {
    /// What TLS needs, if it is in use.
    fn of(config: &Config, provider: Provider) -> Result<Option<Self>, LiveError> {
        if config.tls.plaintext {
            return Ok(None);
        }
        let crypto = provider.crypto();
        let (key, self_signed) = certificate(config, &crypto)?;
        let terms = terms(config, key.into(), &crypto)?;
        Ok(Some(Self {
            current: CurrentTls::new(terms, crypto)?,
            self_signed: self_signed.into(),
        }))
    }

    pub(super) fn is_self_signed(&self) -> bool {
        self.self_signed.load(Ordering::Relaxed)
    }
}

/// A configuration made ready.
#[derive(Debug)]
pub struct Change {
    rules: Rules,
    settings: Settings,
    single_use: bool,
    /// What windows may grow by, bytes.
    windows: u64,
    /// What the process may use, bytes.
    memory: Option<u64>,
    /// What is new about TLS, if anything. The flag: whether the certificate is self-signed.
    tls: Option<(Ready, bool)>,
    successor: Successor,
    /// The bus with new credentials or certificates to trust, if there is one.
    bus: Option<Place>,
}

impl Live {
    pub(super) fn new(router: Arc<Shared>, tls: Option<Tls>, bus: Option<Place>) -> Self {
        let bus = watch::Sender::new(bus);
        let shown = Arc::default();
        Self {
            router,
            tls,
            bus,
            shown,
        }
    }

    /// Gives what administrators see of the configuration.
    pub(super) fn shown(&self) -> &Arc<Shown> {
        &self.shown
    }

    /// Shows administrators what was configured at the start, and what is now.
    pub(crate) fn show(&self, started: &Loaded, now: &Loaded) {
        let certificate = now.config.tls.certificate.as_ref();
        self.shown.store(Arc::new(Configured {
            all: config::settings(started, now),
            certificate: certificate.map(|file| file.path.display().to_string()),
        }));
    }

    /// Follows where other routers are heard of.
    pub(super) fn bus(&self) -> watch::Receiver<Option<Place>> {
        self.bus.subscribe()
    }

    /// What the router's connections share.
    pub fn router(&self) -> &Arc<Shared> {
        &self.router
    }

    /// Makes everything ready that can change, and changes nothing.
    pub fn prepare(&self, config: &Config) -> Result<Change, LiveError> {
        Ok(Change {
            rules: rules(config)?,
            settings: config.into(),
            single_use: config.auth.single_use,
            windows: config.memory.windows.bytes() as u64,
            memory: memory_limit(config),
            tls: self.prepare_tls(config)?,
            successor: successor(config)?,
            bus: self.prepare_bus(config)?,
        })
    }

    /// Puts it in force. Connections keep the limits and the certificate they were opened with, streams their
    /// deadlines, and whoever was admitted stays.
    pub fn apply(&self, change: Change) {
        let router = &self.router;
        if let (Some(tls), Some((ready, self_signed))) = (&self.tls, change.tls) {
            tls.self_signed.store(self_signed, Ordering::Relaxed);
            tls.current.replace(ready);
        }
        let keys = change.rules.keys.keys().iter().map(Key::name);
        router.metrics.token_keys.set(keys);
        router.rules.store(Arc::new(change.rules));
        let max_waiting = max_waiting(&change.settings.pairing);
        router.settings.store(Arc::new(change.settings));
        router
            .forwarding
            .successor
            .store(Arc::new(change.successor));
        router.table.configure(max_waiting, change.single_use);
        router.limits.windows.set_limit(change.windows);
        router.memory.set_limit(change.memory);
        if let Some(bus) = change.bus {
            self.bus.send_replace(Some(bus));
        }
    }

    /// Where the servers are, and what subjects begin with, stays as at the start.
    fn prepare_bus(&self, config: &Config) -> Result<Option<Place>, LiveError> {
        let new = bus(config)?;
        let now = self.bus.borrow();
        let changed = now.as_ref().zip(new).map(|(now, new)| Place {
            credentials: new.credentials,
            ca: new.ca,
            ..now.clone()
        });
        Ok(changed.filter(|changed| Some(changed) != now.as_ref()))
    }

    fn prepare_tls(&self, config: &Config) -> Result<Option<(Ready, bool)>, LiveError> {
        let Some(tls) = &self.tls else {
            return Ok(None);
        };
        let crypto = tls.current.crypto();
        let was_self_signed = tls.is_self_signed();
        // Without files, a self-signed certificate stays; so does any, if TLS is to be turned off at the next start.
        let keep = was_self_signed || config.tls.plaintext;
        let (key, self_signed) = if config.tls.certificate.is_none() && keep {
            (tls.current.key(), was_self_signed)
        } else {
            let (key, self_signed) = certificate(config, crypto)?;
            (Arc::new(key), self_signed)
        };
        let terms = terms(config, key, crypto)?;
        let ready = tls.current.prepare(terms)?;
        Ok(ready.map(|ready| (ready, self_signed)))
    }
}

/// What handshakes are made with, besides the certificate `key`.
fn terms(
    config: &Config,
    key: Arc<CertifiedKey>,
    crypto: &Arc<CryptoProvider>,
) -> Result<Terms, LiveError> {
    let clients = match &config.tls.client_ca {
        Some(file) => {
            let file = (&*file.path, text("tls.client_ca", file)?);
            let optional = config.tls.client_certificate_optional;
            Some(Clients::new(file, optional, crypto)?)
        }
        None => None,
    };
    Ok(Terms {
        key,
        clients,
        sessions: config.tls.session_cache as usize,
        allow_missing_alpn: config.tls.allow_missing_alpn,
    })
}

/// The certificate that is configured, or else a self-signed one, and whether it is that.
fn certificate(
    config: &Config,
    crypto: &CryptoProvider,
) -> Result<(CertifiedKey, bool), LiveError> {
    let files = config.tls.certificate.as_ref().zip(config.tls.key.as_ref());
    let Some((certificate, key)) = files else {
        let name = &config.listen.endpoint.host;
        let key = tls::settings::self_signed(name, SystemTime::now(), crypto)?;
        return Ok((key, true));
    };
    let certificate = (&*certificate.path, text("tls.certificate", certificate)?);
    let key = (&*key.path, text("tls.key", key)?);
    Ok((tls::settings::certified(certificate, key, crypto)?, false))
}

/// As below, of a program that cannot join any.
#[cfg(not(feature = "cluster"))]
pub(super) fn bus(config: &Config) -> Result<Option<Place>, LiveError> {
    if config.cluster.servers.is_empty() {
        return Ok(None);
    }
    let text = "cluster.servers: this program was built without the feature \"cluster\"; unset it, or take another build";
    Err(LiveError::Bus(text.to_owned()))
}

/// Says where the bus is; `None` if this router is alone.
#[cfg(feature = "cluster")]
pub(super) fn bus(config: &Config) -> Result<Option<Place>, LiveError> {
    let cluster = &config.cluster;
    if cluster.servers.is_empty() {
        return Ok(None);
    }
    let ca = |file: &PemFile| text("cluster.ca", file).map(<[u8]>::to_vec);
    let credentials = cluster.credentials_file.as_ref().map(|file| {
        let text = String::from_utf8_lossy(file.key.expose());
        Credentials::read(&text)
    });
    let bus = Place {
        servers: cluster.servers.clone(),
        credentials,
        ca: cluster.ca.as_ref().map(ca).transpose()?,
        prefix: cluster.prefix.clone(),
    };
    let checked = bus.check();
    checked.map_err(|error| LiveError::Bus(error.to_string()))?;
    Ok(Some(bus))
}

pub(super) fn text<'f>(key: &'static str, file: &'f PemFile) -> Result<&'f [u8], LiveError> {
    match &file.text {
        Ok(text) => Ok(text.expose()),
        Err(error) => Err(LiveError::Unreadable {
            key,
            path: file.path.clone(),
            error: error.clone(),
        }),
    }
}

#[cfg(test)]
mod tests;
