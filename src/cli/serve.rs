//! `serve`: runs the router until it is told to stop.

use std::{ffi::OsString, io, process::ExitCode};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use super::{args::ConfigArgs, check::EX_CONFIG, fail, notify::Notify};
use crate::{
    config::{self, Config, Loaded, LogFormat},
    observe::log,
    server::Server,
};

/// Runs the router. Exit code 0 after a drain, 78 for a wrong configuration, 1 for anything else.
pub fn run(args: &ConfigArgs, env: Vec<(String, OsString)>) -> ExitCode {
    let sources = match args.sources(env) {
        Ok(sources) => sources,
        Err(usage) => usage.exit(),
    };
    let Loaded {
        config, warnings, ..
    } = match config::load(&sources) {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in &problems {
                eprintln!("error: {problem}");
            }
            return ExitCode::from(EX_CONFIG);
        }
    };
    let format = match config.log.format {
        LogFormat::Auto => log::LogFormat::Auto,
        LogFormat::Json => log::LogFormat::Json,
        LogFormat::Text => log::LogFormat::Text,
    };
    if let Err(error) = log::init(format, config.log.filter.as_str()) {
        return fail(&error);
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let notify = Notify::new(&sources.env);
    let runtime = match runtime(&config) {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let code = runtime.block_on(serve(&config, &notify));
    // A task that is stuck in a system call must not hold up the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    code
}

fn runtime(config: &Config) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = config.runtime.worker_threads {
        builder.worker_threads(threads as usize);
    }
    builder.enable_all().thread_name("router").build()
}

/// SIGTERM and SIGINT.
struct Stop {
    term: Signal,
    int: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

async fn serve(config: &Config, notify: &Notify) -> ExitCode {
    // Before anything else: as process 1 of a container, signals without a handler are ignored.
    let mut stop = match Stop::new() {
        Ok(stop) => stop,
        Err(error) => return fail(&error),
    };
    tracing::info!(
        version = crate::VERSION,
        git_commit = crate::COMMIT,
        "Jumpstarter Router starting"
    );
    let server = match Server::start(config).await {
        Ok(server) => server,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    tracing::info!(
        address = %server.address,
        health = server.health_address.map(tracing::field::display),
        metrics = server.metrics_address.map(tracing::field::display),
        endpoint = %config.listen.endpoint,
        tls = if config.tls.plaintext { "off" } else if server.self_signed { "self-signed" } else { "given certificate" },
        tls_provider = %server.provider,
        "serving"
    );
    notify.ready();
    let signal = stop.wait().await;
    notify.stopping();
    let timeout = config.drain.timeout;
    tracing::info!(
        signal,
        streams = server.router().streams(),
        "draining for at most {timeout:?}; a second signal ends now"
    );
    tokio::select! {
        drained = server.drain(timeout) => {
            tracing::info!(ended_at_deadline = drained.ended, "stopped");
            ExitCode::SUCCESS
        }
        signal = stop.wait() => {
            tracing::warn!(signal, "second signal: stopped without waiting");
            ExitCode::FAILURE
        }
    }
}
