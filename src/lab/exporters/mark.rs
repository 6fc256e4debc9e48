//! The mark of an exporter's processes: a variable of their environment, which whatever they start inherits.
//!
//! A process that has left its group and its parent still has it, and none has it by chance: it holds an id that is new in each
//! run of the lab. So no list of process ids is needed, which could name somebody else's process after a while.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// The variable: the run of the lab, a colon, and the exporter's configuration file.
const VARIABLE: &str = "JUMPSTARTER_LAB_EXPORTER";

/// How long processes may take to stop.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(5);

/// How often to look whether they have.
const LOOK: Duration = Duration::from_millis(50);

/// So often is looked again for those that came while others were killed.
const ROUNDS: usize = 20;

/// A run of the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run(String);

impl Run {
    /// Begins one.
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4().to_string())
    }

    /// Means the one of this id; `None` if it is no id.
    pub(crate) fn of(id: &str) -> Option<Self> {
        let id = Uuid::parse_str(id).ok()?;
        Some(Self(id.to_string()))
    }

    /// Gives its id.
    pub(crate) fn id(&self) -> &str {
        &self.0
    }
}

/// What processes are marked by: those of one exporter, or of all that a run of the lab has started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    run: Run,
    config: Option<PathBuf>,
}

impl Mark {
    /// Marks an exporter.
    pub(crate) fn new(run: &Run, config: &Path) -> Self {
        Self {
            run: run.clone(),
            config: Some(config.to_owned()),
        }
    }

    /// Means all exporters of a run.
    pub(crate) fn all(run: Run) -> Self {
        Self { run, config: None }
    }

    /// Gives the variable with its value.
    pub(crate) fn variable(&self) -> (&'static str, OsString) {
        let mut value = OsString::from(&self.run.0);
        value.push(":");
        value.push(self.config.as_deref().unwrap_or(Path::new("")));
        (VARIABLE, value)
    }

    /// Ends its processes. They are asked to first, and killed if they do not.
    pub(crate) async fn end(&self) {
        let is_ours = |value: &[u8]| self.is_in(value);
        let mut asked = BTreeSet::new();
        let mut found = find(is_ours);
        let deadline = Instant::now() + LAST_WORDS;
        while !found.is_empty() && Instant::now() < deadline {
            for process in &found {
                // Those below another are left to that one, while it is there.
                let is_on_top = found.iter().all(|other| other.pid != process.parent);
                if is_on_top && asked.insert(process.pid) {
                    process.signal(Signal::TERM, is_ours);
                }
            }
            sleep(LOOK).await;
            found = find(is_ours);
        }
        for _ in 0..ROUNDS {
            if found.is_empty() {
                return;
            }
            for process in &found {
                process.signal(Signal::KILL, is_ours);
            }
            sleep(LOOK).await;
            found = find(is_ours);
        }
    }

    fn is_in(&self, value: &[u8]) -> bool {
        read(value).is_some_and(|found| {
            let same = self.config.is_none() || found.config == self.config;
            found.run == self.run && same
        })
    }
}

/// Finds the marks by which earlier runs of the lab have left processes of this exporter.
pub(crate) fn earlier(run: &Run, config: &Path) -> Vec<Mark> {
    let is_earlier = |mark: &Mark| mark.run != *run && mark.config.as_deref() == Some(config);
    let found = find(|value| read(value).as_ref().is_some_and(is_earlier));
    let mut marks: Vec<Mark> = Vec::new();
    for mark in found.into_iter().map(|process| process.mark) {
        if !marks.contains(&mark) {
            marks.push(mark);
        }
    }
    marks
}

/// Reads a mark.
fn read(value: &[u8]) -> Option<Mark> {
    let colon = value.iter().position(|byte| *byte == b':')?;
    let run = Run::of(std::str::from_utf8(&value[..colon]).ok()?)?;
    let config = OsString::from_vec(value[colon + 1..].to_vec());
    Some(Mark {
        run,
        config: Some(config.into()),
    })
}

/// A process with a mark.
struct Process {
    pid: u32,
    parent: u32,
    mark: Mark,
}

impl Process {
    fn of(pid: u32, wanted: impl Fn(&[u8]) -> bool) -> Option<Self> {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let value = environment
            .split(|byte| *byte == 0)
            .find_map(|entry| entry.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"="))?;
        let mark = read(value).filter(|_| wanted(value))?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command's name may hold anything; what follows does not.
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?;
        Some(Self {
            pid,
            parent: parent.parse().ok()?,
            mark,
        })
    }

    /// Sends it a signal, if it is still the one that was found.
    fn signal(&self, signal: Signal, wanted: impl Fn(&[u8]) -> bool) {
        let Some(pid) = Pid::from_raw(self.pid.cast_signed()) else {
            return;
        };
        // What this names stays the same process, however soon its number is another's.
        #[cfg(target_os = "linux")]
        if let Ok(held) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            if Self::of(self.pid, &wanted).is_some() {
                // An error means that it is gone.
                let _ = rustix::process::pidfd_send_signal(held, signal);
            }
            return;
        }
        if Self::of(self.pid, wanted).is_some() {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Finds processes by the value of their mark. Where the system shows no environments in `/proc`, there are none.
fn find(wanted: impl Fn(&[u8]) -> bool) -> Vec<Process> {
    let own = std::process::id();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            std::str::from_utf8(entry.file_name().as_bytes())
                .ok()?
                .parse()
                .ok()
        })
        .filter(|pid| *pid != own)
        .filter_map(|pid| Process::of(pid, &wanted))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::Command;

    use super::*;

    fn marked(mark: &Mark, script: &str) -> std::process::Child {
        let (name, value) = mark.variable();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).env(name, value);
        command.spawn().unwrap()
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = Mark::new(&Run::new(), Path::new("/a b:c/x.yaml"));
        let (_, value) = mark.variable();
        assert_eq!(read(value.as_bytes()).as_ref(), Some(&mark));
        for odd in ["", ":", "x:/y", "no colon"] {
            assert_eq!(read(odd.as_bytes()), None, "{odd}");
        }
    }

    /// Those that left their parent and close their ears are ended; those of others are not.
    #[cfg(target_os = "linux")]
    #[tokio::test(flavor = "multi_thread")]
    async fn all_with_the_mark_are_ended_and_no_other() {
        let (run, other) = (Run::new(), Run::new());
        let file = Path::new("/lab/x.yaml");
        let mark = Mark::new(&run, file);
        let mut orderly = marked(&mark, "setsid sleep 100 & exit 0");
        orderly.wait().unwrap();
        let mut deaf = marked(&mark, "trap '' TERM; sleep 100; sleep 100");
        let mut foreign = marked(&Mark::new(&other, file), "exec sleep 100");
        assert_eq!(earlier(&run, file), [Mark::new(&other, file)]);
        assert!(earlier(&run, Path::new("/lab/y.yaml")).is_empty());
        let deadline = Instant::now() + LAST_WORDS;
        while find(|value| mark.is_in(value)).len() < 3 {
            assert!(Instant::now() < deadline);
            sleep(LOOK).await;
        }
        let ending = Mark::all(run);
        ending.end().await;
        assert!(find(|value| mark.is_in(value)).is_empty());
        assert!(!deaf.wait().unwrap().success());
        assert_eq!(foreign.try_wait().unwrap(), None);
        Mark::all(other).end().await;
        foreign.wait().unwrap();
    }
}
