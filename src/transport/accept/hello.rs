//! What comes before HTTP/2: the first bytes, and TLS.

use std::{io, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    observe::metrics::{ConnectionEnd, Label as _, TlsHandshake},
    transport::{
        http2::wire::Wire,
        limits::addresses::Origin,
        shared::Shared,
        tls::{
            current::{Accepted, CurrentTls},
            settings::{self, FirstBytes},
            stream::TlsStream,
        },
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

/// Says once in a while for each address what was found instead of the protocol that is spoken here.
fn refuse_protocol(peer: &Origin, found: &str, expected: &str) {
    if peer.address.may_be_named(Instant::now()) {
        tracing::info!(%peer, found, expected, "connection closed: wrong protocol");
    } else {
        tracing::debug!(%peer, found, expected, "connection closed: wrong protocol");
    }
}

/// Waits for the beginning of HTTP/2 in plain text.
pub(super) async fn plaintext(
    router: &Shared,
    peer: &Origin,
    socket: &TcpStream,
) -> Result<(), ConnectionEnd> {
    let long = router.settings.load().connections.preface_timeout;
    let found = match timeout(long, first_bytes(socket)).await {
        Ok(Ok(FirstBytes::Http2)) => return Ok(()),
        Ok(Ok(found)) => found,
        Ok(Err(_)) => return Err(ConnectionEnd::PeerClosed),
        Err(_) => return Err(ConnectionEnd::PrefaceTimeout),
    };
    let expected = "plaintext HTTP/2 (tls.plaintext is set)";
    refuse_protocol(peer, found.as_str(), expected);
    Err(ConnectionEnd::NotHttp2)
}

/// A connection after its handshake, and the subject of the certificate that the peer has shown.
pub(super) type Met = (Wire<TlsStream<TcpStream>>, Option<String>);

/// Makes the TLS handshake, in time.
pub(super) async fn handshake(
    router: &Shared,
    peer: &Origin,
    tls: &CurrentTls,
    socket: TcpStream,
) -> Result<Met, ConnectionEnd> {
    let handshakes = &router.metrics.tls_handshakes;
    let long = router.settings.load().connections.tls_handshake_timeout;
    let Ok(accepted) = timeout(long, shake_hands(router, peer, tls, socket)).await else {
        handshakes.inc(TlsHandshake::Timeout);
        tracing::debug!(%peer, "TLS handshake not finished within {long:?}");
        return Err(ConnectionEnd::TlsTimeout);
    };
    let Accepted {
        mut stream,
        may_stay,
    } = accepted?;
    if stream.alpn_protocol().is_some() {
        handshakes.inc(TlsHandshake::Ok);
    } else {
        handshakes.inc(TlsHandshake::NoAlpn);
        Box::pin(without_alpn(router, peer, &mut stream, may_stay)).await?;
    }
    let certificate = stream.peer_certificate().and_then(settings::subject);
    Ok((Wire::new(stream), certificate))
}

async fn shake_hands(
    router: &Shared,
    peer: &Origin,
    tls: &CurrentTls,
    socket: TcpStream,
) -> Result<Accepted<TcpStream>, ConnectionEnd> {
    let handshakes = &router.metrics.tls_handshakes;
    match first_bytes(&socket).await {
        Ok(FirstBytes::Tls) => {}
        Ok(found) => {
            handshakes.inc(TlsHandshake::Plaintext);
            refuse_protocol(peer, found.as_str(), "TLS");
            return Err(ConnectionEnd::NotHttp2);
        }
        // Port scanners and load balancers' probes: connected and closed.
        Err(_) => return Err(ConnectionEnd::PeerClosed),
    }
    tls.accept(socket).await.map_err(|error| {
        let result = failure(&error);
        handshakes.inc(result);
        tracing::info!(%peer, cause = result.as_str(), %error, "TLS handshake failed");
        ConnectionEnd::NotHttp2
    })
}

/// How long a peer without ALPN that may not stay has to show what it is.
const SHOW: Duration = Duration::from_secs(1);

/// Lets a peer stay that has offered no ALPN, if it may and begins HTTP/2.
///
/// Stock clients with `tls.insecure` look at the certificate this way before each connection, and go without a word. A
/// proxy that encrypts again speaks, and only whoever set it up can help it.
async fn without_alpn(
    router: &Shared,
    peer: &Origin,
    stream: &mut TlsStream<TcpStream>,
    may_stay: bool,
) -> Result<(), ConnectionEnd> {
    let long = if may_stay {
        router.settings.load().connections.preface_timeout
    } else {
        SHOW
    };
    let first = timeout(long, stream.first_bytes()).await;
    let found = match first {
        Ok(Ok([]) | Err(_)) => None,
        Ok(Ok(bytes)) => Some(FirstBytes::of(bytes)),
        Err(_) if may_stay => return Err(ConnectionEnd::PrefaceTimeout),
        Err(_) => None,
    };
    match found {
        Some(FirstBytes::Http2) if may_stay => return Ok(()),
        Some(FirstBytes::Http2) => {
            let expected =
                "TLS with ALPN \"h2\": have the proxy offer it, or set tls.allow_missing_alpn";
            refuse_protocol(peer, "HTTP/2 in TLS without ALPN", expected);
        }
        Some(_) => refuse_protocol(peer, "another protocol in TLS", "HTTP/2"),
        None => tracing::debug!(%peer, "TLS without ALPN: closed after the handshake"),
    }
    let _ = timeout(SHOW, stream.shutdown()).await;
    Err(ConnectionEnd::NotHttp2)
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
