//! Which routers are believed, for whoever connects to one.

use std::sync::Arc;

use rustls::{
    ALL_VERSIONS, CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, Error,
    RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
        verify_tls13_signature_with_raw_key,
    },
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{der::public_key, provider::Provider};

/// The protocol offered by ALPN; gRPC knows no other.
pub(crate) const ALPN_H2: &[u8] = b"h2";

/// Which certificates are believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those that are, or are signed by, one of these, for the name that was connected to.
    Roots(RootCertStore),
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
    let mut crypto = CryptoProvider::clone(&Provider::Auto.crypto());
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
    let builder = match trust {
        Trust::Roots(roots) => builder.with_root_certificates(roots),
        trust => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unnamed {
                trust,
                algorithms: crypto.signature_verification_algorithms,
            })),
    };
    let mut config = match identity {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(config)
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
