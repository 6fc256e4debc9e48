//! `serve`: runs the router until it is told to stop.

use std::{convert::Infallible, ffi::OsString, future, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::interval,
};

use super::{
    config_args::ConfigArgs,
    exit::{Exit, Failure, workers},
    stop::Stop,
};
use crate::{
    config::{self, Config, Loaded, Sources},
    observe::{
        log::{self, LogHandle},
        notify::{self, Notify},
    },
    reload::Reloader,
    server::{
        Server, StartError,
        listeners::{HandedOver, NAMES_ENV},
        open_files::Shortage,
    },
};

/// Runs the router. Exit code 0 after a drain, 78 for what stays wrong until somebody changes it, 1 for anything else.
pub(crate) fn run(args: &ConfigArgs, env: Vec<(String, OsString)>) -> Result<(), Failure> {
    let sources = args.sources(env)?;
    let loaded = match config::load(&sources) {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in problems.all() {
                log::say(&format!("error: {problem}"));
            }
            return Err(Failure::silent(Exit::Config));
        }
    };
    let config = &loaded.config;
    let log = log::init(config.log.format, config.log.filter.as_str()).map_err(Failure::broken)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    // While there is no other thread.
    let names = sources.env.iter().find(|(name, _)| name == NAMES_ENV);
    let handed_over = HandedOver::take(names.map(|(_, names)| &**names))
        .map_err(|error| cannot_start(&error.into()))?;
    let runtime = workers("router", config.runtime.worker_threads).build()?;
    let ended = runtime.block_on(async {
        #[cfg(feature = "otel")]
        let traces = crate::observe::traces::start().unwrap_or_else(|error| {
            tracing::warn!(%error, "no spans will be sent; look at OTEL_EXPORTER_OTLP_ENDPOINT");
            None
        });
        let ended = Box::pin(serve(sources, loaded, log, handed_over)).await;
        #[cfg(feature = "otel")]
        if let Some(traces) = traces {
            traces.stop();
        }
        ended
    });
    // A task that is stuck in a system call must not hold up the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn serve(
    sources: Sources,
    loaded: Loaded,
    log: LogHandle,
    handed_over: HandedOver,
) -> Result<(), Failure> {
    let notify = Notify::new(&sources.env);
    let watchdog = notify::watchdog(&sources.env);
    // Before anything else: as process 1 of a container, signals without a handler are ignored, and elsewhere SIGHUP
    // would end the process.
    let (stop, hangups) = (Stop::new()?, signal(SignalKind::hangup())?);
    tracing::info!(
        version = crate::VERSION,
        git_commit = crate::COMMIT,
        "Jumpstarter Router starting"
    );
    let config = &loaded.config;
    let server = Server::start_with(handed_over, config, |_| {}).await;
    let server = server.map_err(|error| cannot_start(&error))?;
    server.live().show(&loaded, &loaded);
    tracing::info!(
        address = %server.address,
        health = server.health_address.map(tracing::field::display),
        metrics = server.metrics_address.map(tracing::field::display),
        admin = server.admin_address.map(tracing::field::display),
        endpoint = %config.listen.endpoint,
        tls = if config.tls.plaintext { "off" } else if server.self_signed { "self-signed" } else { "given certificate" },
        tls_provider = %server.provider,
        "serving"
    );
    if let Some(shortage) = Shortage::of(config) {
        tracing::warn!("{shortage}");
    }
    notify.ready();
    let reloader = Reloader::new(sources, loaded, server.live().clone(), log);
    let config = reloader.current();
    // The configuration can change until the very end: the drain may take hours.
    tokio::select! {
        ended = run_until_stopped(server, stop, &config, &notify) => ended,
        never = reloader.run(hangups, &notify) => match never {},
        never = stay_alive(&notify, watchdog) => match never {},
    }
}

/// Says why, with the exit code that tells whether trying again is of any use.
fn cannot_start(error: &StartError) -> Failure {
    match error {
        StartError::Live(errors) => {
            for error in errors.all() {
                tracing::error!(%error, "cannot start");
            }
        }
        error => tracing::error!(%error, "cannot start"),
    }
    Failure::silent(if error.is_lasting() {
        Exit::Config
    } else {
        Exit::Broken
    })
}

/// Tells the service manager that the workers still work: each time one of them has to run a task.
async fn stay_alive(notify: &Notify, within: Option<Duration>) -> Infallible {
    let Some(within) = within else {
        return future::pending().await;
    };
    let mut ticks = interval(within / 3);
    loop {
        ticks.tick().await;
        // Fails only if the runtime is being shut down.
        if tokio::spawn(async {}).await.is_ok() {
            notify.alive();
        }
    }
}

async fn run_until_stopped(
    server: Server,
    mut stop: Stop,
    config: &ArcSwap<Config>,
    notify: &Notify,
) -> Result<(), Failure> {
    let signal = tokio::select! {
        // A router that has failed also stands where the drain was asked for.
        biased;
        () = server.failed() => return failed(),
        signal = stop.wait() => signal,
        () = server.drain_asked() => "administrator",
    };
    notify.stopping();
    let drain = config.load().drain.clone();
    if !drain.lame_duck.is_zero() {
        let left = drain.lame_duck + drain.timeout;
        server.become_lame_duck(left).await;
        tracing::info!(
            signal,
            streams = server.router().streams.count(),
            "lame duck for {:?}: not ready, but still serving; a second signal ends now",
            drain.lame_duck
        );
        tokio::select! {
            () = server.lame_duck(drain.lame_duck) => {}
            () = server.failed() => return failed(),
            signal = stop.wait() => return stopped_at_once(signal),
        }
    }
    let timeout = config.load().drain.timeout;
    tracing::info!(
        signal,
        streams = server.router().streams.count(),
        "draining for at most {timeout:?}; a second signal ends now"
    );
    tokio::select! {
        drained = server.drain(timeout) => {
            tracing::info!(ended_at_deadline = drained.ended, "stopped");
            Ok(())
        }
        signal = stop.wait() => stopped_at_once(signal),
    }
}

fn failed() -> Result<(), Failure> {
    tracing::error!(
        "stopped by a defect of the router; start it again, and report the panic above"
    );
    Err(Failure::silent(Exit::Broken))
}

fn stopped_at_once(signal: &str) -> Result<(), Failure> {
    tracing::warn!(signal, "second signal: stopped without waiting");
    Err(Failure::silent(Exit::Broken))
}
