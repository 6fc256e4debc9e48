//! A NATS server that the lab starts for its routers, and that ends with it.
//!
//! Nothing is asked of the system for that which a lab that is killed could not do any more: a shell between the two waits
//! for the end of a pipe that the lab holds open, ends the server then, and tidies up.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;
use tokio::{
    process::{Child, ChildStdin, Command},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::folder;

/// The command, as it is called by those who package it.
const NATS: &str = "nats-server";

/// How long the server may take to listen.
const START: Duration = Duration::from_secs(10);

/// How long it may take to stop.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How often to look whether it listens.
const LOOK: Duration = Duration::from_millis(10);

/// Runs `$0 --config ...` until it ends by itself or standard input does, then removes the directory `$1`.
///
/// The second process in the background is the one that waits for the end of standard input.
const SCRIPT: &str = r#"
PATH=$PATH:/usr/bin:/bin
exec 3<&0 </dev/null
"$0" --addr 127.0.0.1 --port -1 --ports_file_dir "$1" --config "$1/nats.conf" 3<&- & server=$!
{ read -r _ <&3; kill "$server"; } 2>/dev/null &
exec 3<&-
wait "$server"
status=$?
rm -rf "$1"
exit "$status"
"#;

/// Why there is no NATS server.
#[derive(Debug, Error)]
pub enum NatsError {
    /// None is installed.
    #[error(
        "several routers need a NATS server, and nats-server is not on the PATH: install it (apt install nats-server, \
         brew install nats-server, or https://nats.io/download), or name it with --nats-server"
    )]
    Missing,
    /// The one that was named is not there.
    #[error("--nats-server {path}: there is no such file", path = .0.display())]
    NoFile(PathBuf),
    /// It cannot be started.
    #[error("cannot start a NATS server: {0}")]
    Start(#[from] io::Error),
    /// It is gone before it has begun.
    #[error("the NATS server has ended ({status}); {log} says why", log = .log.display())]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it has written.
        log: PathBuf,
    },
    /// It does not listen.
    #[error("the NATS server does not listen; {log} may say why", log = .0.display())]
    Silent(PathBuf),
}

/// Finds the program: the one that was named, or the one on the PATH.
pub(crate) fn find(named: Option<&Path>) -> Result<PathBuf, NatsError> {
    if let Some(path) = named {
        // A shell with another directory would not find it.
        let found = fs::canonicalize(path).ok().filter(|path| path.is_file());
        return found.ok_or_else(|| NatsError::NoFile(path.to_owned()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(NATS))
        .find(|program| program.is_absolute() && program.is_file())
        .ok_or(NatsError::Missing)
}

/// A NATS server on loopback, with a token that only the lab's routers have.
#[derive(Debug)]
pub(crate) struct Nats {
    /// Where it listens.
    pub url: String,
    folder: Temporary,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Nats {
    /// Starts it, and waits until it listens. `log` gets what it writes.
    pub(crate) async fn start(program: &Path, log: &Path) -> Result<Self, NatsError> {
        let folder = Temporary::new()?;
        let token = folder::random().map_err(|_| io::Error::other("no random bytes"))?;
        let token = URL_SAFE_NO_PAD.encode(token);
        folder.write("token", &token)?;
        let config = format!("authorization {{ token: \"{token}\" }}\n");
        folder.write("nats.conf", &config)?;
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        let mut process = Process::spawn(program, &folder.0, file)?;
        let began = timeout(START, async {
            loop {
                if let Some(url) = folder.url() {
                    return Ok(url);
                }
                if let Some(status) = process.child.try_wait()? {
                    let log = log.to_owned();
                    return Err(NatsError::Ended { status, log });
                }
                sleep(LOOK).await;
            }
        });
        let url = began
            .await
            .unwrap_or_else(|_| Err(NatsError::Silent(log.to_owned())))?;
        let stop = CancellationToken::new();
        let running = tokio::spawn(watch(process, stop.clone(), log.to_owned()));
        Ok(Self {
            url,
            folder,
            stop,
            running,
        })
    }

    /// Says which file lets a router in.
    pub(crate) fn credentials(&self) -> PathBuf {
        self.folder.0.join("token")
    }

    /// Stops it, and waits until it is gone.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.running.await;
    }
}

/// Tells of an end that nobody asked for.
async fn watch(mut process: Process, stop: CancellationToken, log: PathBuf) {
    tokio::select! {
        ended = process.child.wait() => match ended {
            Ok(status) => {
                let log = log.display();
                tracing::error!(%status, %log, "the NATS server has ended, so streams at different routers do not meet");
            }
            Err(error) => tracing::error!(%error, "the NATS server is lost"),
        },
        () = stop.cancelled() => process.end().await,
    }
}

/// The shell and the server.
struct Process {
    child: Child,
    /// The server lasts no longer than this.
    hold: Option<ChildStdin>,
}

impl Process {
    fn spawn(program: &Path, folder: &Path, log: File) -> io::Result<Self> {
        let mut child = Command::new("/bin/sh")
            .args([OsStr::new("-c"), OsStr::new(SCRIPT)])
            .args([program, folder])
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C in the terminal is for the lab.
            .process_group(0)
            .spawn()?;
        // Waiting for the child would close it.
        let hold = child.stdin.take();
        Ok(Self { child, hold })
    }

    async fn end(&mut self) {
        self.hold = None;
        if timeout(LAST_WORDS, self.child.wait()).await.is_ok() {
            return;
        }
        // One that was paused cannot end by itself.
        let group = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait().await;
    }
}

/// A directory that is removed after use.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> io::Result<Self> {
        let name = format!("jumpstarter-lab-{}", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        // Somebody else's is not taken.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(self.0.join(name))?;
        file.write_all(text.as_bytes())
    }

    /// Reads where the server listens, once it has written that.
    fn url(&self) -> Option<String> {
        let mut files = fs::read_dir(&self.0).ok()?.flatten();
        let file = files
            .find(|file| Path::new(&file.file_name()).extension() == Some(OsStr::new("ports")))?;
        let text = fs::read(file.path()).ok()?;
        let ports: serde_json::Value = serde_json::from_slice(&text).ok()?;
        Some(ports["nats"][0].as_str()?.to_owned())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // The shell may have been quicker.
        let _ = fs::remove_dir_all(&self.0);
    }
}
