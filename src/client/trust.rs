//! Which routers are believed, and what a peer shows to them.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{ClientConfig, RootCertStore, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use super::connect::error::ConnectError;
use crate::tls::{
    pem::{self, PemError},
    provider::Provider,
    trust::{Trust as Believed, client_config_with},
};

/// Says which routers are believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Believes those whose certificate is signed by an authority that this system trusts.
    System,
    /// Believes those whose certificate is, or is signed by, one of these. One that is among them is believed for its
    /// names and its time, whatever else it says of itself.
    Certificates(Vec<CertificateDer<'static>>),
    /// Believes any certificate; whoever stands between could read along.
    Insecure,
    /// Does without TLS.
    Plaintext,
}

impl Trust {
    /// Believes the certificates in PEM text, at least one.
    pub fn from_pem(text: impl AsRef<[u8]>) -> Result<Self, PemError> {
        pem::certificates(text.as_ref()).map(Self::Certificates)
    }

    /// Believes the certificates in a PEM file, at least one.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self, CertificatesError> {
        let path = path.as_ref();
        let text =
            fs::read(path).map_err(|error| CertificatesError::File(path.to_owned(), error))?;
        Self::from_pem(text).map_err(|error| CertificatesError::Pem(path.to_owned(), error))
    }
}

/// Says why there is nothing to trust.
#[derive(Debug, Error)]
pub enum CertificatesError {
    /// The file cannot be read.
    #[error("{path}: {1}", path = .0.display())]
    File(PathBuf, io::Error),
    /// It is not PEM, or has no certificate.
    #[error("{path}: expected certificates in PEM: {1}", path = .0.display())]
    Pem(PathBuf, PemError),
}

/// Is shown to a router that asks for certificates.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Shows a certificate chain, the peer's own certificate first; `key` is that one's.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain, key }
    }

    /// Reads both from files in PEM.
    pub fn from_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, ConnectError> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        let unusable = |path: &Path, error: &dyn fmt::Display| ConnectError::Identity {
            path: path.display().to_string(),
            error: error.to_string(),
        };
        let read = |path| fs::read(path).map_err(|error| unusable(path, &error));
        let chain = pem::certificates(&read(certificate)?);
        let chain = chain.map_err(|error| unusable(certificate, &error))?;
        let found = pem::private_key(&read(key)?);
        let key = found.map_err(|error| unusable(key, &error))?;
        Ok(Self::new(chain, key))
    }
}

/// Loads the certificates of the authorities this system trusts.
fn system_roots() -> Result<RootCertStore, ConnectError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems have a few among them that cannot be read.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = found.errors.first();
        let why = why.map_or_else(String::new, |error| format!(" ({error})"));
        return Err(ConnectError::NoSystemRoots(why));
    }
    Ok(roots)
}

pub(super) fn tls_config(
    trust: Trust,
    identity: Option<Identity>,
    post_quantum: bool,
) -> Result<Option<ClientConfig>, ConnectError> {
    let trust = match trust {
        Trust::System => Believed::Roots(system_roots()?),
        Trust::Plaintext => return Ok(None),
        Trust::Insecure => Believed::Any,
        Trust::Certificates(certificates) => Believed::Named(certificates),
    };
    let identity = identity
        .map(|Identity { chain, key }| {
            CertifiedKey::from_der(chain, key, &Provider::Auto.crypto()).map(Arc::new)
        })
        .transpose()?;
    Ok(Some(client_config_with(trust, identity, post_quantum)?))
}
