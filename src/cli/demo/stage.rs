//! The router of the demo, with a key and a certificate of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use anyhow::{Result, anyhow, ensure};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    auth::{Claims, mint},
    client::{Connector, Trust},
    config::{Config, PemFile, Secret},
    server::Server,
    transport::tls::settings::{Provider, self_made},
};

/// How long a stream waits for its partner: short, as the demo waits for it.
pub const PAIRING_TIMEOUT: Duration = Duration::from_secs(1);

/// A running router, and what its peers know of it.
pub struct Stage {
    /// The router.
    pub server: Server,
    health: SocketAddr,
    certificate: CertificateDer<'static>,
    key: [u8; 32],
}

impl Stage {
    /// Starts the router on `listen`.
    pub async fn set(listen: SocketAddr) -> Result<Self> {
        let key = random()?;
        let names = vec![listen.ip().to_string()];
        let made = self_made("demo", names, SystemTime::now())?;
        let mut config = Config::default();
        config.listen.address = listen;
        config.listen.health_address = Some((Ipv4Addr::LOCALHOST, 0).into());
        config.listen.admin_address = None;
        config.auth.key = Some(Secret::new(key));
        config.pairing.timeout = PAIRING_TIMEOUT;

        config.tls.certificate = Some(pem("CERTIFICATE", made.cert.pem()));
        config.tls.key = Some(pem("PRIVATE KEY", made.signing_key.serialize_pem()));
        let server = Server::start(&config).await?;

        let health = server
            .health_address
            .ok_or_else(|| anyhow!("the router serves no health"))?;
        let stage = Self {
            server,
            health,
            certificate: made.cert.into(),
            key,
        };
        let status = readiness(stage.health).await?;
        ensure!(status == 200, "/readyz says {status} after the start");
        Ok(stage)
    }

    /// Where gRPC is served.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Where health is served.
    pub fn health(&self) -> SocketAddr {
        self.health
    }

    /// For the report.
    pub fn health_report(&self) -> String {
        format!("health on {}: ready", self.health)
    }

    /// A token for both peers of the stream `subject`.
    pub fn token(&self, subject: &str) -> String {
        mint(&self.key, &Claims::new(subject, SystemTime::now()))
    }

    /// A token that was signed by somebody else.
    pub fn forged_token(&self) -> String {
        let mut key = self.key;
        key[0] ^= 1;
        mint(&key, &Claims::new("forged", SystemTime::now()))
    }

    /// For peers that trust this router's certificate and no other.
    pub fn connector(&self) -> Result<Connector> {
        self.trusting(self.certificate.clone())
    }

    /// For a peer that trusts a certificate with the same name and another key.
    pub fn stranger(&self) -> Result<Connector> {
        let name = self.address().ip().to_string();
        self.trusting(
            self_made("demo", vec![name], SystemTime::now())?
                .cert
                .into(),
        )
    }

    fn trusting(&self, certificate: CertificateDer<'static>) -> Result<Connector> {
        let trust = Trust::Certificates(vec![certificate]);
        Ok(Connector::new(&self.address().to_string(), trust)?)
    }
}

/// What `/readyz` answers.
pub async fn readiness(health: SocketAddr) -> Result<u16> {
    let mut socket = TcpStream::connect(health).await?;
    socket
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    status.ok_or_else(|| anyhow!("/readyz answers {answer:?}"))
}

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    Provider::Auto
        .crypto()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| anyhow!("the system gives no random bytes"))?;
    Ok(bytes)
}

/// A file in PEM that exists in memory only.
fn pem(label: &str, text: String) -> PemFile {
    PemFile {
        path: label.into(),
        text: Ok(Secret::new(text)),
    }
}
