//! `lab`: runs a router and a controller in memory until it is told to stop.

mod banner;
mod signals;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use tokio::{runtime::Runtime, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{banner::Banner, signals::Signals};
use super::{
    config_args::overrides,
    exit::{Exit, Failure},
    join::credentials::KEY_ENV,
    out, variable,
};
use crate::{
    auth::without_newline,
    common::address,
    config::{Endpoint, Secret},
    lab::{
        Lab, LabError, Options,
        exporters::{self, Exporter, keeper, mark::Run, proxy},
        external::ExternalError,
        folder::FolderError,
        routers::Routing,
        tokens::{Holder, Kind},
    },
    observe::log::{self, LogFormat},
};

/// What `lab --help` begins with.
pub(crate) const ABOUT: &str = "Run a whole Jumpstarter installation on this machine, without Kubernetes: the router, and a \
controller in memory on the same port. Stock clients and exporters (jmp) use it unchanged.

It is for development, teaching and CI on one machine. It is no replacement for the controller in a cluster: it has one \
namespace, no access policies, no login by OIDC, and one process.

All its files are in one directory: lab.toml says who takes part, clients/ and exporters/ have configuration files for \
jmp, and state.redb keeps leases over restarts. What is missing is written at the start.";

// No `Debug`: `--set auth.key=...` is among these.
/// Options of `lab`.
#[derive(Args)]
pub struct LabArgs {
    /// Directory of the lab; it is made if there is none
    #[arg(value_name = "DIRECTORY", default_value = "lab")]
    pub folder: PathBuf,
    /// Address of controller and router
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8083", value_parser = address::local_socket)]
    pub listen: SocketAddr,
    /// How clients and exporters reach that address, if otherwise
    #[arg(long, value_name = "HOST:PORT")]
    pub endpoint: Option<Endpoint>,
    /// Keep leases in memory only; tokens stay good in any case
    #[arg(long)]
    pub no_state: bool,
    /// Start no exporters, whatever lab.toml says
    #[arg(long)]
    pub no_run: bool,
    /// Have streams pass another router, which is tried first; its key is read from the environment, ROUTER_KEY
    #[arg(long, value_name = "HOST:PORT")]
    pub router: Option<Endpoint>,
    /// PEM file with the certificates by which clients and exporters trust that router
    #[arg(long, value_name = "FILE", requires = "router")]
    pub router_ca: Option<PathBuf>,
    /// Start so many routers, which find each other over NATS, and send the two sides of each stream to different ones
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16), conflicts_with = "router")]
    pub routers: u16,
    /// The NATS server to start for several routers, instead of nats-server on the PATH
    #[arg(long, value_name = "PROGRAM")]
    pub nats_server: Option<PathBuf>,
    /// Set any key of the router's configuration, such as pairing.timeout=60s; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Which log lines to write
    #[arg(
        long,
        value_name = "DIRECTIVES",
        default_value = "warn,jumpstarter_router::lab=info,jumpstarter_router::cli::lab=info"
    )]
    pub log_filter: String,
    /// Be the process that ends the exporters of this run of the lab when that is gone
    #[arg(long = keeper::OPTION, value_name = "ID", hide = true)]
    pub keeper: Option<String>,
}

/// Runs the lab. Exit code 0 when it was stopped, 78 for a wrong lab.toml or setting, 1 for anything else.
pub(crate) fn run(args: LabArgs, env: Vec<(String, OsString)>) -> Result<(), Failure> {
    if let Some(id) = &args.keeper {
        let run = Run::of(id).ok_or_else(|| Failure::new(Exit::Usage, "--keeper needs an id"))?;
        return Ok(keeper::be(run)?);
    }
    log::init(LogFormat::Auto, &args.log_filter).map_err(Failure::broken)?;
    let run = !args.no_run;
    let options = options(args, env)?;
    let runtime = Runtime::new()?;
    let ended = runtime.block_on(Box::pin(serve(options, run)));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

fn options(args: LabArgs, env: Vec<(String, OsString)>) -> Result<Options, Failure> {
    let router = match args.router {
        None => None,
        Some(endpoint) => {
            let key = variable(KEY_ENV, &env).unwrap_or_default();
            if without_newline(key.as_bytes()).is_empty() {
                let why = "--router needs the key of that router in the environment, as ROUTER_KEY";
                return Err(Failure::new(Exit::Usage, why));
            }
            Some(Routing::new(vec![endpoint.to_string()], Secret::new(key)))
        }
    };
    Ok(Options {
        folder: args.folder,
        listen: args.listen,
        endpoint: args.endpoint,
        keep: !args.no_state,
        router,
        router_ca: args.router_ca,
        routers: args.routers,
        nats_server: args.nats_server,
        env,
        overrides: overrides(&args.set)?,
    })
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        let exit = match error {
            LabError::Folder(FolderError::Settings(_) | FolderError::NoLine { .. })
            | LabError::External(ExternalError::Certificates(_))
            | LabError::Router(_)
            | LabError::Own { .. }
            | LabError::Port
            | LabError::Endpoint(_) => Exit::Config,
            LabError::External(ExternalError::Refused { .. }) => Exit::Refused,
            LabError::External(_) => Exit::Unreachable,
            _ => Exit::Broken,
        };
        Self::of(exit, &error)
    }
}

async fn serve(options: Options, run: bool) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let env = options.env.clone();
    let mut lab = Box::pin(Lab::start(options)).await?;
    let banner = Banner {
        lab: &lab,
        run,
        jmp: exporters::jmp(),
        around: proxy::around(&env, lab.routers().map(|(endpoint, _)| endpoint)),
        env: &env,
    };
    let mut text = Vec::new();
    banner.write(&mut text)?;
    out::aside(text);
    let stop = CancellationToken::new();
    let mut running = Running::default();
    if banner.runs_exporters() {
        running.start(&lab, &banner.around, &stop);
    }
    let router_failed = lab.router_failed();
    let ended = tokio::select! {
        signal = signals.wait() => {
            tracing::info!("the lab stops ({signal})");
            Ok(())
        }
        error = lab.failed() => {
            // Now, and not when all have said goodbye.
            out::report(&Failure::broken(error));
            Err(Failure::silent(Exit::Broken))
        }
        () = router_failed => Err(Failure::silent(Exit::Broken)),
    };
    stop.cancel();
    tokio::select! {
        // They say goodbye to the controller.
        () = running.ended() => {}
        // Whoever asks twice does not want to wait. The keeper ends them.
        _ = signals.wait() => {}
    }
    lab.stop().await;
    ended
}

/// Exporters, and the process that ends them if the lab cannot.
#[derive(Default)]
struct Running {
    exporters: JoinSet<()>,
    keeper: JoinSet<()>,
    /// The keeper is needed no more.
    all_ended: CancellationToken,
}

impl Running {
    /// Starts those that lab.toml says.
    fn start(&mut self, lab: &Lab, env: &[(String, String)], stop: &CancellationToken) {
        let run = Run::new();
        let wanted = lab.settings.exporters.iter();
        let wanted: Vec<_> = wanted.filter(|(_, exporter)| exporter.run).collect();
        if !wanted.is_empty() {
            let keeper = keeper::have(run.clone(), self.all_ended.clone());
            self.keeper.spawn(keeper);
        }
        for (name, _) in wanted {
            let exporter = Exporter {
                name: name.clone(),
                config: lab.folder.config(&Holder::new(Kind::Exporter, name)),
                env: env.to_owned(),
                run: run.clone(),
            };
            self.exporters.spawn(exporter.keep_running(stop.clone()));
        }
    }

    /// Waits until all have ended, as they were told to.
    async fn ended(&mut self) {
        while self.exporters.join_next().await.is_some() {}
        self.all_ended.cancel();
        while self.keeper.join_next().await.is_some() {}
    }
}
