//! Authorities that sign client certificates.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use jumpstarter_router::client::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

use super::DAY;

pub struct Authority {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate in PEM.
    pub pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.crt"), &pem).unwrap();
        let issuer = Issuer::new(params, key);
        Self { dir, issuer, pem }
    }

    /// The file with its certificate.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// The files of a certificate for a client of this name, and of its key.
    pub fn files_for(&self, name: &str) -> [PathBuf; 2] {
        self.signed(name, ExtendedKeyUsagePurpose::ClientAuth, |_| {})
    }

    /// Likewise, for that use, and with that change.
    pub fn signed(
        &self,
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
        change: impl FnOnce(&mut CertificateParams),
    ) -> [PathBuf; 2] {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str, text: &str| {
            let path = self.dir.path().join(format!("{name}.{end}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        [
            file("crt", &signed.pem()),
            file("key", &key.serialize_pem()),
        ]
    }

    pub fn identity(&self, name: &str) -> Identity {
        read(&self.files_for(name))
    }

    /// A certificate that was good until yesterday.
    pub fn expired(&self) -> Identity {
        let files = self.signed("expired", ExtendedKeyUsagePurpose::ClientAuth, |params| {
            params.not_before = (SystemTime::now() - 2 * DAY).into();
            params.not_after = (SystemTime::now() - DAY).into();
        });
        read(&files)
    }
}

pub fn read([certificate, key]: &[impl AsRef<Path>; 2]) -> Identity {
    Identity::from_files(certificate.as_ref(), key.as_ref()).unwrap()
}
