//! A load balancer on this machine: passes connections on, from an address of its own, with or without a PROXY header.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

/// A connection to the router from one of this machine's addresses.
pub async fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let from: IpAddr = from.parse().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let socket = socket.connect(to).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// How the header is sent.
#[derive(Clone, Copy)]
pub enum Pieces {
    /// In one segment with the client's first bytes.
    Together,
    /// Each byte by itself.
    Bytes,
}

/// Runs until dropped.
pub struct Balancer {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Balancer {
    /// Connects from another address of this machine.
    pub async fn plain(from: &'static str, to: SocketAddr) -> Self {
        Self::start(from, to, Vec::new(), Pieces::Together).await
    }

    pub async fn start(
        from: &'static str,
        to: SocketAddr,
        header: Vec<u8>,
        pieces: Pieces,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, from, to, header.clone(), pieces));
            }
        });
        Self { address, task }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(
    mut client: TcpStream,
    from: &str,
    to: SocketAddr,
    header: Vec<u8>,
    pieces: Pieces,
) {
    client.set_nodelay(true).unwrap();
    let mut router = connect_from(from, to).await;
    let mut first = vec![0; 4096];
    let Ok(count) = client.read(&mut first).await else {
        return;
    };
    first.truncate(count);
    let sent = match pieces {
        Pieces::Together => router.write_all(&[header, first].concat()).await,
        Pieces::Bytes => {
            for byte in header {
                if router.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            router.write_all(&first).await
        }
    };
    if sent.is_ok() {
        // Either end may break off.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut router).await;
    }
}
