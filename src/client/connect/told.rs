//! Tells in the log what was reached: at `debug`, for whoever wants to see what the tools do.

use rustls::ClientConnection;
use tokio::net::TcpStream;
use tokio_util::either::Either;

#[cfg(feature = "server")]
use {crate::common::text::joined, std::net::IpAddr, x509_parser::extensions::GeneralName};

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
fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => {
            match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
                (Ok(v4), _) => IpAddr::from(v4).to_string(),
                (_, Ok(v6)) => IpAddr::from(v6).to_string(),
                _ => name.to_string(),
            }
        }
        _ => name.to_string(),
    }
}

#[cfg(feature = "server")]
fn certificate(certificate: &rustls_pki_types::CertificateDer<'_>) {
    let Ok((_, read)) = x509_parser::parse_x509_certificate(certificate) else {
        tracing::debug!("a certificate that cannot be read");
        return;
    };
    let names = read.subject_alternative_name().ok().flatten();
    let names = names.map(|names| joined(names.value.general_names.iter().map(name), ", "));
    tracing::debug!(
        subject = %read.subject(),
        issuer = %read.issuer(),
        names,
        from = %read.validity().not_before,
        until = %read.validity().not_after,
        "certificate"
    );
}
