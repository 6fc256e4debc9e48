//! Connects to a router as its peers do.
//!
//! [`RouterStream`] is a stream to whoever calls the same router with a token of the same subject:
//!
//! ```
//! # mod doc { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
//! use jumpstarter_router::client::{Connector, RouterStream, Trust};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (router, token) = doc::router().await;
//! # let (endpoint, trust) = (router.address.to_string(), Trust::Insecure);
//! // Trust::System for a certificate that everybody trusts, Trust::from_pem_file("ca.pem") for a CA of your own.
//! let connector = Connector::new(&endpoint, trust)?;
//! let mut one = RouterStream::connect(&connector, &token).await?;
//! let mut other = RouterStream::connect(&connector, &token).await?;
//!
//! one.write_all(b"hello").await?;
//! one.shutdown().await?; // no more from this side; the other may still send
//!
//! let mut heard = String::new();
//! other.read_to_string(&mut heard).await?;
//! assert_eq!(heard, "hello");
//! other.shutdown().await?; // both have closed: no error means that all has arrived
//! # Ok(()) }
//! ```
//!
//! What went wrong, and through whom, is in the error:
//!
//! ```
//! # mod doc { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs")); }
//! # use jumpstarter_router::client::{Connector, EndedBy, RouterStream, StreamError, Trust};
//! # use tokio::io::AsyncReadExt;
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (router, token) = doc::router().await;
//! # let connector = Connector::new(&router.address.to_string(), Trust::Insecure)?;
//! # let mut one = RouterStream::connect(&connector, &token).await?;
//! # let other = RouterStream::connect(&connector, &token).await?;
//! one.answered().await?; // the other side is there
//! other.cancel().await;
//! let error = one.read_u8().await.unwrap_err();
//! let why = StreamError::of(&error).expect("the stream's own error");
//! assert_eq!(why.by(), EndedBy::Partner);
//! assert_eq!(why.status().unwrap().code(), tonic::Code::Unavailable);
//! # Ok(()) }
//! ```
//!
//! [`Connector::from_env`] and [`Token::from_env`] find router and token in the environment. With the feature `mint`,
//! `Token::mint` makes a token of the router's key, as a controller does.
//!
//! With the feature `controller`, `Session` gets such streams through a controller, and `ControllerConfig::from_env` reads
//! what `jmp` has written:
//!
//! ```no_run
//! use jumpstarter_router::client::{ControllerConfig, Role, Session};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ControllerConfig::from_env(Some("lab"), Role::Client)?;
//! let stream = Session::new(&config)?.connect("my-lease").await?;
//! # let _ = stream; Ok(()) }
//! ```
//!
//! `cargo run --example chat` and `--example demo` are small programs of their own.
//!
//! From the ground up: [`trust`], [`proxy`], [`connect`] (TCP, TLS), [`frame`] (bytes of a frame), `line` (one HTTP/2 connection),
//! [`ended`] (what went wrong), [`router_stream`], [`mod@env`], `controller_config` (files), `session`.

#[cfg(feature = "controller")]
mod channel;
pub mod connect;
#[cfg(feature = "controller")]
pub mod controller_config;
pub mod ended;
pub mod env;
pub mod frame;
mod line;
pub mod proxy;
pub mod router_stream;
#[cfg(feature = "controller")]
pub mod session;
pub mod token;
pub mod trust;

pub use self::{
    connect::{ConnectError, ConnectOptions, Connector, Keepalive},
    ended::{EndedBy, StreamError},
    env::EnvError,
    proxy::Proxies,
    router_stream::{Messages, RouterStream},
    token::Token,
    trust::{CertificatesError, Identity, Trust},
};
#[cfg(feature = "controller")]
pub use self::{
    controller_config::{ControllerConfig, ControllerConfigError, Role},
    session::{Grant, Leases, Listener, Session, SessionError},
};
