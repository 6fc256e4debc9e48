//! Connections to the router under test, and calls on them.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use h2::{
    Ping, PingPong, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{Method, Request, header};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::sleep,
};

use super::{failure::Failure, histogram::Histogram};
use crate::{
    auth::{Claims, mint},
    client::Connector,
    transport::call::stream::PATH,
};

/// The connection's window, unless its streams' is larger.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// What h2 holds of a stream before it was written: enough to keep the connection busy.
const SEND_BUFFER: usize = 256 * 1024;

/// A connection rests so long between two PINGs.
const PING_PAUSE: Duration = Duration::from_millis(50);

/// Makes connections and tokens.
#[derive(Debug)]
pub struct Dialer {
    connector: Connector,
    key: Vec<u8>,
    /// How long PINGs took, if they are measured.
    pub pings: Option<Arc<Histogram>>,
}

/// An open connection. It closes once this and the calls on it are gone.
#[derive(Clone, Debug)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    uri: String,
}

impl Dialer {
    /// Dials the router that `connector` leads to; `key` signs the tokens.
    pub fn new(connector: Connector, key: Vec<u8>) -> Self {
        Self {
            connector,
            key,
            pings: None,
        }
    }

    /// Connects to a proxy in the router's place from now on.
    pub fn via(&mut self, proxy: SocketAddr) {
        self.connector = self.connector.clone().via(proxy);
    }

    /// Signs a token for one pair.
    pub fn token(&self, subject: &str) -> String {
        mint(&self.key, &Claims::new(subject, SystemTime::now()))
    }

    /// Makes a new connection whose streams have this window.
    pub async fn connect(&self, window: u32) -> Result<Connection, Failure> {
        let io = self.connector.io().await?;
        let requests = handshake(io, window, self.pings.clone()).await?;
        let scheme = if self.connector.is_tls() {
            "https"
        } else {
            "http"
        };
        let uri = format!("{scheme}://{}{PATH}", self.connector.endpoint());
        Ok(Connection { requests, uri })
    }
}

async fn handshake<T>(
    io: T,
    window: u32,
    pings: Option<Arc<Histogram>>,
) -> Result<SendRequest<Bytes>, Failure>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, mut connection) = Builder::new()
        .initial_window_size(window)
        .initial_connection_window_size(window.max(CONNECTION_WINDOW))
        .max_send_buffer_size(SEND_BUFFER)
        // A receiver that stalls on purpose leaves any number of small frames unread.
        .data_frame_budget(usize::MAX)
        .enable_push(false)
        .handshake(io)
        .await?;
    let pinger = connection.ping_pong().zip(pings);
    // Its streams report the error, too.
    tokio::spawn(async move {
        tokio::select! {
            _ = connection => {}
            () = measure_pings(pinger) => {}
        }
    });
    Ok(requests)
}

/// Sends one PING after another for as long as the connection lasts. The select above drops it with the connection.
async fn measure_pings(pinger: Option<(PingPong, Arc<Histogram>)>) {
    if let Some((mut pings, times)) = pinger {
        loop {
            let sent = Instant::now();
            if pings.ping(Ping::opaque()).await.is_err() {
                break;
            }
            times.record(sent.elapsed());
            sleep(PING_PAUSE).await;
        }
    }
    std::future::pending::<()>().await;
}

impl Connection {
    /// Calls `RouterService/Stream`.
    pub async fn call(self, token: &str) -> Result<(SendStream<Bytes>, ResponseFuture), Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.uri)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::USER_AGENT, "jumpstarter-router-load")
            .body(())
            .map_err(|error| Failure::Request(error.to_string()))?;
        let mut requests = self.requests.ready().await?;
        let (response, send) = requests.send_request(request, false)?;
        Ok((send, response))
    }
}
