//! The router as one would write it plainly with tonic: generated service, a map of waiters, a channel of messages
//! each way. A baseline to measure against, with the same tokens and the same TLS provider as the real one.
#![allow(missing_docs)]

mod serving;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use clap::Parser;
use dashmap::{DashMap, mapref::entry::Entry};
use jumpstarter_router::{
    inside::auth::{Key, KeyRing, Rules},
    protocol::v1::{
        StreamRequest, StreamResponse,
        router_service_server::{RouterService, RouterServiceServer},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{mpsc, oneshot},
};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Response, Status, Streaming,
    transport::{Server, server::Connected},
};

/// Messages that wait between the two peers, each way.
const QUEUE: usize = 16;

/// As the default of the real router.
const PAIRING_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Parser)]
#[command(
    about = "A plain typed router, to measure against; ROUTER_KEY holds the key of its tokens"
)]
struct Arguments {
    #[command(flatten)]
    serving: serving::Serving,
    /// HTTP/2 stream and connection windows in bytes; without it those of tonic.
    #[arg(long)]
    window: Option<u32>,
}

type Outgoing = mpsc::Sender<Result<StreamResponse, Status>>;

/// One peer, on its way to its pair.
struct Half {
    incoming: Streaming<StreamRequest>,
    outgoing: Outgoing,
}

struct Waiter {
    number: u64,
    half: Half,
    met: oneshot::Sender<()>,
}

type Waiters = DashMap<Arc<str>, Waiter>;

struct Typed {
    rules: Rules,
    waiters: Arc<Waiters>,
    next: AtomicU64,
}

/// Removes the waiter whose call was cancelled or came to its time.
struct Leaves {
    waiters: Arc<Waiters>,
    subject: Arc<str>,
    number: u64,
}

impl Drop for Leaves {
    fn drop(&mut self) {
        let number = self.number;
        self.waiters
            .remove_if(&self.subject, |_, waiter| waiter.number == number);
    }
}

#[tonic::async_trait]
impl RouterService for Typed {
    type StreamStream = ReceiverStream<Result<StreamResponse, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (metadata, _, incoming) = request.into_parts();
        let admission = self
            .rules
            .check(&metadata.into_headers(), SystemTime::now())
            .map_err(|refusal| Status::new(Code::Unauthenticated, refusal.to_string()))?;
        let (outgoing, receiver) = mpsc::channel(QUEUE);
        let half = Half { incoming, outgoing };
        let subject = admission.subject;
        if let Some(meeting) = self.arrive(subject.clone(), half) {
            let _leaves = Leaves {
                waiters: self.waiters.clone(),
                subject,
                number: meeting.0,
            };
            if !matches!(
                tokio::time::timeout(PAIRING_TIMEOUT, meeting.1).await,
                Ok(Ok(()))
            ) {
                return Err(Status::deadline_exceeded("the other side did not come"));
            }
        }
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl Typed {
    /// Pairs with the one who waits (`None`), or waits.
    fn arrive(&self, subject: Arc<str>, half: Half) -> Option<(u64, oneshot::Receiver<()>)> {
        match self.waiters.entry(subject) {
            Entry::Occupied(occupied) => {
                let waiter = occupied.remove();
                let _ = waiter.met.send(());
                tokio::spawn(pair(waiter.half, half));
                None
            }
            Entry::Vacant(vacant) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let (met, meeting) = oneshot::channel();
                vacant.insert(Waiter { number, half, met });
                Some((number, meeting))
            }
        }
    }
}

async fn pair(mut a: Half, mut b: Half) {
    let ended = tokio::try_join!(
        forward(&mut a.incoming, &b.outgoing),
        forward(&mut b.incoming, &a.outgoing),
    );
    if let Err(status) = ended {
        // At once: one that takes nothing must not keep the other from being told.
        let _ = tokio::join!(
            a.outgoing.send(Err(status.clone())),
            b.outgoing.send(Err(status)),
        );
    }
}

async fn forward(from: &mut Streaming<StreamRequest>, to: &Outgoing) -> Result<(), Status> {
    while let Some(message) = from.message().await? {
        let message = StreamResponse {
            payload: message.payload,
            frame_type: message.frame_type,
        };
        if to.send(Ok(message)).await.is_err() {
            return Err(Status::unavailable("the other side is gone"));
        }
    }
    Ok(())
}

/// tonic asks connections about themselves; there is nothing to say.
struct Connection(TlsStream<TcpStream>);

impl Connected for Connection {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let secret = std::env::var("ROUTER_KEY").context("ROUTER_KEY must hold the tokens' key")?;
    let key = Key::new("key", secret.as_bytes());
    let service = Typed {
        rules: Rules::new(KeyRing::new([key])?),
        waiters: Arc::default(),
        next: AtomicU64::new(0),
    };
    let listener = arguments.serving.listen().await?;
    let acceptor = arguments.serving.acceptor()?;
    let (connected, connections) = mpsc::channel(64);
    tokio::spawn(async move {
        loop {
            let socket = serving::accept(&listener).await;
            let (acceptor, connected) = (acceptor.clone(), connected.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(socket).await {
                    let _ = connected.send(Ok::<_, io::Error>(Connection(stream))).await;
                }
            });
        }
    });
    Server::builder()
        .initial_stream_window_size(arguments.window)
        .initial_connection_window_size(arguments.window)
        .add_service(RouterServiceServer::new(service))
        .serve_with_incoming(ReceiverStream::new(connections))
        .await?;
    Ok(())
}
