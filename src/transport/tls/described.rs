//! What people are told of a certificate.

use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use super::settings;

/// Tells of a certificate what people look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// Its subject, empty if it has none.
    pub subject: String,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// When it expires, seconds since the epoch.
    pub not_after: i64,
}

impl Described {
    /// Reads a certificate. `None` if it cannot be read.
    pub(crate) fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|names| &names.value.general_names);
        Some(Self {
            subject: settings::subject(der).unwrap_or_default(),
            names: names.filter_map(name).collect(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = match <[u8; 4]>::try_from(*bytes) {
                Ok(bytes) => IpAddr::from(bytes),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
            };
            Some(address.to_string())
        }
        _ => None,
    }
}
