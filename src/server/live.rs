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

use super::{max_waiting, rules, settings, successor};
use crate::{
    auth::{Key, KeyRingError, Rules},
    config::{Config, PemFile},
    transport::{
        certificate::CurrentCertificate,
        router::{Router, Settings},
        successor::Successor,
        tls::{self, TlsError},
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
}

/// The parts of a running router that a new configuration reaches.
#[derive(Debug)]
pub struct Live {
    router: Arc<Router>,
    tls: Option<Tls>,
}

/// Of a router that serves TLS.
#[derive(Debug)]
pub(super) struct Tls {
    pub certificate: Arc<CurrentCertificate>,
    pub crypto: Arc<CryptoProvider>,
    pub self_signed: AtomicBool,
}

/// A configuration made ready.
#[derive(Debug)]
pub struct Change {
    rules: Rules,
    settings: Settings,
    max_waiting: usize,
    single_use: bool,
    /// What windows may grow by, bytes.
    windows: u64,
    successor: Successor,
    /// A certificate that is not the one in use, perhaps. The flag: whether it is self-signed.
    certificate: Option<(CertifiedKey, bool)>,
}

impl Live {
    pub(super) fn new(router: Arc<Router>, tls: Option<Tls>) -> Self {
        Self { router, tls }
    }

    /// What the router's connections share.
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// Makes everything ready that can change, and changes nothing.
    pub fn prepare(&self, config: &Config) -> Result<Change, LiveError> {
        Ok(Change {
            rules: rules(config)?,
            settings: settings(config),
            max_waiting: max_waiting(config),
            single_use: config.auth.single_use,
            windows: config.memory.windows.bytes() as u64,
            successor: successor(config)?,
            certificate: self.certificate(config)?,
        })
    }

    /// Puts it in force. Connections keep the limits and the certificate they were opened with, streams their
    /// deadlines, and whoever was admitted stays.
    pub fn apply(&self, change: Change) {
        let router = &self.router;
        if let (Some(tls), Some((key, self_signed))) = (&self.tls, change.certificate) {
            tls.self_signed.store(self_signed, Ordering::Relaxed);
            tls.certificate.replace(key);
        }
        let keys = change.rules.keys.keys().iter().map(Key::name);
        router.metrics.token_keys.set(keys);
        router.rules.store(Arc::new(change.rules));
        router.settings.store(Arc::new(change.settings));
        router.successor.store(Arc::new(change.successor));
        router
            .table
            .configure(change.max_waiting, change.single_use);
        router.windows.set_limit(change.windows);
    }

    fn certificate(&self, config: &Config) -> Result<Option<(CertifiedKey, bool)>, LiveError> {
        let Some(tls) = &self.tls else {
            return Ok(None);
        };
        // Without files, a self-signed certificate stays; so does any, if TLS is to be turned off at the next start.
        let keep = tls.self_signed.load(Ordering::Relaxed) || config.tls.plaintext;
        if config.tls.certificate.is_none() && keep {
            return Ok(None);
        }
        certificate(config, &tls.crypto).map(Some)
    }
}

/// The certificate that is configured, or else a self-signed one, and whether it is that.
pub(super) fn certificate(
    config: &Config,
    crypto: &CryptoProvider,
) -> Result<(CertifiedKey, bool), LiveError> {
    let files = config.tls.certificate.as_ref().zip(config.tls.key.as_ref());
    let Some((certificate, key)) = files else {
        let name = &config.listen.endpoint.host;
        let key = tls::self_signed(name, SystemTime::now(), crypto)?;
        return Ok((key, true));
    };
    let certificate = (&*certificate.path, text("tls.certificate", certificate)?);
    let key = (&*key.path, text("tls.key", key)?);
    Ok((tls::certified(certificate, key, crypto)?, false))
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
