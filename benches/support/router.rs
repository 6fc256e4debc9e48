//! A router in this process and two peers that have met through it.

use std::{future::poll_fn, task::ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use jumpstarter_router::{
    client::{Connector, Trust},
    inside::{
        cli::load::dial::{Dialer, End},
        config::{Config, Secret},
        server::Server,
    },
};

use super::case::KEY;

/// The window of the peers: what limits is the router.
const WINDOW: u32 = 16 << 20;

/// Received bytes are given back as credit when they are so many.
const CREDIT: usize = 256 * 1024;

pub struct Peer {
    send: SendStream<Bytes>,
    receive: RecvStream,
    owed: usize,
}

/// A router on loopback and a pair.
pub struct Pair {
    pub a: Peer,
    pub b: Peer,
    _server: Server,
}

impl Pair {
    pub async fn meet(tls: bool) -> Self {
        let mut config = Config::default();
        config.auth.key = Some(Secret::new(KEY));
        config.listen.address = ([127, 0, 0, 1], 0).into();
        config.listen.health_address = None;
        config.listen.admin_address = None;
        config.tls.plaintext = !tls;
        let server = Server::start(&config).await.unwrap();
        let endpoint = server.address.to_string();
        let trust = if tls {
            Trust::Insecure
        } else {
            Trust::Plaintext
        };
        let connector = Connector::new(&endpoint, trust).unwrap();
        let dialer = Dialer::new(connector, KEY.to_vec());
        let token = dialer.token("bench");
        let call = async || {
            let connection = dialer.connect(WINDOW, End::First).await.unwrap();
            dialer.call(connection, &token).await.unwrap()
        };
        let ((to_a, from_a), (to_b, from_b)) = tokio::join!(call(), call());
        // The router answers when the two have met.
        let (from_a, from_b) = tokio::try_join!(from_a, from_b).unwrap();
        let peer = |send, response: http::Response<RecvStream>| Peer {
            send,
            receive: response.into_body(),
            owed: 0,
        };
        Self {
            a: peer(to_a, from_a),
            b: peer(to_b, from_b),
            _server: server,
        }
    }

    /// Sends so many messages one way and receives them all.
    pub async fn push(&mut self, message: &Bytes, count: u64) {
        let (a, b) = (&mut self.a, &mut self.b);
        tokio::join!(
            a.send(message, count),
            b.receive(message.len() as u64 * count)
        );
    }

    /// So many round trips of one message.
    pub async fn ping_pong(&mut self, message: &Bytes, count: u64) {
        let length = message.len() as u64;
        for _ in 0..count {
            self.a.send(message, 1).await;
            self.b.receive(length).await;
            self.b.send(message, 1).await;
            self.a.receive(length).await;
        }
    }
}

impl Peer {
    async fn send(&mut self, message: &Bytes, count: u64) {
        for _ in 0..count {
            let stream = &mut self.send;
            stream.reserve_capacity(message.len());
            // h2 keeps what does not fit its buffer; only an empty one is waited for.
            poll_fn(|cx| {
                while stream.capacity() == 0 {
                    ready!(stream.poll_capacity(cx)).unwrap().unwrap();
                }
                std::task::Poll::Ready(())
            })
            .await;
            stream.send_data(message.clone(), false).unwrap();
        }
    }

    async fn receive(&mut self, mut bytes: u64) {
        while bytes > 0 {
            let chunk = self.receive.data().await.unwrap().unwrap();
            bytes -= chunk.len() as u64;
            self.owed += chunk.len();
            if self.owed >= CREDIT || bytes == 0 {
                let owed = std::mem::take(&mut self.owed);
                self.receive.flow_control().release_capacity(owed).unwrap();
            }
        }
    }
}
