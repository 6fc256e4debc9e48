//! The bus by [NATS](https://nats.io) core publish/subscribe: at most once, nothing is stored.
//!
//! Each router has one subscription to all topics. To subscribe to each topic would spare routers the announcements that do
//! not concern them, a hash and a look into a map each, but has to reach all servers of the bus before a half is announced.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Mutex,
    time::Duration,
};

use async_nats::{Client, ConnectOptions, ServerAddr, Subject, Subscriber};
use futures_util::StreamExt as _;
use rustls::RootCertStore;
use thiserror::Error;
use tokio::{net::UdpSocket, sync::watch};

use crate::common::lock;
use crate::tls::{
    pem::{self, PemError},
    trust::{self, Trust},
};

use super::{
    bus::{Bus, Credentials, Event, Place},
    meet::Topic,
};

/// A server that does not answer in this time is left for the next.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection from which nothing came for twice as long is taken to be lost.
const PING: Duration = Duration::from_secs(10);

/// The longest pause between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(2);

/// Announcements that may wait to be heard: 250 bytes each. More are lost, as on the bus.
const HEARD: usize = 16 * 1024;

/// Why the bus cannot be used at all. What can pass by itself is no error: it is tried again.
#[derive(Debug, Error)]
pub(crate) enum BusError {
    /// A server's address is no URL.
    #[error("cluster.servers: {0:?}: {1}; expected nats://host:4222 or tls://host:4222")]
    Server(String, io::Error),
    /// The credentials cannot be read.
    #[error("cluster.credentials_file: {0}")]
    Credentials(io::Error),
    /// The certificates to trust cannot be read.
    #[error("cluster.ca: {0}")]
    Pem(#[from] PemError),
    /// They cannot be used.
    #[error("cluster.ca: {0}")]
    Tls(#[from] rustls::Error),
    /// The client does not start.
    #[error("cannot set up the bus: {0}")]
    Connect(#[from] async_nats::ConnectError),
    /// The server is there, and does not answer.
    #[error("the bus does not answer: {0}")]
    Flush(#[from] async_nats::client::FlushError),
    /// There is no subscription.
    #[error("cannot listen on the bus: {0}")]
    Subscribe(#[from] async_nats::SubscribeError),
}

/// A client of the bus, which connects again whenever it has to.
#[derive(Debug)]
pub(crate) struct Connected {
    client: Client,
    prefix: String,
    heard: Subscriber,
    /// How often the connection was made, and whether it is there.
    state: watch::Receiver<(u64, bool)>,
    servers: Vec<ServerAddr>,
}

impl Place {
    /// Checks what can be checked without a network.
    pub(crate) fn check(&self) -> Result<Vec<ServerAddr>, BusError> {
        let parse = |text: &String| {
            let server = text.parse();
            server.map_err(|error| BusError::Server(text.clone(), error))
        };
        if let Some(Credentials::File(text)) = &self.credentials {
            ConnectOptions::new()
                .credentials(text)
                .map_err(BusError::Credentials)?;
        }
        self.tls()?;
        self.servers.iter().map(parse).collect()
    }

    fn options(&self) -> Result<ConnectOptions, BusError> {
        let options = ConnectOptions::new()
            .connection_timeout(CONNECT)
            .tls_client_config(self.tls()?);
        Ok(match &self.credentials {
            Some(Credentials::File(text)) => {
                options.credentials(text).map_err(BusError::Credentials)?
            }
            Some(Credentials::User(user, password)) => {
                options.user_and_password(user.clone(), password.clone())
            }
            Some(Credentials::Token(token)) => options.token(token.clone()),
            None => options,
        })
    }

    fn tls(&self) -> Result<rustls::ClientConfig, BusError> {
        let trust = match &self.ca {
            Some(text) => Trust::Named(pem::certificates(text)?),
            None => {
                let mut system = RootCertStore::empty();
                system.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                Trust::Roots(system)
            }
        };
        let mut tls = trust::client_config(trust, None)?;
        // It speaks no HTTP/2.
        tls.alpn_protocols.clear();
        Ok(tls)
    }

    /// Connects once, and says to which server.
    pub(crate) async fn try_once(&self) -> Result<String, BusError> {
        let servers = self.check()?;
        let client = self.options()?.connect(&servers[..]).await?;
        // Refused credentials show only now.
        client.flush().await?;
        let info = client.server_info();
        Ok(format!("{} {}:{}", info.server_name, info.host, info.port))
    }

    /// Begins to connect, and does not wait until it has.
    pub(crate) async fn connect(&self, name: &str) -> Result<Connected, BusError> {
        let servers = self.check()?;
        let (state, followed) = watch::channel((0, false));
        let told = Told {
            state,
            last: Mutex::default(),
        };
        let options = self
            .options()?
            .name(name)
            .retry_on_initial_connect()
            .no_echo()
            .max_reconnects(None)
            .ping_interval(PING)
            .subscription_capacity(HEARD)
            .reconnect_delay_callback(|attempts| {
                let pause = Duration::from_millis(50 << attempts.min(10));
                pause.min(PAUSE)
            })
            .event_callback(move |event| {
                told.tell(&event);
                async {}
            });
        let client = options.connect(&servers[..]).await?;
        let heard = client.subscribe(format!("{}.*", self.prefix)).await?;
        Ok(Connected {
            client,
            prefix: self.prefix.clone(),
            heard,
            state: followed,
            servers,
        })
    }
}

/// Tells what happens to the connection: the task that uses it, and the log.
struct Told {
    state: watch::Sender<(u64, bool)>,
    /// What was told last: while the bus cannot be reached, the same is said at each attempt.
    last: Mutex<String>,
}

impl Told {
    fn tell(&self, event: &async_nats::Event) {
        match event {
            async_nats::Event::Connected => {
                lock(&self.last).clear();
                self.state.send_modify(|(times, connected)| {
                    *times += 1;
                    *connected = true;
                });
            }
            async_nats::Event::Disconnected | async_nats::Event::Closed => {
                self.state.send_modify(|(_, connected)| *connected = false);
            }
            event => {
                let text = event.to_string();
                let mut last = lock(&self.last);
                if *last != text {
                    tracing::warn!(error = text, "the routers' message bus");
                    *last = text;
                }
            }
        }
    }
}

impl Connected {
    fn topic(&self, subject: &Subject) -> Option<Topic> {
        let rest = subject.strip_prefix(&*self.prefix)?;
        Topic::from_text(rest.strip_prefix('.')?)
    }

    /// This machine's address on the way to the bus. No packet is sent for it.
    async fn own(&self) -> Option<IpAddr> {
        let server = self.servers.first()?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?;
        socket.connect((server.host(), server.port())).await.ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    }
}

impl Bus for Connected {
    async fn publish(&mut self, topic: Topic, announcement: Vec<u8>) -> Result<(), String> {
        let subject = format!("{}.{}", self.prefix, topic.to_text());
        let published = self.client.publish(subject, announcement.into()).await;
        published.map_err(|error| error.to_string())
    }

    async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                biased;
                Ok(()) = self.state.changed() => {
                    let connected = self.state.borrow_and_update().1;
                    return if connected {
                        Event::Connected { own: self.own().await }
                    } else {
                        Event::Disconnected
                    };
                }
                Some(message) = self.heard.next() => {
                    if let Some(topic) = self.topic(&message.subject) {
                        return Event::Heard(topic, message.payload.into());
                    }
                }
                else => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_no_url_is_named() {
        let nats = Place {
            servers: vec!["nats://ok:4222".to_owned(), "http://".to_owned()],
            credentials: None,
            ca: None,
            prefix: "p".to_owned(),
        };
        let error = nats.check().map(drop).map_err(|error| error.to_string());
        assert!(error.is_err_and(|error| error.contains("\"http://\"")));
    }
}
