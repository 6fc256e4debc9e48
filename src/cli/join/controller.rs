//! Options: who we are to a controller, as Jumpstarter's own files say it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::Args;

use super::credentials::SHORT;
use crate::{
    cli::{exit::Failure, variable},
    client::{ControllerConfig, Role, Session},
};

/// How to reach controller and routers.
#[derive(Args, Clone, Copy, Debug)]
pub struct WireArgs {
    /// Begin TLS with a short message.
    #[arg(long, help = SHORT)]
    pub no_post_quantum: bool,
}

/// A client of a controller.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// The name of the client's configuration.
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "client_config",
        help = "The client's configuration in ~/.config/jumpstarter/clients [default: the client of JMP_NAMESPACE, \
                JMP_NAME, JMP_ENDPOINT and JMP_TOKEN, or the current client of `jmp`]"
    )]
    pub client: Option<String>,
    /// The client's configuration file [env: JMP_CLIENT_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub client_config: Option<PathBuf>,
    /// The lease, see `jmp get leases` [env: JMP_LEASE]
    #[arg(long, value_name = "NAME")]
    pub lease: Option<String>,
}

impl ClientArgs {
    /// Opens a session with the controller.
    pub fn session(&self, wire: WireArgs, env: &[(String, OsString)]) -> Result<Session, Failure> {
        let named = || variable("JMP_CLIENT_CONFIG", env).map(PathBuf::from);
        let file = match &self.client {
            Some(_) => None,
            None => self.client_config.clone().or_else(named),
        };
        session(
            file.as_deref(),
            self.client.as_deref(),
            Role::Client,
            wire,
            env,
        )
    }

    /// Gives the name of the lease, without the namespace that `jmp` may print before it.
    pub fn lease(&self, env: &[(String, OsString)]) -> Result<String, Failure> {
        let lease = self.lease.clone().or_else(|| variable("JMP_LEASE", env));
        let lease = lease.ok_or_else(|| {
            Failure::config(
                "no lease: use --lease NAME or set JMP_LEASE; `jmp create lease` makes one",
            )
        })?;
        Ok(lease.rsplit('/').next().unwrap_or_default().to_owned())
    }
}

/// An exporter of a controller.
#[derive(Args, Clone, Debug)]
#[group(id = "who", required = true, multiple = false)]
pub struct ExporterArgs {
    /// The exporter's configuration in ~/.config/jumpstarter/exporters or /etc/jumpstarter/exporters
    #[arg(long, value_name = "NAME")]
    pub exporter: Option<String>,
    /// The exporter's configuration file
    #[arg(long, value_name = "FILE")]
    pub exporter_config: Option<PathBuf>,
}

impl ExporterArgs {
    /// Opens a session with the controller.
    pub fn session(&self, wire: WireArgs, env: &[(String, OsString)]) -> Result<Session, Failure> {
        let (file, name) = (self.exporter_config.as_deref(), self.exporter.as_deref());
        session(file, name, Role::Exporter, wire, env)
    }
}

fn session(
    file: Option<&Path>,
    name: Option<&str>,
    role: Role,
    wire: WireArgs,
    env: &[(String, OsString)],
) -> Result<Session, Failure> {
    let mut config = match file {
        Some(file) => ControllerConfig::load_with(file, role, env)?,
        None => ControllerConfig::find(name, role, env)?,
    };
    config.post_quantum &= !wire.no_post_quantum;
    Ok(Session::new(&config)?)
}
