//! What people are told of a certificate.

use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

/// Tells of a certificate what people look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// Its subject, such as `CN=lab-7, O=Example`; empty if it has none. As all of this, its maker has chosen it.
    pub subject: String,
    /// Who has signed it.
    pub issuer: String,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// When it begins to be good, seconds since the epoch.
    pub not_before: i64,
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
            subject: subject(&certificate.subject().to_string()),
            issuer: subject(&certificate.issuer().to_string()),
            names: names.filter_map(name).collect(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }
}

/// Characters of a subject that are kept. Nobody needs more to tell who it is.
const MOST_OF_A_SUBJECT: usize = 200;

fn subject(whole: &str) -> String {
    whole.chars().take(MOST_OF_A_SUBJECT).collect()
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read() {
        let names = ["router.example.com", "192.0.2.1", "2001:db8::1"].map(ToOwned::to_owned);
        let mut params = rcgen::CertificateParams::new(names.to_vec()).unwrap();
        let lab = "lab-7";
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, lab);
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let described = Described::of(made.der()).unwrap();
        assert_eq!(described.names, names);
        // rcgen has a name of its own unless it is told another.
        assert_eq!(described.subject, described.issuer);
        assert!(described.subject.ends_with(lab), "{}", described.subject);
        assert_eq!(Described::of(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
