//! Stock exporters that the lab starts along with itself.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    process::{Pid, Signal, kill_process},
};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The stock command.
const JMP: &str = "jmp";

/// How long an exporter may take to stop.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How often to look whether an exporter of an earlier lab is gone.
const LOOK: Duration = Duration::from_millis(500);

/// Tells whether `jmp` can be found.
pub(crate) fn installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(JMP).is_file())
}

/// Says where an exporter's output goes: beside its configuration file.
pub(crate) fn log(config: &Path) -> PathBuf {
    config.with_extension("log")
}

/// Runs an exporter with this configuration file until it ends by itself, or is to stop: then `None`.
///
/// # Errors
///
/// It cannot be started.
pub(crate) async fn run(config: &Path, stop: CancellationToken) -> io::Result<Option<ExitStatus>> {
    let path = log(config);
    let log = tokio::select! {
        log = own(&path) => log?,
        () = stop.cancelled() => return Ok(None),
    };
    let mut child = start(config, log)?;
    tokio::select! {
        ended = child.wait() => ended.map(Some),
        () = stop.cancelled() => {
            end(&mut child).await;
            Ok(None)
        }
    }
}

/// Opens the log, locked. The lock goes to the exporter along with the file, and is free when its last process is gone: if a
/// lab was killed, its exporters go on, and a second of the same name would take turns with the first.
async fn own(path: &Path) -> io::Result<File> {
    let mut told = false;
    loop {
        let log = OpenOptions::new().create(true).append(true).open(path)?;
        match flock(&log, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(log),
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
        if !told {
            told = true;
            tracing::warn!(log = %path.display(), "an exporter of an earlier lab still runs, and is left to it");
        }
        sleep(LOOK).await;
    }
}

fn start(config: &Path, log: File) -> io::Result<Child> {
    Command::new(JMP)
        .args(["run", "--exporter-config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // A Ctrl-C in the terminal is for the lab, which then ends its exporters.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

async fn end(child: &mut Child) {
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let Some(pid) = pid {
        // An error means that it is gone.
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(LAST_WORDS, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
