//! No router at all: decrypts one TLS connection and encrypts to another, the floor for moving bytes through user
//! space. It carries raw bytes and not gRPC, so it brings its own driver.
#![allow(missing_docs, clippy::cast_precision_loss)]

mod driving;
mod serving;

use clap::{Parser, Subcommand};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Bytes of the copy buffer of each direction.
const BUFFER: usize = 64 * 1024;

#[derive(Parser)]
#[command(
    about = "A TLS byte relay, to measure against: joins connections two by two, as they arrive"
)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    serving: serving::Serving,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Pushes bytes through a relay, checks them, and prints figures as JSON.
    Drive(driving::Driving),
}

type Handshake = JoinHandle<std::io::Result<TlsStream<TcpStream>>>;

async fn serve(arguments: serving::Serving) -> anyhow::Result<()> {
    let listener = arguments.listen().await?;
    let acceptor = arguments.acceptor()?;
    let mut waiting: Option<Handshake> = None;
    loop {
        let socket = serving::accept(&listener).await;
        let arrived = tokio::spawn(handshake(acceptor.clone(), socket));
        match waiting.take() {
            None => waiting = Some(arrived),
            Some(first) => {
                tokio::spawn(join(first, arrived));
            }
        }
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    socket: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    acceptor.accept(socket).await
}

/// Copies both ways until both have ended. An error of either ends both.
async fn join(first: Handshake, second: Handshake) {
    if let (Ok(Ok(mut first)), Ok(Ok(mut second))) = (first.await, second.await) {
        let _ =
            tokio::io::copy_bidirectional_with_sizes(&mut first, &mut second, BUFFER, BUFFER).await;
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        None => serve(arguments.serving).await,
        Some(Command::Drive(arguments)) => driving::drive(arguments).await,
    }
}
