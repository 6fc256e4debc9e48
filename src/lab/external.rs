//! Another router than the lab's own: it is tried first, as clients of the lab would use it.

use std::{path::Path, time::Duration};

use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{folder::Folder, routers::Routing};
use crate::{
    client::{
        ConnectError, Connector, RouterStream, StreamError, Token, Trust, connect::HandshakeError,
    },
    common::text::{chain, joined, printable},
    tls::described::Described,
};

/// How long a router that does not answer is waited for, as it may be starting.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it is tried meanwhile.
const PAUSE: Duration = Duration::from_millis(250);

/// How long it may take to pair two streams.
const PAIRING: Duration = Duration::from_secs(10);

/// Why a router is of no use to the lab.
#[derive(Debug, Error)]
pub enum ExternalError {
    /// The file with more certificates cannot be used.
    #[error("--router-ca {0}")]
    Certificates(String),
    /// It is not there.
    #[error("--router {router}: {why}")]
    Unreachable {
        /// host:port.
        router: String,
        /// What was wrong.
        why: String,
    },
    /// Clients of the lab would not trust it.
    #[error(
        "--router {router}: clients of this lab would not trust it. It shows {shown}: {why}. They are given {given}. \
         Name the certificate that signed it with --router-ca FILE, or put the router's own certificate and key into the \
         lab's directory, as tls.crt and tls.key"
    )]
    Untrusted {
        /// host:port.
        router: String,
        /// Its certificate.
        shown: String,
        /// What is wrong with that.
        why: String,
        /// What clients have.
        given: String,
    },
    /// It does not take the lab's tokens.
    #[error("--router {router}: it does not pair streams with the key in ROUTER_KEY: {why}")]
    Refused {
        /// host:port.
        router: String,
        /// What it said.
        why: String,
    },
}

/// Reads certificates, and gives the file's text.
pub(super) fn certificates(path: &Path) -> Result<String, ExternalError> {
    let wrong = |why: String| ExternalError::Certificates(why);
    Trust::from_pem_file(path).map_err(|error| wrong(chain(&error)))?;
    std::fs::read_to_string(path).map_err(|error| wrong(format!("{}: {error}", path.display())))
}

/// Connects as clients that trust these certificates do, and pairs two streams.
pub(super) async fn try_router(
    routing: &Routing,
    trusted: &str,
    folder: &Folder,
) -> Result<(), ExternalError> {
    let router = routing.first();
    let unreachable = |error: &ConnectError| ExternalError::Unreachable {
        router: router.to_owned(),
        why: chain(error),
    };
    let trust = Trust::from_pem(trusted).map_err(|error| {
        let path = folder.path().join("tls.crt");
        ExternalError::Certificates(format!("{}: {error}", path.display()))
    })?;
    let connector = Connector::new(router, trust).map_err(|error| unreachable(&error))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Err(error) = connector.io().await else {
            break;
        };
        if let Some((shown, why)) = mistrust(&error) {
            return Err(ExternalError::Untrusted {
                router: router.to_owned(),
                shown,
                why,
                given: given(folder),
            });
        }
        if error.is_lasting() || Instant::now() >= deadline {
            return Err(unreachable(&error));
        }
        sleep(PAUSE).await;
    }
    let paired = timeout(PAIRING, pair(&connector, routing.key()));
    let why = match paired.await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(why)) => why,
        Err(_) => format!(
            "nothing came through within {}",
            humantime::format_duration(PAIRING)
        ),
    };
    Err(ExternalError::Refused {
        router: router.to_owned(),
        why,
    })
}

async fn pair(connector: &Connector, key: &[u8]) -> Result<(), String> {
    let token = Token::mint(key, format!("lab-{}", Uuid::new_v4()));
    let open = || RouterStream::connect(connector, token.clone());
    let opened = async { tokio::try_join!(open(), open()) };
    let (mut here, mut there) = opened.await.map_err(|error| chain(&error))?;
    let exchanged = async {
        here.write_message(b"lab").await?;
        there.read_message().await
    };
    let exchanged: Result<_, StreamError> = exchanged.await;
    exchanged.map(drop).map_err(|error| chain(&error))
}

/// Says what was shown and what clients would find wrong with it, if it is the certificate.
fn mistrust(error: &ConnectError) -> Option<(String, String)> {
    let ConnectError::Handshake { error, .. } = error else {
        return None;
    };
    let HandshakeError::Tls {
        what,
        error: rustls::Error::InvalidCertificate(_),
        shown,
        ..
    } = &**error
    else {
        return None;
    };
    let described = shown.as_ref().and_then(Described::of);
    let described = described.map_or_else(
        || "a certificate".to_owned(),
        |shown| {
            format!(
                "the certificate {} for {}, signed by {}",
                shown.subject,
                joined(shown.names, ", "),
                shown.issuer
            )
        },
    );
    Some((printable(&described), what.clone()))
}

fn given(folder: &Folder) -> String {
    let path = folder.path().join("tls.crt");
    if path.exists() {
        path.display().to_string()
    } else {
        "a certificate that the lab makes for itself".to_owned()
    }
}
