//! Which routers are believed, for whoever connects to one.

use std::{cell::RefCell, sync::Arc};

use rustls::{
    ALL_VERSIONS, CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, Error,
    NamedGroup, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
        verify_tls13_signature_with_raw_key,
    },
    server::ParsedCertificate,
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::task_local;

use super::{
    der::{self, public_key},
    provider::Provider,
};

/// The protocol offered by ALPN; gRPC knows no other.
pub(crate) const ALPN_H2: &[u8] = b"h2";

/// Which certificates are believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those that are signed by one of these, for the name that was connected to.
    Roots(RootCertStore),
    /// Those that are, or are signed by, one of these, for the name that was connected to.
    Named(Vec<CertificateDer<'static>>),
    /// Only this one is believed, whatever its name.
    Exactly(CertificateDer<'static>),
    /// Only the one with this hash is believed, and only in TLS 1.3.
    Pinned {
        /// What `hash` must give.
        sha256: [u8; 32],
        /// Gives the SHA-256 of a certificate.
        hash: fn(&[u8]) -> [u8; 32],
    },
    /// Any certificate is believed.
    Any,
}

/// Makes roots of certificates, each of which can vouch for others.
pub(crate) fn roots(
    certificates: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// The settings of a client that speaks HTTP/2. `identity` is shown to a router that asks for a certificate.
pub fn client_config(
    trust: Trust,
    identity: Option<Arc<CertifiedKey>>,
) -> Result<ClientConfig, Error> {
    client_config_with(trust, identity, true)
}

/// As [`client_config`]; without `post_quantum`, the first message is small enough for one packet, and whoever records the
/// connection can read it once there are computers for that.
pub(crate) fn client_config_with(
    trust: Trust,
    identity: Option<Arc<CertifiedKey>>,
    post_quantum: bool,
) -> Result<ClientConfig, Error> {
    let mut crypto = CryptoProvider::clone(&Provider::Auto.crypto());
    if !post_quantum {
        let classical = [
            NamedGroup::X25519,
            NamedGroup::secp256r1,
            NamedGroup::secp384r1,
        ];
        crypto
            .kx_groups
            .retain(|group| classical.contains(&group.name()));
    }
    // As stock peers do where the processor knows AES. With rustls' own order, SHA-384, for which few processors have
    // instructions, takes a sixth of the router's time to set up a connection.
    let first = CipherSuite::TLS13_AES_128_GCM_SHA256;
    crypto
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != first);
    let crypto = Arc::new(crypto);
    let versions: &[_] = match trust {
        Trust::Pinned { .. } => &[&TLS13],
        _ => ALL_VERSIONS,
    };
    let builder =
        ClientConfig::builder_with_provider(crypto.clone()).with_protocol_versions(versions)?;
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Roots(signers) => Arc::new(Named::new(signers, vec![], crypto)?),
        Trust::Named(known) => Arc::new(Named::new(roots(known.clone())?, known, crypto)?),
        trust => Arc::new(Unnamed {
            trust,
            algorithms: crypto.signature_verification_algorithms,
        }),
    };
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(config)
}

task_local! {
    /// Keeps the certificate that a handshake in this scope was shown.
    static SHOWN: RefCell<Option<CertificateDer<'static>>>;
}

/// Makes a handshake, and gives the certificate that it was shown as well, whether or not that was believed.
pub(crate) async fn showing<F: Future>(
    handshake: F,
) -> (F::Output, Option<CertificateDer<'static>>) {
    let shake = async { (handshake.await, SHOWN.with(RefCell::take)) };
    SHOWN.scope(RefCell::default(), shake).await
}

fn keep(shown: &CertificateDer<'_>) {
    // Whoever does not ask is not told.
    let _ = SHOWN.try_with(|kept| *kept.borrow_mut() = Some(shown.clone().into_owned()));
}

/// Believes certificates for the name that was connected to.
#[derive(Debug)]
struct Named {
    signed: Arc<WebPkiServerVerifier>,
    /// These are believed even if nobody has signed them, or if they say that they are a CA's.
    known: Vec<CertificateDer<'static>>,
}

impl Named {
    fn new(
        roots: RootCertStore,
        known: Vec<CertificateDer<'static>>,
        crypto: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let signed = WebPkiServerVerifier::builder_with_provider(roots.into(), crypto)
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { signed, known })
    }

    /// Looks at the dates and names of a certificate that is believed by itself.
    fn check_known(
        &self,
        shown: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // Dates come first in it, and then what does not matter here.
        match self.signed.verify_server_cert(shown, &[], name, &[], now) {
            Err(Error::InvalidCertificate(
                error @ (CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
                | CertificateError::BadEncoding),
            )) => return Err(error.into()),
            Ok(verified) => return Ok(verified),
            Err(_) => {}
        }
        match verify_server_name(&ParsedCertificate::try_from(shown)?, name) {
            // As OpenSSL and gRPC have it: the common name counts where there are no other names.
            Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                presented,
                ..
            })) if presented.is_empty() && is_called(shown, name) => {}
            verified => verified?,
        }
        Ok(ServerCertVerified::assertion())
    }
}

fn is_called(shown: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let subject = der::names(shown).and_then(|names| names.subject);
    subject.is_some_and(|subject| subject.eq_ignore_ascii_case(&name.to_str()))
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        keep(shown);
        if self.known.iter().any(|known| known == shown) {
            return self.check_known(shown, name, now);
        }
        self.signed
            .verify_server_cert(shown, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

/// Believes one certificate, or any, without a look at names. The router must still hold the key.
#[derive(Debug)]
struct Unnamed {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Unnamed {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        keep(shown);
        let believed = match &self.trust {
            Trust::Exactly(expected) => expected == shown,
            Trust::Pinned { sha256, hash } => hash(shown) == *sha256,
            _ => true,
        };
        if !believed {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // What a certificate may be does not matter where it is known or none is asked for; only its key does. rustls
        // would refuse one of version 1.
        let Some(key) = public_key(certificate) else {
            return verify_tls13_signature(message, certificate, signature, &self.algorithms);
        };
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
