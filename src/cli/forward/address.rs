//! Opens the local ends, TCP or Unix sockets.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::{Instant, timeout},
};
use tokio_util::either::Either;

pub(crate) use crate::common::address::Address;
use crate::common::dial;

/// How long a local service may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A local connection.
pub(crate) type Local = Either<TcpStream, UnixStream>;

impl Address {
    /// Connects to this address.
    pub async fn connect(&self) -> io::Result<Local> {
        let connect = async {
            match self {
                Self::Tcp(address) => {
                    let until = Instant::now() + CONNECT_TIMEOUT;
                    Ok(Either::Left(dial::tcp(address, until).await?))
                }
                Self::Unix(path) => Ok(Either::Right(UnixStream::connect(path).await?)),
            }
        };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 10s");
        timeout(CONNECT_TIMEOUT, connect).await.map_err(late)?
    }

    /// Listens at this address. A socket's path that nobody listens at any more is taken over.
    pub async fn listen(&self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(address) => Listener::Tcp(TcpListener::bind(address).await?),
            Self::Unix(path) => {
                remove_if_dead(path).await?;
                let listener = UnixListener::bind(path)?;
                Listener::Unix(listener, Removed(path.clone()))
            }
        })
    }
}

async fn remove_if_dead(path: &Path) -> io::Result<()> {
    let is_socket = fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket
        && let Err(error) = UnixStream::connect(path).await
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Accepts local connections.
#[derive(Debug)]
pub enum Listener {
    /// At a port.
    Tcp(TcpListener),
    /// At a path, which is removed afterwards.
    Unix(UnixListener, Removed),
}

/// Removes a file when it is dropped.
#[derive(Debug)]
pub struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Accepts the next connection, and tells where it comes from. Cancellation safe.
    pub async fn accept(&self) -> io::Result<(Local, String)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, from) = listener.accept().await?;
                socket.set_nodelay(true)?;
                Ok((Either::Left(socket), from.to_string()))
            }
            Self::Unix(listener, _) => {
                let (socket, _) = listener.accept().await?;
                Ok((Either::Right(socket), "a local process".to_owned()))
            }
        }
    }

    /// Tells where it listens: the port that the system has chosen, if it was asked to.
    pub fn address(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(|at: SocketAddr| at.to_string()),
            Self::Unix(_, Removed(path)) => Ok(format!("unix:{}", path.display())),
        }
    }
}
