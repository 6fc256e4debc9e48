//! Connections to the router under test, and calls on them.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{
    Ping, PingPong, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderValue, header};
use tokio::time::sleep;

use super::{failure::Failure, histogram::Histogram};
use crate::{
    client::{Connector, Token, router_stream::request},
    grpc::call::http2,
};

/// The connection's window, unless its streams' is larger.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// What h2 holds of a stream before it was written: enough to keep the connection busy.
const SEND_BUFFER: usize = 256 * 1024;

/// A connection rests so long between two PINGs.
const PING_PAUSE: Duration = Duration::from_millis(50);

/// Tells the peers of a pair apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The one that calls first.
    First,
    /// The other one.
    Second,
}

/// Makes connections and tokens.
#[derive(Debug)]
pub struct Dialer {
    connector: Connector,
    key: Vec<u8>,
    /// Where second peers connect instead.
    pub second: Option<SocketAddr>,
    /// How long PINGs took, if they are measured.
    pub pings: Option<Arc<Histogram>>,
}

impl Dialer {
    /// Dials the router that `connector` leads to; `key` signs the tokens.
    pub fn new(connector: Connector, key: Vec<u8>) -> Self {
        Self {
            connector,
            key,
            second: None,
            pings: None,
        }
    }

    /// Connects to a proxy in the router's place from now on.
    pub fn via(&mut self, proxy: SocketAddr) {
        self.connector = self.connector.clone().via(proxy);
    }

    /// Signs a token for one pair.
    pub fn token(&self, subject: &str) -> Token {
        Token::mint(&self.key, subject)
    }

    /// Makes a new connection whose streams have this window. It closes once the calls on it, and all that can make more of
    /// them, are gone. `end`: of which peer of a pair.
    pub async fn connect(&self, window: u32, end: End) -> Result<SendRequest<Bytes>, Failure> {
        let mut connector = self.connector.clone();
        if let (End::Second, Some(second)) = (end, self.second) {
            connector = connector.via(second);
        }
        let io = connector.io().await?;
        let (requests, mut connection) = http2(window, SEND_BUFFER)
            .initial_connection_window_size(window.max(CONNECTION_WINDOW))
            .handshake(io)
            .await?;
        let pinger = connection.ping_pong().zip(self.pings.clone());
        // In one task, so that no other comes between a PING's answer and its time.
        tokio::spawn(async move {
            tokio::select! {
                // Its streams report the error, too.
                _ = connection => {}
                Some(never) = measure_pings(pinger) => match never {},
            }
        });
        Ok(requests)
    }

    /// Calls `RouterService/Stream` on a connection.
    pub async fn call(
        &self,
        connection: SendRequest<Bytes>,
        token: &Token,
    ) -> Result<(SendStream<Bytes>, ResponseFuture), Failure> {
        let mut request = request(&self.connector, token)?;
        let agent = HeaderValue::from_static("jumpstarter-router-load");
        request.headers_mut().insert(header::USER_AGENT, agent);
        let (response, send) = connection.ready().await?.send_request(request, false)?;
        Ok((send, response))
    }
}

/// Sends one PING after another for as long as the connection lasts, if they are measured.
async fn measure_pings(pinger: Option<(PingPong, Arc<Histogram>)>) -> Option<Infallible> {
    let (mut pings, times) = pinger?;
    loop {
        let sent = Instant::now();
        pings.ping(Ping::opaque()).await.ok()?;
        times.record(sent.elapsed());
        sleep(PING_PAUSE).await;
    }
}
