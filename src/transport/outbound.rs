//! Connections to other routers, on which this one calls: each has one stream at a time, and its window grows with the path.

mod driver;
mod pool;

use std::{io, net::IpAddr, sync::Arc};

use futures_util::future::BoxFuture;
use h2::{Ping, RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, Request, StatusCode};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, ServerName};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use tonic::Status;

use self::driver::Driver;
pub(crate) use self::driver::PING;
pub(crate) use self::pool::Pool;
use crate::transport::{
    counters::ConnectionCounters,
    memory::{budget::Budget, level::Memory},
    outgoing::Outgoing,
    settings::Settings,
    socket,
};
use crate::{
    common::dial::Unreachable,
    grpc::{call, status},
    tls::{
        fault,
        trust::{self, Trust},
    },
};

/// Says why a call to another router came to nothing.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Unreachable(#[from] Unreachable),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Handshake(String),
    #[error("no answer in time")]
    Silent,
    #[error("the connection was lost")]
    Lost,
    #[error("it refused the stream: {}", refusal(.0))]
    Refused(Status),
}

/// Says why TLS failed, as far as it was TLS.
fn untrusted(error: io::Error, shown: Option<&CertificateDer<'_>>) -> Failure {
    match fault::of_io(&error, shown) {
        Some((fault, _)) => Failure::Handshake(fault.what),
        None => error.into(),
    }
}

fn refusal(status: &Status) -> String {
    let name = status::name(status.code());
    match status.message() {
        "" => name.to_owned(),
        message => format!("{message} ({name})"),
    }
}

/// Holds what a connection takes from the process it is in.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    pub settings: Arc<Settings>,
    /// What windows may grow by, all together.
    pub windows: Arc<Budget>,
    pub memory: Arc<Memory>,
}

/// Says how the other router is known.
pub(crate) struct Known {
    pub trust: Trust,
    pub name: ServerName<'static>,
    /// Shown to a router that asks for a certificate.
    pub key: Option<Arc<CertifiedKey>>,
}

/// A connection that can carry a call.
pub(crate) struct Connected {
    pub address: IpAddr,
    pub sender: SendRequest<Outgoing>,
    /// The connection itself. It must be polled for anything to pass.
    pub driver: BoxFuture<'static, ()>,
    pub counters: Arc<ConnectionCounters>,
}

/// A call that was answered by 200.
pub(crate) struct Answered {
    pub headers: HeaderMap,
    pub send: SendStream<Outgoing>,
    pub receive: RecvStream,
}

/// Sets up a connection on `socket`, with TLS if the router is `known` by that. `probed`: somebody has to be there, as a
/// connection can lie in the queue of a socket that nobody listens on now.
pub(crate) async fn connect(
    socket: TcpStream,
    known: Option<Known>,
    means: &Means,
    probed: bool,
) -> Result<Connected, Failure> {
    let address = socket.peer_addr()?.ip().to_canonical();
    let settings = &means.settings;
    socket::prepare(&socket, &settings.connections)?;
    let wire = match known {
        None => Either::Left(socket),
        Some(known) => {
            let tls = trust::client_config(known.trust, known.key)?;
            let tls = TlsConnector::from(Arc::new(tls));
            let connect = trust::showing(tls.connect(known.name, socket));
            let (connected, shown) = Box::pin(connect).await;
            Either::Right(connected.map_err(|error| untrusted(error, shown.as_ref()))?)
        }
    };
    let window = settings.streams.initial_window.bytes_u32();
    let (sender, mut connection) = call::http2(window, settings.streams.send_buffer.bytes())
        // One stream; as for a router's peers, the stream's window is the bound, and the connection's never blocks it.
        .initial_connection_window_size((1 << 31) - 1)
        .max_header_list_size(settings.connections.max_header_size.bytes_u32())
        .handshake(wire)
        .await?;
    let mut pings = connection.ping_pong();
    if probed && let Some(pings) = &mut pings {
        tokio::select! {
            biased;
            pong = pings.ping(Ping::opaque()) => {
                pong?;
            }
            ended = &mut connection => {
                ended?;
                return Err(Failure::Lost);
            }
        }
    }
    let counters = Arc::new(ConnectionCounters::default());
    Ok(Connected {
        address,
        sender,
        driver: Box::pin(Driver::new(connection, pings, means, counters.clone())),
        counters,
    })
}

impl Connected {
    /// Makes a call, and waits until it is answered.
    pub(crate) async fn call(&mut self, request: Request<()>) -> Result<Answered, Failure> {
        self.ready().await?;
        let (response, send) = self.sender.send_request(request, false)?;
        let (head, receive) = driven(&mut self.driver, response).await??.into_parts();
        if let Some(status) = Status::from_header_map(&head.headers) {
            return Err(Failure::Refused(status));
        }
        if head.status != StatusCode::OK {
            let status = Status::unknown(format!("HTTP {}", head.status));
            return Err(Failure::Refused(status));
        }
        Ok(Answered {
            headers: head.headers,
            send,
            receive,
        })
    }

    /// Waits until a call can be made. An error means that none was.
    pub(crate) async fn ready(&mut self) -> Result<(), Failure> {
        self.sender = driven(&mut self.driver, self.sender.clone().ready()).await??;
        Ok(())
    }
}

/// Awaits `future` while the connection is kept going.
async fn driven<F: Future>(
    driver: &mut BoxFuture<'static, ()>,
    future: F,
) -> Result<F::Output, Failure> {
    tokio::select! {
        biased;
        output = future => Ok(output),
        () = driver => Err(Failure::Lost),
    }
}
