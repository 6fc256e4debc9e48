//! `lab`: runs a router and a controller in memory until it is told to stop.

use std::{
    ffi::OsString,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use tokio::{runtime::Runtime, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    config_args::overrides,
    exit::{Exit, Failure},
    join::credentials::KEY_ENV,
    out,
    stop::Stop,
    variable,
};
use crate::{
    auth::without_newline,
    common::address,
    config::{Endpoint, Secret},
    lab::{
        Lab, LabError, Options, exporters,
        folder::FolderError,
        routers::Routing,
        selector::list,
        tokens::{Holder, Kind},
    },
    observe::log::{self, LogFormat},
};

/// What is needed for an exporter with the drivers that the lab writes down.
const INSTALL: &str =
    "pip install jumpstarter-cli jumpstarter-driver-composite jumpstarter-driver-power";

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
    /// Have streams pass another router; its key is read from the environment, ROUTER_KEY
    #[arg(long, value_name = "HOST:PORT")]
    pub router: Option<Endpoint>,
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
}

/// Runs the lab. Exit code 0 when it was stopped, 78 for a wrong lab.toml or setting, 1 for anything else.
pub(crate) fn run(args: LabArgs, env: Vec<(String, OsString)>) -> Result<(), Failure> {
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
            | LabError::Router(_)
            | LabError::Port
            | LabError::Endpoint(_) => Exit::Config,
            _ => Exit::Broken,
        };
        Self::of(exit, &error)
    }
}

async fn serve(options: Options, run: bool) -> Result<(), Failure> {
    let mut signals = Stop::new()?;
    let mut lab = Box::pin(Lab::start(options)).await?;
    let run = run && exporters::installed();
    let mut banner = Vec::new();
    tell(&lab, run, &mut banner)?;
    out::aside(banner);
    let stop = CancellationToken::new();
    let mut children = JoinSet::new();
    if run {
        start_exporters(&lab, &stop, &mut children);
    }
    let router_failed = lab.router_failed();
    let ended = tokio::select! {
        _ = signals.wait() => Ok(()),
        error = lab.failed() => {
            // Now, and not when all have said goodbye.
            Failure::broken(error).report();
            Err(Failure::silent(Exit::Broken))
        }
        () = router_failed => Err(Failure::silent(Exit::Broken)),
        // Exporters end before the lab only if something is wrong with them; the lab goes on.
        never = async { while children.join_next().await.is_some() {} std::future::pending().await } => never,
    };
    stop.cancel();
    // They say goodbye to the controller.
    while children.join_next().await.is_some() {}
    lab.stop().await;
    ended
}

fn start_exporters(lab: &Lab, stop: &CancellationToken, children: &mut JoinSet<()>) {
    let wanted = lab
        .settings
        .exporters
        .iter()
        .filter(|(_, exporter)| exporter.run);
    for (name, _) in wanted {
        let config = lab.folder.config(&Holder::new(Kind::Exporter, name));
        let (name, stop) = (name.clone(), stop.clone());
        children.spawn(async move {
            let log = exporters::log(&config);
            match exporters::run(&config, stop).await {
                Ok(None) => {}
                Ok(Some(status)) => {
                    tracing::error!(exporter = name, %status, log = %log.display(), "an exporter has ended; its log says why");
                }
                Err(error) => {
                    tracing::error!(exporter = name, %error, "an exporter cannot be started");
                }
            }
        });
    }
}

/// Says what there is, and what to type next.
fn tell(lab: &Lab, run: bool, out: &mut impl Write) -> io::Result<()> {
    let path = lab.folder.path();
    let (clients, exporters) = (&lab.settings.clients, &lab.settings.exporters);
    tell_routers(lab, out)?;
    for name in clients.keys() {
        writeln!(out, "  client    {name}")?;
    }
    for (name, exporter) in exporters {
        let note = if !exporter.enabled {
            ", disabled"
        } else if exporter.run && run {
            ", started"
        } else {
            ""
        };
        writeln!(out, "  exporter  {name} ({}){note}", list(&exporter.labels))?;
    }
    let home = format!("JMP_CLIENT_CONFIG_HOME={}", quoted(path));
    let wanted = exporters.values().any(|exporter| exporter.run);
    if wanted && !exporters::installed() {
        writeln!(out, "\njmp is not on the PATH. To have it:\n  {INSTALL}")?;
    }
    let others = exporters
        .iter()
        .filter(|(_, exporter)| !(exporter.run && run));
    for (at, (name, _)) in others.enumerate() {
        if at == 0 {
            writeln!(out, "\nTo run an exporter, in another terminal:")?;
        }
        writeln!(out, "  {home} jmp run --exporter {name}")?;
    }
    let first = exporters.iter().find(|(_, exporter)| exporter.enabled);
    if let Some((name, exporter)) = first.filter(|_| !clients.is_empty()) {
        let wish = if exporter.labels.is_empty() {
            format!("-n {name}")
        } else {
            format!("-l {}", list(&exporter.labels))
        };
        writeln!(
            out,
            "\nFor a shell on an exporter, in another terminal:\n  {home} jmp shell {wish}"
        )?;
    }
    writeln!(
        out,
        "\nWho takes part is said in {}. Ctrl-C stops the lab.",
        path.join("lab.toml").display()
    )
}

/// Says where controller and routers are.
fn tell_routers(lab: &Lab, out: &mut impl Write) -> io::Result<()> {
    let (path, endpoint) = (lab.folder.path().display(), &lab.endpoint);
    let Some(nats) = lab.nats() else {
        return writeln!(
            out,
            "Jumpstarter lab in {path}, controller and router on {endpoint}"
        );
    };
    let count = lab.others.len() + 1;
    writeln!(
        out,
        "Jumpstarter lab in {path}, controller on {endpoint}, {count} routers, which find each other over {nats}"
    )?;
    for (number, (endpoint, server)) in (1..).zip(lab.routers()) {
        write!(out, "  router {number}  {endpoint}")?;
        match server.admin_address {
            Some(page) => writeln!(out, ", page http://{page}/")?,
            None => writeln!(out)?,
        }
    }
    writeln!(
        out,
        "  each stream is sent to two of them in turn, its client to one and its exporter to the next"
    )
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@".contains(&byte);
    if text.bytes().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_can_be_copied() {
        assert_eq!(quoted(Path::new("/home/me/lab-1")), "/home/me/lab-1");
        assert_eq!(quoted(Path::new("/my lab")), "'/my lab'");
        assert_eq!(quoted(Path::new("/it's")), r"'/it'\''s'");
    }
}
