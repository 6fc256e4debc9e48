//! Why there is no lab.

use std::{io, net::SocketAddr, path::PathBuf};

use thiserror::Error;

use super::{external::ExternalError, folder::FolderError, nats::NatsError, store::StoreError};
use crate::server::StartError;

/// Why there is no lab.
#[derive(Debug, Error)]
pub enum LabError {
    /// The directory is not as it should be.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The state file is not as it should be.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another lab has the directory.
    #[error("another lab runs in {path}; stop it, or name another directory", path = .0.display())]
    InUse(PathBuf),
    /// The router does not start.
    #[error(transparent)]
    Start(StartError),
    /// There is no NATS server for several routers.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// The other router cannot be used.
    #[error(transparent)]
    External(#[from] ExternalError),
    /// Settings of the router make no sense.
    #[error("{0}")]
    Router(String),
    /// One of them is set by an option of its own, or by a file.
    #[error("--set {key}: {instead}")]
    Own {
        /// The key.
        key: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// The address will not do.
    #[error(
        "--listen needs a port of your choice, as the files that the lab writes name it; 127.0.0.1:8083 is the default"
    )]
    Port,
    /// Nobody can tell how to reach it.
    #[error(
        "--listen {0} means every address of this machine; say with --endpoint by which name or address it is reached"
    )]
    Endpoint(SocketAddr),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({option}): {error}; {advice}", advice = advice(error))]
    Listen {
        /// What to change.
        option: String,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
}

impl LabError {
    /// Makes one of an address, which is a key of the router's configuration.
    pub(super) fn listen(key: &str, address: SocketAddr, error: io::Error) -> Self {
        let option = match key {
            "listen.address" => "--listen".to_owned(),
            other => format!("--set {other}"),
        };
        Self::Listen {
            option,
            address,
            error,
        }
    }
}

impl From<StartError> for LabError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Bind {
                address,
                key,
                error,
            } => Self::listen(key, address, error),
            other => Self::Start(other),
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "does another lab or router run there? Stop it, or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => "choose an address of this machine",
        io::ErrorKind::PermissionDenied => "choose a port from 1024 on",
        _ => "choose another address",
    }
}
