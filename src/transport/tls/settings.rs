//! The server's TLS settings: provider, certificate, client certificates, ALPN.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    server::{
        NoServerSessionStorage, ServerSessionMemoryCache, StoresServerSessions,
        WebPkiClientVerifier, danger::ClientCertVerifier,
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use crate::tls::{
    der::public_key,
    described::Described,
    pem::{self, KeyError},
    trust::{self, ALPN_H2},
};

/// How long certificates are good that are made here.
pub(crate) const SELF_MADE_LIFE: Duration = Duration::from_secs(365 * 86_400);

/// Why there is no certificate to serve with.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file does not hold what is expected of it.
    #[error("{path} cannot be used as {what}: {error}", path = path.display())]
    Unusable {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: Box<dyn Error + Send + Sync>,
    },
    /// The key does not belong to the certificate.
    #[error(
        "the key {key} and the certificate {certificate} do not go together: the first certificate of the file is for \
         another key", key = key.display(), certificate = certificate.display()
    )]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// Making a self-signed certificate failed.
    #[error("cannot make a self-signed certificate for {name:?}: {error}; check listen.endpoint")]
    SelfSigned {
        /// The name it was for.
        name: String,
        /// What rcgen or rustls says.
        error: String,
    },
    /// The provider refused the settings.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// A file, and what it holds.
type File<'f> = (&'f Path, &'f [u8]);

/// Says that a file cannot be used.
fn unusable<E: Into<Box<dyn Error + Send + Sync>>>(
    what: &'static str,
    (path, _): File<'_>,
) -> impl Fn(E) -> TlsError {
    move |error| TlsError::Unusable {
        what,
        path: path.to_owned(),
        error: error.into(),
    }
}

/// Makes something to serve with of a certificate chain and its key, both in PEM.
///
/// rustls would refuse certificates of version 1 here, as it looks at them with the eyes of a client. Peers may well
/// believe one that they know, and Go serves them.
pub fn certified(
    certificate: File<'_>,
    key: File<'_>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let (chain_of, key_of) = ("the certificate chain", "the private key");
    let chain = pem::certificates(certificate.1).map_err(unusable(chain_of, certificate))?;
    let key_der = pem::private_key(key.1).map_err(unusable(key_of, key))?;
    let why = KeyError::of(&key_der);
    let signing = provider.key_provider.load_private_key(key_der);
    let signing = signing.map_err(|_| unusable(key_of, key)(why))?;
    let unread = "its first certificate cannot be read; expected X.509";
    let shown = public_key(&chain[0]).ok_or(unread);
    let shown = shown.map_err(unusable(chain_of, certificate))?;
    if signing.public_key().is_some_and(|own| own != shown) {
        return Err(TlsError::Mismatch {
            key: key.0.to_owned(),
            certificate: certificate.0.to_owned(),
        });
    }
    Ok(CertifiedKey::new(chain, signing))
}

/// The certificates of a file in PEM, each of which can vouch for others.
pub(crate) fn authorities(
    file: File<'_>,
    what: &'static str,
) -> Result<(Vec<CertificateDer<'static>>, RootCertStore), TlsError> {
    let authorities = pem::certificates(file.1).map_err(unusable(what, file))?;
    let roots = trust::roots(authorities.clone()).map_err(unusable(what, file))?;
    Ok((authorities, roots))
}

/// Which certificates peers may show, and whether they must show one.
#[derive(Clone, Debug)]
pub struct Clients {
    authorities: Vec<CertificateDer<'static>>,
    optional: bool,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl PartialEq for Clients {
    fn eq(&self, other: &Self) -> bool {
        // The verifier is made of these.
        self.authorities == other.authorities && self.optional == other.optional
    }
}

impl Clients {
    /// Certificates signed by one of the authorities in `file`, which comes with what it holds in PEM. `optional`:
    /// peers without a certificate are let in as well.
    pub fn new(
        file: File<'_>,
        optional: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let what = "the authorities of client certificates";
        let (authorities, roots) = self::authorities(file, what)?;
        let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let builder = if optional {
            builder.allow_unauthenticated()
        } else {
            builder
        };
        let verifier = builder.build().map_err(unusable(what, file))?;
        Ok(Self {
            authorities,
            optional,
            verifier,
        })
    }

    /// Whether peers without a certificate are let in as well.
    pub fn optional(&self) -> bool {
        self.optional
    }
}

/// What handshakes are made with.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The certificate and its key.
    pub key: Arc<CertifiedKey>,
    /// Which certificates peers may show; `None`: they are not asked for any.
    pub clients: Option<Clients>,
    /// How many sessions are remembered at most, so that they can be resumed; 0 turns that off. While peers are asked for
    /// certificates none is: each connection shows one that is good now.
    pub sessions: usize,
    /// Whether peers that offer no ALPN may stay, if they speak HTTP/2.
    pub allow_missing_alpn: bool,
}

impl PartialEq for Terms {
    fn eq(&self, other: &Self) -> bool {
        // A certificate goes with one key only.
        self.key.cert == other.key.cert
            && self.clients == other.clients
            && self.sessions == other.sessions
            && self.allow_missing_alpn == other.allow_missing_alpn
    }
}

/// The subject of a certificate, such as `CN=lab-7, O=Example`. `None` if it has none, or cannot be read.
pub(crate) fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let subject = Described::of(certificate)?.subject;
    (!subject.is_empty()).then_some(subject)
}

/// Makes a self-signed ECDSA P-256 certificate for `name`, a DNS name or an IP address, good for a year.
///
/// ECDSA, because an RSA-2048 signature costs a handshake several times as much.
pub fn self_signed(
    name: &str,
    now: SystemTime,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let make = || -> Result<_, Box<dyn Error>> {
        let made = self_made("jumpstarter router", vec![name.to_owned()], now)?;
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        Ok(CertifiedKey::from_der(
            vec![made.cert.into()],
            key,
            provider,
        )?)
    };
    make().map_err(|error| TlsError::SelfSigned {
        name: name.to_owned(),
        error: error.to_string(),
    })
}

/// Makes a certificate for these names that is its own root, with its key.
pub(crate) fn self_made(
    common_name: &str,
    names: Vec<String>,
    now: SystemTime,
) -> Result<rcgen::CertifiedKey<rcgen::KeyPair>, rcgen::Error> {
    let mut params = rcgen::CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, common_name);
    // A day early, for peers whose clocks are behind.
    params.not_before = (now - Duration::from_secs(86_400)).into();
    params.not_after = (now + SELF_MADE_LIFE).into();
    let signing_key = rcgen::KeyPair::generate()?;
    let cert = params.self_signed(&signing_key)?;
    Ok(rcgen::CertifiedKey { cert, signing_key })
}

/// The server's settings: TLS 1.2 and 1.3, ALPN h2.
pub fn server_config(
    terms: &Terms,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match &terms.clients {
        Some(clients) => builder.with_client_cert_verifier(clients.verifier.clone()),
        None => builder.with_no_client_auth(),
    };
    let key = SingleCertAndKey::from(CertifiedKey::clone(&terms.key));
    let mut config = builder.with_cert_resolver(Arc::new(key));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    let sessions = if terms.clients.is_some() {
        0
    } else {
        terms.sessions
    };
    // Stock peers resume at most once per connection.
    config.send_tls13_tickets = usize::from(sessions > 0);
    let storage: Arc<dyn StoresServerSessions> = match sessions {
        0 => Arc::new(NoServerSessionStorage {}),
        count => ServerSessionMemoryCache::new(count),
    };
    config.session_storage = storage;
    Ok(Arc::new(config))
}

/// What the first bytes of a connection look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstBytes {
    /// A TLS handshake record.
    Tls,
    /// The HTTP/2 preface in plain text, or what may become it.
    Http2,
    /// A plain HTTP/1 request.
    Http1,
    /// Something else.
    Unknown,
}

impl FirstBytes {
    /// What they look like, in words.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::Http2 => "plaintext HTTP/2",
            Self::Http1 => "plaintext HTTP/1",
            Self::Unknown => "an unknown protocol",
        }
    }

    /// Looks at the beginning, which may be a part: one byte tells TLS, and rules HTTP/2 out.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        const METHODS: [&[u8]; 9] = [
            b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"DELE", b"PATC", b"CONN", b"TRAC",
        ];
        match bytes {
            [0x16, ..] => Self::Tls,
            [] => Self::Unknown,
            bytes if bytes.starts_with(b"PRI ") || b"PRI ".starts_with(bytes) => Self::Http2,
            bytes if METHODS.iter().any(|method| bytes.starts_with(method)) => Self::Http1,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        let cases: [(&[u8], FirstBytes); 18] = [
            (b"\x16", FirstBytes::Tls),
            (b"\x16\x03\x01\x00", FirstBytes::Tls),
            (b"PRI ", FirstBytes::Http2),
            (b"GET ", FirstBytes::Http1),
            (b"POST", FirstBytes::Http1),
            (b"PUT ", FirstBytes::Http1),
            (b"CONN", FirstBytes::Http1),
            (b"PRIX", FirstBytes::Unknown),
            (b"GETX", FirstBytes::Unknown),
            (b"SSH-", FirstBytes::Unknown),
            (b"\x15\x03\x01\x00", FirstBytes::Unknown),
            (b"", FirstBytes::Unknown),
            (b"P", FirstBytes::Http2),
            (b"PR", FirstBytes::Http2),
            (b"PRI", FirstBytes::Http2),
            (b"PO", FirstBytes::Unknown),
            (b"G", FirstBytes::Unknown),
            (b"x", FirstBytes::Unknown),
        ];
        for (bytes, expected) in cases {
            assert_eq!(FirstBytes::of(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn self_signed_certificates_are_made_for_names_and_addresses() {
        let crypto = crate::tls::provider::Provider::Auto.crypto();
        for name in ["localhost", "router-0.example.com", "127.0.0.1", "::1"] {
            let key = self_signed(name, SystemTime::now(), &crypto);
            assert!(key.is_ok_and(|key| key.keys_match().is_ok()), "{name}");
        }
        let refused = self_signed("no\u{e9}l", SystemTime::now(), &crypto).err();
        let said = refused.map(|error| error.to_string()).unwrap_or_default();
        assert!(
            said.contains("listen.endpoint"),
            "says what to change: {said:?}"
        );
    }
}
