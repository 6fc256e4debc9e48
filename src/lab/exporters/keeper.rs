//! A process that outlives the lab for a moment: when the lab has ended, however it did, it ends what is left of its exporters.
//!
//! It reads from a pipe that the lab never writes to. Whatever way the lab ends, the pipe does.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::mark::{LAST_WORDS, Mark, Run};

/// The option of `lab` by which the lab starts itself as its keeper.
pub(crate) const OPTION: &str = "keeper";

/// How long to wait before another one is started.
const PAUSE: Duration = Duration::from_secs(1);

/// Is the keeper: waits until the lab is gone, and ends its exporters.
///
/// # Errors
///
/// There is no runtime.
pub(crate) fn be(run: Run) -> io::Result<()> {
    // An error is as good as the end.
    let _ = io::stdin().lock().read_to_end(&mut Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    runtime.block_on(Mark::all(run).end());
    Ok(())
}

/// Has a keeper for this run until the lab stops.
pub(crate) async fn have(run: Run, stop: CancellationToken) {
    loop {
        let mut keeper = match start(&run) {
            Ok(keeper) => keeper,
            Err(error) => {
                tracing::warn!(%error, "if the lab is killed, its exporters go on until its next start");
                return stop.cancelled().await;
            }
        };
        // Waiting for the child would close it.
        let hold = keeper.stdin.take();
        tokio::select! {
            _ = keeper.wait() => tracing::warn!("the process that ends the exporters if the lab is killed was ended; it is started again"),
            () = stop.cancelled() => {
                drop(hold);
                let _ = timeout(LAST_WORDS * 2, keeper.wait()).await;
                return;
            }
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn start(run: &Run) -> io::Result<Child> {
    Command::new(program()?)
        // What lists of processes show.
        .arg0(env!("CARGO_PKG_NAME"))
        .arg("lab")
        .arg(format!("--{OPTION}={}", run.id()))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // The signals of the terminal are for the lab.
        .process_group(0)
        .spawn()
}

/// Says which program this is. It may have been replaced by another since it was started.
fn program() -> io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return Ok(running.to_owned());
    }
    std::env::current_exe()
}
