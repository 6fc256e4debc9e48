//! What comes before HTTP/2: the first bytes, and TLS.

use std::io;

use tokio::{net::TcpStream, time::timeout};

use crate::{
    observe::metrics::{ConnectionEnd, TlsHandshake},
    transport::{
        addresses::Origin,
        current_tls::CurrentTls,
        router::Router,
        tls::{self, FirstBytes},
        tls_stream::TlsStream,
        wire::Wire,
    },
};

/// Waits for the first byte, which mostly tells the protocol, and takes none.
///
/// It looks once: where the first byte leaves a doubt, the protocol that it may be finds out.
async fn first_bytes(socket: &TcpStream) -> io::Result<FirstBytes> {
    let mut bytes = [0; 4];
    match socket.peek(&mut bytes).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(FirstBytes::of(&bytes[..count])),
    }
}

fn refuse_protocol(router: &Router, peer: &Origin, found: FirstBytes, expected: &str) {
    let found = match found {
        FirstBytes::Tls => "TLS",
        FirstBytes::Http2 => "plaintext HTTP/2",
        FirstBytes::Http1 => "plaintext HTTP/1",
        FirstBytes::Unknown => "an unknown protocol",
    };
    if let Some(left_out) = router.may_log_refusal() {
        tracing::info!(%peer, found, expected, left_out = (left_out > 0).then_some(left_out), "connection closed: wrong protocol");
    }
}

/// Waits for the beginning of HTTP/2 in plain text.
pub async fn plaintext(
    router: &Router,
    peer: &Origin,
    socket: &TcpStream,
) -> Result<(), ConnectionEnd> {
    let long = router.settings.load().connections.preface_timeout;
    match timeout(long, first_bytes(socket)).await {
        Ok(Ok(FirstBytes::Http2)) => Ok(()),
        Ok(Ok(found)) => {
            refuse_protocol(
                router,
                peer,
                found,
                "plaintext HTTP/2 (tls.plaintext is set)",
            );
            Err(ConnectionEnd::NotHttp2)
        }
        Ok(Err(_)) => Err(ConnectionEnd::PeerClosed),
        Err(_) => Err(ConnectionEnd::PrefaceTimeout),
    }
}

/// A connection after its handshake, and the subject of the certificate that the peer has shown.
pub type Met = (Wire<TlsStream<TcpStream>>, Option<String>);

/// Makes the TLS handshake, in time.
pub async fn handshake(
    router: &Router,
    peer: &Origin,
    tls: &CurrentTls,
    socket: TcpStream,
) -> Result<Met, ConnectionEnd> {
    let long = router.settings.load().connections.tls_handshake_timeout;
    match timeout(long, shake_hands(router, peer, tls, socket)).await {
        Ok(result) => result,
        Err(_) => {
            router.metrics.tls_handshakes.inc(TlsHandshake::Timeout);
            tracing::debug!(%peer, "TLS handshake not finished within {long:?}");
            Err(ConnectionEnd::TlsTimeout)
        }
    }
}

async fn shake_hands(
    router: &Router,
    peer: &Origin,
    tls: &CurrentTls,
    socket: TcpStream,
) -> Result<Met, ConnectionEnd> {
    let handshakes = &router.metrics.tls_handshakes;
    match first_bytes(&socket).await {
        Ok(FirstBytes::Tls) => {}
        Ok(found) => {
            handshakes.inc(TlsHandshake::Plaintext);
            refuse_protocol(router, peer, found, "TLS");
            return Err(ConnectionEnd::NotHttp2);
        }
        // Port scanners and load balancers' probes: connected and closed.
        Err(_) => return Err(ConnectionEnd::PeerClosed),
    }
    let mut stream = match tls.accept(socket).await {
        Ok(stream) => stream,
        Err(error) => {
            let result = failure(&error);
            handshakes.inc(result);
            if let Some(left_out) = router.may_log_refusal() {
                tracing::info!(%peer, cause = result.as_str(), %error, left_out = (left_out > 0).then_some(left_out), "TLS handshake failed");
            }
            return Err(ConnectionEnd::NotHttp2);
        }
    };
    if stream.alpn_protocol().is_none() {
        // Stock clients with `insecure` look at the certificate this way before each connection.
        handshakes.inc(TlsHandshake::NoAlpn);
        tracing::debug!(%peer, "TLS without ALPN: closed after the handshake");
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
        return Err(ConnectionEnd::NotHttp2);
    }
    handshakes.inc(TlsHandshake::Ok);
    let certificate = stream.peer_certificate().and_then(tls::subject);
    Ok((Wire::new(stream), certificate))
}

/// What a failed handshake counts as.
fn failure(error: &io::Error) -> TlsHandshake {
    let error = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    match error {
        Some(rustls::Error::NoCertificatesPresented) => TlsHandshake::NoCertificate,
        // The peer's, as the router shows its own to the peer.
        Some(rustls::Error::InvalidCertificate(_)) => TlsHandshake::BadCertificate,
        _ => TlsHandshake::Failed,
    }
}
