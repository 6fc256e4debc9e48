//! A router as an operator has it: a process with a configuration file, files in mounted directories, metrics, and
//! traffic that must go on whatever is done to it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::{
    KEY, LONG, Pair,
    process::{self, Process, get},
    until, within,
};

/// Replaces a file as a whole.
pub fn replace(path: &Path, text: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

pub struct Operated {
    pub process: Process,
    pub address: String,
    pub health: String,
    dir: TempDir,
}

impl Operated {
    /// Starts it with a file of this text. The file is looked at often.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &[("reload.interval", "50ms")])
    }

    /// Without looks, so that only signals count.
    pub fn start_signalled(config: &str) -> Self {
        Self::start_with(config, &[("reload.interval", "0s")])
    }

    pub fn start_with(config: &str, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        fs::write(&file, config).unwrap();
        let mut command = process::command();
        command.arg("--config").arg(&file);
        let first = [
            ("listen.address", "127.0.0.1:0"),
            ("listen.health_address", "127.0.0.1:0"),
            ("listen.admin_address", "0"),
        ];
        for (key, value) in first.iter().chain(settings) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let mut process = Process::start(command);
        let line = process.line("serving");
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        Self {
            address: text("address"),
            health: text("health"),
            process,
            dir,
        }
    }

    /// A configuration with the usual key, and more.
    pub fn with_key(more: &str) -> String {
        format!("auth.key = \"{KEY}\"\n{more}")
    }

    pub fn rewrite(&self, config: &str) {
        replace(&self.file(), config);
    }

    pub fn file(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    pub fn metrics(&self) -> String {
        get(&self.health, "/metrics")
    }

    /// The value of a series, named without the prefix; `None` if there is none.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let all = self.metrics();
        let line = all.lines().find_map(|line| {
            let rest = line.strip_prefix("jumpstarter_router_")?;
            rest.strip_prefix(name)?.strip_prefix(' ')
        });
        line.map(|value| value.parse().unwrap())
    }

    /// Waits until a series has this value.
    pub fn metric_becomes(&self, name: &str, value: Option<f64>) {
        let start = Instant::now();
        while self.metric(name) != value {
            let waited = start.elapsed() < LONG;
            assert!(waited, "{name} is {:?}, not {value:?}", self.metric(name));
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A Secret as Kubernetes mounts it: `..data` is a link to a directory with a version's files, every file a link into
/// `..data`, and an update replaces the link.
pub struct Mount {
    dir: TempDir,
    version: u32,
}

impl Mount {
    pub fn new(files: &[(&str, &[u8])]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Self { dir, version: 0 };
        mount.update(files);
        mount
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// In the order of the kubelet: all files of the new version, the link, links for new names, old names, the old
    /// version.
    pub fn update(&mut self, files: &[(&str, &[u8])]) {
        let old = self.file(&format!("..v{}", self.version));
        self.version += 1;
        let version = format!("..v{}", self.version);
        fs::create_dir(self.file(&version)).unwrap();
        for (name, text) in files {
            fs::write(self.file(&version).join(name), text).unwrap();
        }
        symlink(&version, self.file("..data_tmp")).unwrap();
        fs::rename(self.file("..data_tmp"), self.file("..data")).unwrap();
        for (name, _) in files {
            if !self.file(name).is_symlink() {
                symlink(Path::new("..data").join(name), self.file(name)).unwrap();
            }
        }
        for entry in fs::read_dir(self.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.starts_with("..") && files.iter().all(|(file, _)| *file != name) {
                fs::remove_file(self.file(&name)).unwrap();
            }
        }
        if old.exists() {
            fs::remove_dir_all(old).unwrap();
        }
    }
}

/// Messages back and forth on a pair, without a pause longer than a few milliseconds. A lost stream fails the test.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU32>,
    task: JoinHandle<Pair>,
}

impl Traffic {
    pub fn on(mut pair: Pair) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU32::new(0));
        let (stopped, counted) = (stop.clone(), count.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                pair.ping_pong().await;
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            pair
        });
        Self { stop, count, task }
    }

    /// Waits until messages sent from now on have passed.
    pub async fn goes_on(&self) {
        let before = self.count.load(Ordering::Relaxed);
        until("traffic goes on", || {
            assert!(!self.task.is_finished(), "a stream was lost");
            self.count.load(Ordering::Relaxed) >= before + 2
        })
        .await;
    }

    pub async fn finish(self) -> Pair {
        self.goes_on().await;
        self.stop.store(true, Ordering::Relaxed);
        within("the last message", self.task).await.unwrap()
    }
}
