//! Stock exporters that the lab starts along with itself, keeps running, and ends with itself.
//!
//! [`mark`] finds the processes of an exporter, its children's children among them, however they were started: all have
//! the mark in their environment. [`keeper`] is a process that ends them when the lab has ended without doing so, because it
//! was killed, say. [`quote`] says why one has ended, [`watched`] when its file has changed, and [`proxy`] keeps proxies
//! away from the lab's own addresses.

pub(crate) mod keeper;
pub(crate) mod mark;
pub(crate) mod proxy;
mod quote;
mod watched;

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    process::{Pid, Signal, kill_process, kill_process_group},
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{mark::Mark, watched::Watched};
use crate::common::backoff::Backoff;

/// The stock command.
const JMP: &str = "jmp";

/// How often to look whether an exporter of an earlier lab is gone.
const LOOK: Duration = Duration::from_millis(500);

/// The first pause before an exporter that has ended is started again. It doubles from one to the next.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// One that has run for so long was well, and the pauses begin anew.
const WELL: Duration = Duration::from_secs(60);

/// So was one that has run for so long and ended in order: those of Jumpstarter 0.6 do after each lease.
const IN_ORDER: Duration = Duration::from_secs(5);

/// Finds `jmp`.
pub(crate) fn jmp() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(JMP))
        .find(|program| program.is_file())
}

/// An exporter that is to run.
pub(crate) struct Exporter {
    /// Its name.
    pub name: String,
    /// Its configuration file.
    pub config: PathBuf,
    /// Variables of the environment that it gets beside the lab's own.
    pub env: Vec<(String, String)>,
    /// The run of the lab that it belongs to.
    pub run: mark::Run,
}

/// How a run of an exporter has ended.
enum Ended {
    /// The lab wants it to.
    Stopped,
    /// Its file has changed.
    Changed,
    /// By itself.
    Itself(ExitStatus),
}

impl Exporter {
    /// Runs it, again and again, until it is to stop.
    pub(crate) async fn keep_running(self, stop: CancellationToken) {
        let mut pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut watched = Watched::new(&self.config).await;
        loop {
            let began = Instant::now();
            let (ended, said) = self.run(&mut watched, &stop).await;
            let pause = match ended {
                Ok(Ended::Stopped) => return,
                Ok(Ended::Changed) => {
                    pauses.reset();
                    continue;
                }
                Ok(Ended::Itself(status)) => {
                    let ran = began.elapsed();
                    if ran >= WELL || (status.success() && ran >= IN_ORDER) {
                        pauses.reset();
                    }
                    let pause = pauses.pause();
                    self.tell_of_end(status, ran, pause, &said);
                    pause
                }
                Err(error) => {
                    let (name, pause) = (&self.name, pauses.pause());
                    let again = humantime::format_duration(pause);
                    tracing::error!(
                        "exporter {name} cannot be started: {error}; it is tried again in {again}"
                    );
                    pause
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = watched.changed() => {
                    self.tell_of_change();
                    pauses.reset();
                }
                () = stop.cancelled() => return,
            }
        }
    }

    /// Runs it once, and gives the last lines of what it said.
    async fn run(
        &self,
        watched: &mut Watched,
        stop: &CancellationToken,
    ) -> (io::Result<Ended>, String) {
        let path = log(&self.config);
        let log = tokio::select! {
            log = self.own(&path) => log,
            () = stop.cancelled() => return (Ok(Ended::Stopped), String::new()),
        };
        let log = match log {
            Ok(log) => log,
            Err(error) => return (Err(error), String::new()),
        };
        let from = log.metadata().map_or(0, |metadata| metadata.len());
        let mut child = match self.start(log) {
            Ok(child) => child,
            Err(error) => return (Err(error), String::new()),
        };
        let ended = tokio::select! {
            ended = child.wait() => ended.map(Ended::Itself),
            () = watched.changed() => {
                self.tell_of_change();
                Ok(Ended::Changed)
            }
            () = stop.cancelled() => Ok(Ended::Stopped),
        };
        let said = quote::last_lines(&path, from);
        // What it leaves behind would be in the way of the next.
        self.end(child).await;
        (ended, said)
    }

    /// Opens the log, locked. The lock goes to the exporter along with the file, and is free when its last process is gone.
    async fn own(&self, path: &Path) -> io::Result<File> {
        let mut told = false;
        // One that has closed its log may have the hardware all the same.
        self.end_of_earlier_labs().await;
        loop {
            let mut options = OpenOptions::new();
            let log = options.create(true).append(true).mode(0o600).open(path)?;
            match flock(&log, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(log),
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(error.into()),
            }
            // It may have started another process meanwhile.
            if !self.end_of_earlier_labs().await && !told {
                told = true;
                let (name, log) = (&self.name, path.display());
                tracing::warn!(
                    "another process writes to {log}, so exporter {name} is not started beside it; it is, when that is gone"
                );
            }
            sleep(LOOK).await;
        }
    }

    /// Ends what earlier labs in this directory have left, and tells whether there was any.
    async fn end_of_earlier_labs(&self) -> bool {
        let marks = mark::earlier(&self.run, &self.config);
        let found = !marks.is_empty();
        for mark in marks {
            let name = &self.name;
            tracing::warn!("exporter {name} of an earlier lab still runs, and is ended");
            mark.end().await;
        }
        found
    }

    fn start(&self, log: File) -> io::Result<Child> {
        let (name, value) = self.mark().variable();
        Command::new(JMP)
            .args(["run", "--exporter-config"])
            .arg(&self.config)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env(name, value)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C in the terminal is for the lab, which then ends its exporters.
            .process_group(0)
            .spawn()
    }

    /// Ends it, if it runs, and whatever it has started.
    async fn end(&self, mut child: Child) {
        if let Some(leader) = pid(&child) {
            // It says goodbye to the controller, and ends its own. An error means that it is gone.
            let _ = kill_process(leader, Signal::TERM);
            let _ = timeout(mark::LAST_WORDS, child.wait()).await;
        }
        self.mark().end().await;
        if let Some(leader) = pid(&child) {
            let _ = kill_process_group(leader, Signal::KILL);
            let _ = child.wait().await;
        }
    }

    fn mark(&self) -> Mark {
        Mark::new(&self.run, &self.config)
    }

    fn tell_of_change(&self) {
        let (name, file) = (&self.name, self.config.display());
        tracing::info!("{file} has changed, so exporter {name} is started with it");
    }

    fn tell_of_end(&self, status: ExitStatus, ran: Duration, pause: Duration, said: &str) {
        let (name, again) = (&self.name, humantime::format_duration(pause));
        let ran = humantime::format_duration(Duration::from_secs(ran.as_secs()));
        let log = log(&self.config);
        let log = log.display();
        if status.success() {
            tracing::info!(%log, "exporter {name} has ended after {ran}, in order; it is started again in {again}");
        } else if said.is_empty() {
            tracing::error!(%log, "exporter {name} has ended after {ran} ({status}) without a word; it is started again in {again}");
        } else {
            tracing::error!(%log, "exporter {name} has ended after {ran} ({status}), and said at last: {said}; it is started again in {again}");
        }
    }
}

/// Gives the number of a process that has not been waited for, so that nobody else can have it.
fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(child.id()?.cast_signed())
}

/// Says where an exporter's output goes: beside its configuration file.
pub(crate) fn log(config: &Path) -> PathBuf {
    config.with_extension("log")
}
