//! What both baselines share: where they listen, and TLS as everyone uses it.

use std::{net::SocketAddr, path::PathBuf, time::SystemTime};

use anyhow::Context as _;
use clap::Args;
use jumpstarter_router::inside::{
    tls::provider::Provider,
    transport::tls::settings::{self, Terms},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

#[derive(Args)]
pub struct Serving {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// PEM file with the certificate chain; without it, a self-signed one is made.
    #[arg(long, requires = "key")]
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key.
    #[arg(long, requires = "certificate")]
    pub key: Option<PathBuf>,
}

impl Serving {
    /// Listens, and says where on standard output.
    pub async fn listen(&self) -> anyhow::Result<TcpListener> {
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("cannot listen on {}", self.listen))?;
        println!("listening on {}", listener.local_addr()?);
        Ok(listener)
    }

    /// The real router's settings in tokio-rustls.
    pub fn acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        let crypto = Provider::Auto.crypto();
        let certified = match self.certificate.as_ref().zip(self.key.as_ref()) {
            Some((certificate, key)) => {
                let text = (std::fs::read(certificate)?, std::fs::read(key)?);
                settings::certified((certificate, &text.0), (key, &text.1), &crypto)?
            }
            None => {
                settings::self_signed(&self.listen.ip().to_string(), SystemTime::now(), &crypto)?
            }
        };
        let terms = Terms {
            key: certified.into(),
            clients: None,
            sessions: 10_000,
            allow_missing_alpn: false,
        };
        Ok(settings::server_config(&terms, crypto)?.into())
    }
}

/// The next connection, without delay of small writes.
pub async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((socket, _)) if socket.set_nodelay(true).is_ok() => return socket,
            Ok(_) => {}
            Err(error) => {
                eprintln!("cannot accept: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}
