//! The two peers: each has its own TCP connection, as stock peers have.

use std::{
    io,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
};

use anyhow::{Context, Result, anyhow};
use hyper_util::rt::TokioIo;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

use super::stage::Stage;
use crate::{
    client::{Call, Connector, call},
    grpc::status,
    protocol::v1::{FrameType, StreamResponse},
};

/// A peer's connection.
pub struct Peer {
    channel: Channel,
    /// The same socket once more, to cut the connection under the feet of everything above it.
    socket: TcpStream,
    tls: String,
}

impl Peer {
    /// Connects. A router whose certificate is not the expected one is an error.
    pub async fn connect(connector: &Connector) -> Result<Self> {
        let stream = connector.tls().await?;
        let (socket, session) = stream.get_ref();
        let socket = TcpStream::from(socket.as_fd().try_clone_to_owned()?);
        let version = session
            .protocol_version()
            .and_then(|version| version.as_str());
        let suite = session.negotiated_cipher_suite();
        let suite = suite.and_then(|suite| suite.suite().as_str());
        let version = version.unwrap_or("TLS").replace("v1_", " 1.");
        let tls = format!("{version} {}", suite.unwrap_or("?"));

        let mut stream = Some(TokioIo::new(stream));
        let once = tower::service_fn(move |_| {
            let stream = stream.take();
            async move { stream.ok_or_else(|| io::Error::other("the connection is gone")) }
        });
        let channel = Endpoint::from_static("http://router")
            .initial_stream_window_size(connector.window)
            .initial_connection_window_size(connector.window)
            .connect_with_connector(once)
            .await?;
        Ok(Self {
            channel,
            socket,
            tls,
        })
    }

    /// TLS version and cipher suite.
    pub fn tls(&self) -> &str {
        &self.tls
    }

    /// For calls.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Cuts the TCP connection: no TLS alert, no HTTP/2 frame, as when the process is killed.
    pub fn kill(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Both)
    }
}

/// Two calls that have met.
pub struct Pair {
    /// The client's.
    pub client: Call,
    /// The exporter's.
    pub exporter: Call,
}

impl Pair {
    /// Both peers call with the same token.
    pub async fn meet(stage: &Stage, client: &Peer, exporter: &Peer) -> Result<Self> {
        let token = stage.token(&Uuid::new_v4().to_string());
        let (client, exporter) = tokio::try_join!(
            call(client.channel(), &token, Vec::new()),
            call(exporter.channel(), &token, Vec::new()),
        )
        .map_err(|status| anyhow!(describe(&status)))?;
        Ok(Self { client, exporter })
    }
}

/// The next message, which must be there and be data.
pub async fn next(receive: &mut Streaming<StreamResponse>) -> Result<bytes::Bytes> {
    let message = receive
        .message()
        .await
        .map_err(|status| anyhow!(describe(&status)))?
        .context("the router ended the stream early, with OK")?;
    match message.frame_type() {
        FrameType::Data => Ok(message.payload),
        other => Err(anyhow!(
            "a {} frame came instead of data",
            other.as_str_name()
        )),
    }
}

/// A status as people read it.
pub fn describe(status: &Status) -> String {
    let text = status.message();
    format!("{} \"{text}\"", status::name(status.code()))
}
