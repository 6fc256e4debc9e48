//! Tells in the log what was reached: at `debug`, for whoever wants to see what the tools do.

use rustls::ClientConnection;
use tokio::net::TcpStream;
use tokio_util::either::Either;

use super::Io;

/// Tells of a connection: the address that took it, and what TLS has agreed on.
pub(super) fn connected(endpoint: &str, io: &Io) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    match io {
        Either::Left(stream) => {
            let (socket, tls) = stream.get_ref();
            tcp(endpoint, socket);
            secured(tls);
        }
        Either::Right(socket) => {
            tcp(endpoint, socket);
            tracing::debug!(endpoint, "no TLS");
        }
    }
}

fn tcp(endpoint: &str, socket: &TcpStream) {
    let address = |address: std::io::Result<std::net::SocketAddr>| {
        address.map_or_else(|error| error.to_string(), |address| address.to_string())
    };
    tracing::debug!(
        endpoint,
        address = address(socket.peer_addr()),
        from = address(socket.local_addr()),
        "TCP connected"
    );
}

fn secured(tls: &ClientConnection) {
    let chain = tls.peer_certificates().unwrap_or_default();
    tracing::debug!(
        version = tls.protocol_version().map(tracing::field::debug),
        cipher = tls
            .negotiated_cipher_suite()
            .map(|suite| tracing::field::debug(suite.suite())),
        key_exchange = tls
            .negotiated_key_exchange_group()
            .map(|group| tracing::field::debug(group.name())),
        resumed = tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        certificates = chain.len(),
        "TLS agreed"
    );
    #[cfg(feature = "server")]
    chain.iter().for_each(certificate);
}

#[cfg(feature = "server")]
fn certificate(certificate: &rustls_pki_types::CertificateDer<'_>) {
    let Some(read) = crate::tls::described::Described::of(certificate) else {
        tracing::debug!("a certificate that cannot be read");
        return;
    };
    tracing::debug!(
        subject = read.subject,
        issuer = read.issuer,
        names = crate::common::text::joined(&read.names, ", "),
        from = date(read.not_before),
        until = date(read.not_after),
        "certificate"
    );
}

#[cfg(feature = "server")]
fn date(seconds: i64) -> String {
    let after = std::time::Duration::from_secs(seconds.max(0).cast_unsigned());
    let at = std::time::UNIX_EPOCH.checked_add(after);
    at.map_or_else(String::new, |at| {
        humantime::format_rfc3339_seconds(at).to_string()
    })
}
