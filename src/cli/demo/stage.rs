//! The router of the demo, with a key and a certificate of its own.

use std::{
    fs, io,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, anyhow, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use uuid::Uuid;

use crate::{
    auth::{Claims, mint},
    client::{Connector, Trust},
    config::{Config, Secret},
    server::Server,
    transport::tls::{Provider, self_signed_pair},
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
        let (certificate, private) = self_signed_pair(&listen.ip().to_string(), SystemTime::now())?;
        let mut config = Config::default();
        config.listen.address = listen;
        config.listen.health_address = Some((Ipv4Addr::LOCALHOST, 0).into());
        config.listen.admin_address = None;
        config.auth.key = Some(Secret::new(key));
        config.pairing.timeout = PAIRING_TIMEOUT;

        // The router reads them once, at its start.
        let folder = Folder::new().context("cannot write the certificate to a temporary folder")?;
        config.tls.certificate = Some(folder.pem("CERTIFICATE", &certificate)?);
        config.tls.key = Some(folder.pem("PRIVATE KEY", private.secret_der())?);
        let server = Server::start(&config).await?;
        drop(folder);

        let health = server
            .health_address
            .ok_or_else(|| anyhow!("the router serves no health"))?;
        let stage = Self {
            server,
            health,
            certificate,
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
        self.trusting(self_signed_pair(&name, SystemTime::now())?.0)
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

/// A folder that only this user can read, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("jumpstarter-router-demo-{}", Uuid::new_v4()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn pem(&self, label: &str, der: &[u8]) -> Result<PathBuf> {
        let path = self.0.join(format!("{label}.pem"));
        write_pem(&path, label, der).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write_pem(path: &Path, label: &str, der: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "-----BEGIN {label}-----")?;
    // 48 bytes are a line of 64 characters (RFC 7468 section 2).
    for line in der.chunks(48) {
        writeln!(file, "{}", STANDARD.encode(line))?;
    }
    writeln!(file, "-----END {label}-----")
}
