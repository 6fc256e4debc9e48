//! The lab's certificate: self-made, for all names of this machine's loopback interface and the name peers are told.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use super::{FolderError, read};
use crate::common::since_epoch;
use crate::transport::tls::settings::self_made;

/// The name it goes by; one with another name is the user's own, and left alone.
const COMMON_NAME: &str = "jumpstarter lab";

/// One that ends sooner is replaced.
const RENEW: Duration = Duration::from_secs(30 * 86_400);

/// Names that are always in it.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate in PEM, which is its own root.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// It is in the directory, with its key.
    Kept(String),
    /// It is to be written there.
    New { certificate: String, key: String },
}

/// Gives the one in the directory if it will do, else a new one.
pub(super) fn load_or_make(folder: &Path, host: &str, now: SystemTime) -> Result<Own, FolderError> {
    let (cert_path, key_path) = (folder.join("tls.crt"), folder.join("tls.key"));
    if let (Some(found), Some(_)) = (read(&cert_path)?, read(&key_path)?) {
        let good = will_do(&found, host, now).map_err(|why| {
            FolderError::Certificate(format!(
                "{} is no certificate in PEM: {why}; remove it and tls.key, and new ones are made",
                cert_path.display()
            ))
        })?;
        if good {
            return Ok(Own::Kept(found));
        }
    }
    let (certificate, key) = make(host, now).map_err(|error| {
        FolderError::Certificate(format!(
            "cannot make a certificate for {host:?}: {error}; check --endpoint"
        ))
    })?;
    Ok(Own::New { certificate, key })
}

/// Makes a certificate and its key, both in PEM.
fn make(host: &str, now: SystemTime) -> Result<(String, String), rcgen::Error> {
    let mut names: Vec<_> = LOOPBACK.iter().map(|name| (*name).to_owned()).collect();
    if !LOOPBACK.contains(&host) {
        names.push(host.to_owned());
    }
    let made = self_made(COMMON_NAME, names, now)?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}

/// Tells whether a certificate can still be used for `host`; the user's own always can.
fn will_do(pem: &str, host: &str, now: SystemTime) -> Result<bool, String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
    let ours = certificate
        .subject()
        .iter_common_name()
        .any(|name| name.as_str() == Ok(COMMON_NAME));
    if !ours {
        return Ok(true);
    }
    let later = since_epoch(now + RENEW).as_secs().cast_signed();
    let lasts = certificate.validity().not_after.timestamp() > later;
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| error.to_string())?;
    let found = names.is_some_and(|names| {
        names.value.general_names.iter().any(|name| match name {
            GeneralName::DNSName(name) => *name == host,
            GeneralName::IPAddress(bytes) => is_address(bytes, host),
            _ => false,
        })
    });
    Ok(lasts && found)
}

fn is_address(bytes: &[u8], host: &str) -> bool {
    match host.parse() {
        Ok(std::net::IpAddr::V4(address)) => address.octets() == bytes,
        Ok(std::net::IpAddr::V6(address)) => address.octets() == bytes,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;
    use crate::transport::tls::settings::SELF_MADE_LIFE;

    #[test]
    fn it_is_kept_while_it_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let load = |host: &str, now| match load_or_make(folder.path(), host, now)? {
            Own::Kept(certificate) => Ok::<_, FolderError>(certificate),
            Own::New { certificate, key } => {
                fs::write(folder.path().join("tls.crt"), &certificate).unwrap();
                fs::write(folder.path().join("tls.key"), key).unwrap();
                Ok(certificate)
            }
        };
        let first = load("127.0.0.1", now).unwrap();
        for host in ["127.0.0.1", "localhost", "::1"] {
            assert_eq!(load(host, now).unwrap(), first, "{host}");
        }
        let named = load("lab.example.com", now).unwrap();
        assert_ne!(named, first);
        assert_eq!(load("localhost", now).unwrap(), named);
        let renewed = load("localhost", now + SELF_MADE_LIFE - RENEW / 2).unwrap();
        assert_ne!(renewed, named);
    }

    #[test]
    fn others_are_used_or_told() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let own = self_made("own", vec!["elsewhere".to_owned()], now).unwrap();
        fs::write(folder.path().join("tls.crt"), own.cert.pem()).unwrap();
        let key = own.signing_key.serialize_pem();
        fs::write(folder.path().join("tls.key"), key).unwrap();
        let loaded = load_or_make(folder.path(), "localhost", now).unwrap();
        assert_eq!(loaded, Own::Kept(own.cert.pem()));
        fs::write(folder.path().join("tls.crt"), "garbage").unwrap();
        let error = load_or_make(folder.path(), "localhost", now).unwrap_err();
        assert!(error.to_string().contains("is no certificate"), "{error}");
    }
}
