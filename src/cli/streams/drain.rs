//! Drains a router, and follows it to its end.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    admin::api::status::{Process, Status},
    cli::{
        admin_client::{AdminError, Client, named},
        exit::{Exit, Failure},
        print,
        status_line::StatusLine,
    },
    common::procfs,
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// By so much the start that the system tells may differ from the one that the router does.
const START: Duration = Duration::from_secs(10);

/// Drains the router that answers first.
pub(super) async fn run(mut client: Client, wait: bool) -> Result<(), Failure> {
    // It names its process, so that none but this one is asked, and that its end is known from that of others.
    let status: Status = client.get("/api/status").await?;
    let here = Here::find(&status.process);
    client.post("/api/drain").await?;
    let router = named(&status.process);
    print(format!("{router} drains: new streams are refused\n"))?;
    if !wait {
        return Ok(());
    }
    let mut line = StatusLine::new();
    follow(&mut client, &status, here.as_ref(), &mut line).await?;
    drop(line);
    print(format!("{router} has stopped\n"))
}

/// Waits until it has stopped. Where several share its address it leaves that to the others at once, and can be followed only
/// on its own machine.
async fn follow(
    client: &mut Client,
    before: &Status,
    here: Option<&Here>,
    line: &mut StatusLine,
) -> Result<(), Failure> {
    let mut silent = false;
    loop {
        let told = client.get::<Status>("/api/status").await;
        if here.is_some_and(|here| !here.is_running()) {
            return Ok(());
        }
        match told {
            Ok(status) => {
                silent = false;
                line.show(format_args!("{} pairs left", status.pairs));
            }
            Err(AdminError::Unreachable(..) | AdminError::Elsewhere { .. }) if here.is_some() => {
                line.show("it still runs, and does not answer there any more");
            }
            // If another one answers after a silence, the address was not shared: this one has stopped.
            Err(AdminError::Unreachable(..) | AdminError::Elsewhere { .. }) if silent => {
                return Ok(());
            }
            Err(AdminError::Unreachable(..)) => silent = true,
            Err(error @ AdminError::Elsewhere { .. }) => {
                return Err(Failure::new(
                    Exit::Broken,
                    format_args!(
                        "{error}: it has left that address to others, or stopped; it runs until its {} pairs are over, \
                         and that cannot be seen from another machine",
                        before.pairs
                    ),
                ));
            }
            Err(error) => return Err(error.into()),
        }
        sleep(PAUSE).await;
    }
}

/// A process on this machine, in whatever part of it this program sees.
#[derive(Debug)]
struct Here {
    process: procfs::Process,
    started: Duration,
}

impl Here {
    /// Finds the process of a router. Its number alone may be that of another one, as in another container.
    fn find(router: &Process) -> Option<Self> {
        if router.id.is_empty() {
            return None;
        }
        let process = procfs::Process::of(router.pid);
        let started = process.started()?;
        let told = Duration::from_millis(router.started_unix_ms);
        (started.abs_diff(told) < START).then_some(Self { process, started })
    }

    /// Tells whether it is there still, and no other process in its place. One that has ended and waits for its parent to
    /// notice has no memory.
    fn is_running(&self) -> bool {
        let is_same = self.process.started() == Some(self.started);
        is_same && self.process.resident().is_some_and(|(all, _)| all > 0)
    }
}
