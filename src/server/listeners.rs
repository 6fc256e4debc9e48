//! The sockets that a router listens on: handed over by a service manager, or bound here.

use std::{
    ffi::OsStr,
    io,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;
use socket2::{Domain, Socket, Type};
use thiserror::Error;

use super::StartError;
use crate::{config::Config, transport::socket};

/// Names the sockets that were handed over, separated by colons (`sd_listen_fds_with_names`).
pub(crate) const NAMES_ENV: &str = "LISTEN_FDNAMES";

/// What a socket can be for, and the key of the configuration that is its address otherwise. In the order that sockets
/// without names have.
const ROLES: [(&str, &str); 4] = [
    ("grpc", "listen.address"),
    ("health", "listen.health_address"),
    ("metrics", "listen.metrics_address"),
    ("admin", "listen.admin_address"),
];

/// Why a socket that was handed over cannot be used.
#[derive(Debug, Error)]
pub enum HandOverError {
    /// It has a name that says nothing.
    #[error(
        "a socket was handed over as {name:?}; expected grpc, health, metrics or admin: set \
         FileDescriptorName= in the .socket unit"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Two are for one thing.
    #[error(
        "two sockets were handed over as {name:?}; expected one: keep one ListenStream= in the .socket unit"
    )]
    Twice {
        /// Their name.
        name: &'static str,
    },
    /// It is no listening TCP socket.
    #[error("the socket that was handed over as {name:?} is not for TCP connections: {error}")]
    Socket {
        /// Its name.
        name: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Administrators need a token there.
    #[error(
        "the socket that was handed over as \"admin\" is {address}, which other machines can reach, and whoever \
         reaches it can end streams: set admin.token or admin.token_file, or let it listen on 127.0.0.1"
    )]
    Exposed {
        /// Its address.
        address: SocketAddr,
    },
}

/// Sockets that were handed over, at most one for each role.
#[derive(Debug, Default)]
pub struct HandedOver([Option<TcpListener>; 4]);

impl HandedOver {
    /// Takes what the service manager left for this process (`LISTEN_FDS`). `names`: the value of [`NAMES_ENV`].
    ///
    /// To be called once, and before there is a second thread: it takes the variables out of the environment.
    pub fn take(names: Option<&OsStr>) -> Result<Self, HandOverError> {
        let mut left = ListenFd::from_env();
        let names = names.map(OsStr::to_string_lossy).unwrap_or_default();
        let names: Vec<_> = names.split(':').filter(|name| !name.is_empty()).collect();
        let mut taken = Self::default();
        for index in 0..left.len() {
            let role = match names.get(index) {
                Some(name) => ROLES.iter().position(|(role, _)| role == name),
                None => Some(index).filter(|index| *index < ROLES.len() && names.is_empty()),
            };
            let Some(role) = role else {
                let name = names.get(index).copied().unwrap_or_default().to_owned();
                return Err(HandOverError::Name { name });
            };
            let (name, _) = ROLES[role];
            if taken.0[role].is_some() {
                return Err(HandOverError::Twice { name });
            }
            let socket = left.take_tcp_listener(index).and_then(|socket| {
                // Only a listening socket accepts; connected ones have another option.
                let socket = socket.ok_or(io::ErrorKind::NotFound)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            });
            taken.0[role] = Some(socket.map_err(|error| HandOverError::Socket { name, error })?);
        }
        Ok(taken)
    }

    fn get(&mut self, role: usize) -> Option<Listener> {
        let socket = self.0[role].take()?;
        Some(Listener {
            address: socket.local_addr().ok()?,
            socket,
            handed_over: true,
            shared: true,
        })
    }
}

/// A socket to listen on.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// Its address, with the port the system chose if 0 was asked for.
    pub address: SocketAddr,
    /// It came from the service manager, which keeps it.
    pub handed_over: bool,
    /// Another process may take connections there, too.
    pub shared: bool,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// For gRPC.
    pub grpc: Listener,
    /// For probes and metrics.
    pub health: Option<Listener>,
    /// For metrics alone.
    pub metrics: Option<Listener>,
    /// For administrators.
    pub admin: Option<Listener>,
}

impl Listeners {
    /// Takes what was handed over, and binds the rest.
    pub(crate) fn open(config: &Config, mut handed_over: HandedOver) -> Result<Self, StartError> {
        let listen = &config.listen;
        let bind = |role: usize, address: SocketAddr| {
            let shared = listen.reuse_port;
            let (_, key) = ROLES[role];
            let failed = |error| StartError::Bind {
                address,
                key,
                error,
            };
            let socket = socket::bind(address, listen.backlog, shared).map_err(failed)?;
            Ok::<_, StartError>(Listener {
                address: socket.local_addr().unwrap_or(address),
                socket,
                handed_over: false,
                shared,
            })
        };
        let grpc = handed_over.get(0);
        let grpc = grpc.map_or_else(|| bind(0, listen.address), Ok)?;
        let mut open = |role: usize, address: Option<SocketAddr>| match handed_over.get(role) {
            Some(listener) => Ok(Some(listener)),
            None => address.map(|address| bind(role, address)).transpose(),
        };
        let health = open(1, listen.health_address)?;
        let metrics = open(2, listen.metrics_address)?;
        let address = listen.admin_address.filter(|_| listen.reuse_port);
        let admin_has_company = address.is_some_and(is_listened_on);
        let admin = match open(3, listen.admin_address) {
            // The default address is a convenience, and another router on this machine may have it.
            Err(error) if Config::default().listen.admin_address == listen.admin_address => {
                tracing::warn!(%error, "there is no admin page or API");
                None
            }
            admin => admin?,
        };
        if let Some(Listener { address, .. }) = &admin
            && !address.ip().to_canonical().is_loopback()
            && config.admin.secret().is_none()
        {
            return Err(HandOverError::Exposed { address: *address }.into());
        }
        if let Some(admin) = &admin {
            tell_of_company(admin, admin_has_company);
        }
        Ok(Self {
            grpc,
            health,
            metrics,
            admin,
        })
    }
}

/// Whether a socket listens there already, of whichever process. Whoever shares an address is not told of the others, but
/// who does not ask for that is refused it.
fn is_listened_on(address: SocketAddr) -> bool {
    let bound = Socket::new(Domain::for_address(address), Type::STREAM, None).and_then(|socket| {
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())
    });
    bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// An administrator who ends a stream or begins the drain means one process, and with two on a port it may be the other.
fn tell_of_company(admin: &Listener, has_company: bool) {
    let address = admin.address;
    if has_company {
        tracing::warn!(
            "another process listens on {address}, too (listen.admin_address with listen.reuse_port): what is asked \
             there reaches either; give each process an address of its own"
        );
    } else if admin.handed_over {
        tracing::info!(
            "the socket of {address} was handed over: while two processes have it, what administrators ask there \
             reaches either"
        );
    }
}
