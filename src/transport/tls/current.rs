//! The TLS settings in use, which can be replaced while the router runs.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rustls::{ServerConfig, crypto::CryptoProvider, sign::CertifiedKey};
use tokio::sync::Notify;

use crate::tls::described::Described;
use crate::transport::tls::{
    gather::Gather,
    settings::{self, Terms, TlsError},
    stream::TlsStream,
};

/// What handshakes take from here.
///
/// Everything that a handshake is made with goes together, the sessions that can be resumed included: a resumed session
/// shows no certificate, on either side. So after a change every peer sees the new certificate, and whoever replaces a
/// key that leaked is rid of what it vouched for. A handshake that goes on meanwhile leaves its session with the
/// settings it was begun with, where nobody will look for it.
#[derive(Debug)]
pub struct CurrentTls {
    state: ArcSwap<Ready>,
    crypto: Arc<CryptoProvider>,
    replaced: Notify,
}

/// Settings that handshakes can be made with.
#[derive(Debug)]
pub struct Ready {
    terms: Terms,
    config: Arc<ServerConfig>,
    /// For connections without ALPN, if others must show a certificate.
    without_alpn: Option<Arc<ServerConfig>>,
}

impl Ready {
    fn new(terms: Terms, crypto: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let config = settings::server_config(&terms, crypto.clone())?;
        let asks = terms.clients.as_ref().is_some_and(|all| !all.optional());
        let without_alpn = (asks && !terms.allow_missing_alpn).then(|| {
            let terms = Terms {
                clients: None,
                // What was agreed on without a certificate must not be gone on with.
                sessions: 0,
                ..terms.clone()
            };
            settings::server_config(&terms, crypto.clone())
        });
        Ok(Self {
            terms,
            config,
            without_alpn: without_alpn.transpose()?,
        })
    }
}

impl CurrentTls {
    /// Starts with these terms.
    pub fn new(terms: Terms, crypto: Arc<CryptoProvider>) -> Result<Arc<Self>, TlsError> {
        let ready = Ready::new(terms, &crypto)?;
        Ok(Arc::new(Self {
            state: ArcSwap::from_pointee(ready),
            crypto,
            replaced: Notify::new(),
        }))
    }

    /// Makes settings ready. `None` if these terms are in use.
    pub fn prepare(&self, terms: Terms) -> Result<Option<Ready>, TlsError> {
        if terms == self.state.load().terms {
            return Ok(None);
        }
        Ready::new(terms, &self.crypto).map(Some)
    }

    /// New handshakes use these settings, and no session from before is resumed. Connections go on.
    pub fn replace(&self, ready: Ready) {
        self.state.store(Arc::new(ready));
        self.replaced.notify_one();
    }

    /// Waits until they are replaced. For one task at a time.
    pub async fn replaced(&self) {
        self.replaced.notified().await;
    }

    /// The certificate in use, with its key.
    pub fn key(&self) -> Arc<CertifiedKey> {
        self.state.load().terms.key.clone()
    }

    /// The provider of all of it.
    pub fn crypto(&self) -> &Arc<CryptoProvider> {
        &self.crypto
    }

    /// When the certificate in use expires.
    pub fn expires_at(&self) -> Option<SystemTime> {
        expires_at(&self.key())
    }

    /// Describes the certificate in use. `None` if it cannot be read.
    pub(crate) fn described(&self) -> Option<Described> {
        Described::of(self.key().cert.first()?)
    }

    /// Makes a handshake. Not cancellation safe: drop the connection instead.
    ///
    /// A connection without ALPN is not asked for a certificate, unless such connections may stay: stock clients look at the
    /// router's that way, before they connect.
    pub async fn accept<T: Gather>(&self, io: T) -> io::Result<Accepted<T>> {
        let ready = self.state.load_full();
        let stream = match &ready.without_alpn {
            None => TlsStream::accept(io, ready.config.clone()).await?,
            Some(without_alpn) => {
                let choose = |alpn| if alpn { &ready.config } else { without_alpn };
                TlsStream::accept_by_alpn(io, |alpn| choose(alpn).clone()).await?
            }
        };
        // Of the same settings: whoever was not asked for a certificate must not stay after they have changed.
        let may_stay = stream.alpn_protocol().is_some() || ready.terms.allow_missing_alpn;
        Ok(Accepted { stream, may_stay })
    }
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Accepted<T> {
    /// The connection.
    pub stream: TlsStream<T>,
    /// Whether it may be used: it has agreed on HTTP/2, or does not need to.
    pub may_stay: bool,
}

/// The end of the certificate's validity; that of the first in the chain, as old roots at its end do no harm. `None` if
/// it cannot be read.
fn expires_at(key: &CertifiedKey) -> Option<SystemTime> {
    let (_, certificate) = x509_parser::parse_x509_certificate(key.cert.first()?).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    let seconds = u64::try_from(seconds).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rustls::{
        ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig,
        ServerConnection, SupportedProtocolVersion,
        version::{TLS12, TLS13},
    };

    use super::*;
    use crate::{tls::provider::Provider, transport::tls::settings};

    fn key() -> CertifiedKey {
        settings::self_signed("localhost", SystemTime::now(), &Provider::Auto.crypto()).unwrap()
    }

    /// A client that trusts both certificates, as it may after a renewal by one authority.
    fn client(
        version: &'static SupportedProtocolVersion,
        trusted: &[&CertifiedKey],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for key in trusted {
            roots.add(key.cert[0].clone()).unwrap();
        }
        let config = ClientConfig::builder_with_provider(Provider::Auto.crypto())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// A whole handshake in memory, and the certificate that the client believes it speaks to.
    fn shake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> (HandshakeKind, Vec<u8>) {
        let name = "localhost".try_into().unwrap();
        let mut client = ClientConnection::new(client.clone(), name).unwrap();
        let mut server = ServerConnection::new(server.clone()).unwrap();
        let mut bytes = Vec::new();
        while client.wants_write() || server.wants_write() {
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            server.read_tls(&mut &bytes[..]).unwrap();
            server.process_new_packets().unwrap();
            bytes.clear();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            client.read_tls(&mut &bytes[..]).unwrap();
            client.process_new_packets().unwrap();
            bytes.clear();
        }
        let certificate = client.peer_certificates().unwrap()[0].to_vec();
        (client.handshake_kind().unwrap(), certificate)
    }

    fn terms(key: &Arc<CertifiedKey>, sessions: usize) -> Terms {
        Terms {
            key: key.clone(),
            clients: None,
            sessions,
            allow_missing_alpn: false,
        }
    }

    /// A handshake as [`CurrentTls::accept`] would make it now.
    fn shake_now(client: &Arc<ClientConfig>, current: &CurrentTls) -> (HandshakeKind, Vec<u8>) {
        shake(client, &current.state.load().config)
    }

    /// Whether something was new about these terms.
    fn change(current: &CurrentTls, terms: Terms) -> bool {
        let ready = current.prepare(terms).unwrap();
        let new = ready.is_some();
        if let Some(ready) = ready {
            current.replace(ready);
        }
        new
    }

    #[test]
    fn sessions_end_with_their_certificate() {
        for version in [&TLS13, &TLS12] {
            let (old, new) = (Arc::new(key()), Arc::new(key()));
            let client = client(version, &[&old, &new]);
            let [old_der, new_der] = [&old, &new].map(|key| key.cert[0].to_vec());
            let again = Arc::new(CertifiedKey::new(old.cert.clone(), old.key.clone()));
            let current = CurrentTls::new(terms(&old, 100), Provider::Auto.crypto()).unwrap();

            let (full, shown) = shake_now(&client, &current);
            assert_ne!(full, HandshakeKind::Resumed);
            assert_eq!(shown, old_der);
            assert_eq!(shake_now(&client, &current).0, HandshakeKind::Resumed);
            assert!(!change(&current, terms(&again, 100)), "nothing has changed");
            assert_eq!(shake_now(&client, &current).0, HandshakeKind::Resumed);
            assert!(change(&current, terms(&new, 100)));
            let (full, shown) = shake_now(&client, &current);
            assert_ne!(full, HandshakeKind::Resumed, "{version:?}");
            assert_eq!(shown, new_der);
            assert_eq!(shake_now(&client, &current).0, HandshakeKind::Resumed);
        }
    }

    #[test]
    fn the_cache_can_be_turned_off_and_on() {
        let key = Arc::new(key());
        let client = client(&TLS13, &[&key]);
        let current = CurrentTls::new(terms(&key, 0), Provider::Auto.crypto()).unwrap();
        for _ in 0..2 {
            assert_ne!(shake_now(&client, &current).0, HandshakeKind::Resumed);
        }
        assert!(change(&current, terms(&key, 10)));
        assert_ne!(shake_now(&client, &current).0, HandshakeKind::Resumed);
        assert_eq!(shake_now(&client, &current).0, HandshakeKind::Resumed);
        assert!(change(&current, terms(&key, 0)));
        assert_ne!(shake_now(&client, &current).0, HandshakeKind::Resumed);
    }

    #[test]
    fn the_end_of_validity_is_read() {
        let now = SystemTime::now();
        let key = Arc::new(key());
        let current = CurrentTls::new(terms(&key, 0), Provider::Auto.crypto()).unwrap();
        let left = current.expires_at().unwrap().duration_since(now).unwrap();
        let days = left.as_secs_f64() / 86_400.0;
        assert!((364.9..365.1).contains(&days), "{days}");
    }
}
