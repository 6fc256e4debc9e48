//! The certificate in use, which can be replaced while the router runs.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rustls::{
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache,
        StoresServerSessions,
    },
    sign::CertifiedKey,
};
use rustls_pki_types::CertificateDer;
use tokio::sync::Notify;

/// What handshakes take from here: the certificate with its key, and the sessions that peers can resume.
///
/// A resumed session shows no certificate. So the sessions go with the certificate they were made under: after a
/// change every peer sees the new one, and whoever replaces a key that leaked is rid of what it vouched for.
#[derive(Debug)]
pub struct CurrentCertificate {
    state: ArcSwap<State>,
    sessions: usize,
    replaced: Notify,
}

#[derive(Debug)]
struct State {
    key: Arc<CertifiedKey>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl State {
    fn new(key: CertifiedKey, sessions: usize) -> Self {
        let key = Arc::new(key);
        let sessions: Arc<dyn StoresServerSessions> = match sessions {
            0 => Arc::new(NoServerSessionStorage {}),
            count => ServerSessionMemoryCache::new(count),
        };
        Self { key, sessions }
    }
}

impl CurrentCertificate {
    /// Starts with `key`. `sessions`: how many are remembered at most; 0 turns resumption off.
    pub fn new(key: CertifiedKey, sessions: usize) -> Arc<Self> {
        Arc::new(Self {
            state: ArcSwap::from_pointee(State::new(key, sessions)),
            sessions,
            replaced: Notify::new(),
        })
    }

    /// New handshakes use `key`, and no session from before is resumed. Connections go on. If the certificate is the
    /// one in use, nothing happens.
    pub fn replace(&self, key: CertifiedKey) {
        if key.cert == self.state.load().key.cert {
            return;
        }
        self.state.store(Arc::new(State::new(key, self.sessions)));
        self.replaced.notify_one();
    }

    /// Waits until the certificate is replaced. For one task at a time.
    pub async fn replaced(&self) {
        self.replaced.notified().await;
    }

    /// How many sessions can be remembered.
    pub(super) fn sessions(&self) -> usize {
        self.sessions
    }

    /// The certificate in use, without those that vouch for it.
    pub fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.state.load().key.cert.first().cloned()
    }

    /// When the certificate in use expires.
    pub fn expires_at(&self) -> Option<SystemTime> {
        expires_at(&self.state.load().key)
    }
}

/// The end of the certificate's validity; that of the first in the chain, as old roots at its end do no harm. `None` if
/// it cannot be read.
fn expires_at(key: &CertifiedKey) -> Option<SystemTime> {
    let (_, certificate) = x509_parser::parse_x509_certificate(key.cert.first()?).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    let seconds = u64::try_from(seconds).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.state.load().key.clone())
    }
}

impl StoresServerSessions for CurrentCertificate {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.state.load().sessions.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.state.load().sessions.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.state.load().sessions.take(key)
    }

    fn can_cache(&self) -> bool {
        self.state.load().sessions.can_cache()
    }
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
    use crate::transport::tls::{self, Provider};

    fn key() -> CertifiedKey {
        tls::self_signed("localhost", SystemTime::now(), &Provider::Auto.crypto()).unwrap()
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

    #[test]
    fn sessions_end_with_their_certificate() {
        for version in [&TLS13, &TLS12] {
            let (old, new) = (key(), key());
            let client = client(version, &[&old, &new]);
            let [old_der, new_der] = [&old, &new].map(|key| key.cert[0].to_vec());
            let again = CertifiedKey::new(old.cert.clone(), old.key.clone());
            let current = CurrentCertificate::new(old, 100);
            let server = tls::server_config(current.clone(), Provider::Auto.crypto()).unwrap();

            let (full, shown) = shake(&client, &server);
            assert_ne!(full, HandshakeKind::Resumed);
            assert_eq!(shown, old_der);
            assert_eq!(shake(&client, &server).0, HandshakeKind::Resumed);
            current.replace(again);
            assert_eq!(
                shake(&client, &server).0,
                HandshakeKind::Resumed,
                "nothing has changed"
            );
            current.replace(new);
            let (full, shown) = shake(&client, &server);
            assert_ne!(full, HandshakeKind::Resumed, "{version:?}");
            assert_eq!(shown, new_der);
            assert_eq!(shake(&client, &server).0, HandshakeKind::Resumed);
        }
    }

    #[test]
    fn without_a_cache_nothing_is_resumed() {
        let key = key();
        let client = client(&TLS13, &[&key]);
        let current = CurrentCertificate::new(key, 0);
        let server = tls::server_config(current, Provider::Auto.crypto()).unwrap();
        for _ in 0..2 {
            assert_ne!(shake(&client, &server).0, HandshakeKind::Resumed);
        }
    }

    #[test]
    fn the_end_of_validity_is_read() {
        let now = SystemTime::now();
        let current = CurrentCertificate::new(key(), 0);
        let left = current.expires_at().unwrap().duration_since(now).unwrap();
        let days = left.as_secs_f64() / 86_400.0;
        assert!((364.9..365.1).contains(&days), "{days}");
    }
}
