//! What answers in the place of a router.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use jumpstarter_router::inside::tls::provider::Provider;
use rustls::{
    ServerConfig, ServerConnection, Stream,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::LONG;

/// Listens, and does the same with every connection, each in a thread of its own. They end with the test's process.
pub fn stranger(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            let serve = serve.clone();
            socket.set_read_timeout(Some(LONG)).unwrap();
            thread::spawn(move || serve(socket));
        }
    });
    address
}

/// Takes connections and says nothing.
pub fn silent() -> SocketAddr {
    stranger(|mut socket| while socket.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {})
}

/// Reads what comes first, answers with `text` and closes.
pub fn answering(text: &'static [u8]) -> SocketAddr {
    stranger(move |mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(text);
        thread::sleep(Duration::from_millis(50));
    })
}

/// Speaks TLS with the certificate of these files, offers these protocols by ALPN, and waits.
pub fn tls([certificate, key]: [&std::path::Path; 2], alpn: &[&str]) -> SocketAddr {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let mut config = ServerConfig::builder_with_provider(Provider::Auto.crypto())
        .with_protocol_versions(&[&TLS12, &TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let config = Arc::new(config);
    stranger(move |mut socket| {
        let mut session = ServerConnection::new(config.clone()).unwrap();
        let mut stream = Stream::new(&mut session, &mut socket);
        while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
    })
}
