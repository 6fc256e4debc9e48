//! The exporters that a lab runs: started again when they end, and ended with the lab, however that ends.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::helpers::{
    LONG, free_port,
    process::signal,
    program::{Done, Program, program},
};

/// What stands for `jmp`: it says as which process it was called and how, and goes on with what a test wants.
const CALLED: &str = "#!/bin/sh\nexport PATH=/usr/bin:/bin\necho \"$$ called with $*\"\n";

/// Ends in order at SIGTERM.
const ORDERLY: &str = "trap 'echo ended; exit 0' TERM\nwhile :; do sleep 0.05; done\n";

/// Has a child that has left the group and closed the log, as a driver may start one, and another that heeds no SIGTERM.
const WITH_CHILDREN: &str = "setsid sleep 1000 >/dev/null 2>&1 &\necho \"$! is a child\"\n\
    sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo \"$! is a child\"\n";

/// A directory with a lab and a `jmp`.
struct Place {
    dir: TempDir,
    port: u16,
}

impl Place {
    fn new(jmp: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join("jmp"), format!("{CALLED}{jmp}")).unwrap();
        fs::set_permissions(bin.join("jmp"), fs::Permissions::from_mode(0o755)).unwrap();
        let port = free_port();
        Self { dir, port }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("lab")
    }

    fn log(&self) -> PathBuf {
        self.folder().join("exporters/mock.log")
    }

    fn config(&self) -> PathBuf {
        let config = self.folder().join("exporters/mock.yaml");
        config.canonicalize().unwrap()
    }

    fn command(&self) -> Command {
        let folder = self.folder();
        let mut command = program(&[Path::new("lab"), &folder], false);
        command
            .arg(format!("--listen=127.0.0.1:{}", self.port))
            .args(["--set", "listen.admin_address=0"])
            .env("PATH", self.dir.path().join("bin"));
        command
    }

    fn start(&self) -> Program {
        Program::start(self.command())
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The processes that have said this of themselves, once there are so many.
    fn processes(&self, words: &str, count: usize) -> Vec<u32> {
        let start = Instant::now();
        loop {
            let said = self.said();
            let found = said.lines().filter_map(|line| line.split_once(words));
            let found: Vec<_> = found.map(|(pid, _)| pid.trim().parse().unwrap()).collect();
            if found.len() >= count {
                return found;
            }
            assert!(start.elapsed() < LONG, "no {count} {words:?}: {said}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn started(&self, count: usize) -> Vec<u32> {
        self.processes(" called with", count)
    }
}

/// Neither gone nor waiting to be asked how it ended.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .trim()
        .chars()
        .next();
    state.is_some_and(|state| state != 'Z')
}

fn gone(pids: &[u32]) {
    let start = Instant::now();
    while let Some(pid) = pids.iter().find(|pid| runs(**pid)) {
        assert!(start.elapsed() < LONG, "{pid} goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn they_are_started_and_ended_along_with_the_lab() {
    let place = Place::new(ORDERLY);
    let lab = place.start();
    let process = place.started(1)[0];
    lab.signal("INT");
    let Done { code, stdout, .. } = lab.wait();
    assert_eq!(code, Some(0));
    let config = place.config();
    let expected = format!(
        "{process} called with run --exporter-config {}\nended\n",
        config.display()
    );
    assert_eq!(place.said(), expected);
    let mode = place.log().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let told = String::from_utf8(stdout).unwrap();
    assert!(
        told.contains("exporter  mock (board=mock), started"),
        "{told}"
    );
    assert!(!told.contains("jmp run"), "{told}");
}

#[test]
fn one_that_ends_is_quoted_and_started_again_after_growing_pauses() {
    let place = Place::new("echo 'No module named \"board\"' >&2\nexit 3\n");
    let mut lab = place.start();
    let first = lab.says("it is started again in 1s");
    for part in [
        "exporter mock has ended after 0s (exit status: 3), and said at last: ",
        "No module named",
        "mock.log",
    ] {
        assert!(first.contains(part), "{first}");
    }
    lab.says("it is started again in 2s");
    lab.says("it is started again in 4s");
    // Whoever mends its file need not wait.
    let mended = Instant::now();
    let config = place.config();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}# mended\n")).unwrap();
    lab.says("mock.yaml has changed, so exporter mock is started with it");
    assert!(
        mended.elapsed() < Duration::from_secs(3),
        "{:?}",
        mended.elapsed()
    );
    place.started(4);
    lab.signal("TERM");
    assert_eq!(lab.wait().code, Some(0));
}

#[test]
fn one_that_is_killed_is_told_by_its_signal_and_leaves_nothing_behind() {
    let place = Place::new(&format!("{WITH_CHILDREN}{ORDERLY}"));
    let mut lab = place.start();
    let children = place.processes(" is a child", 2);
    signal(place.started(1)[0], "KILL");
    let told = lab.says("exporter mock has ended");
    assert!(told.contains("(signal: 9 (SIGKILL))"), "{told}");
    gone(&children);
    place.started(2);
    lab.signal("TERM");
    assert_eq!(lab.wait().code, Some(0));
}

#[test]
fn one_that_runs_is_started_anew_when_its_file_changes() {
    let place = Place::new(ORDERLY);
    let lab = place.start();
    place.started(1);
    let text = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), text.replace("MockPower", "OtherPower")).unwrap();
    let [first, second] = place.started(2)[..] else {
        panic!("{}", place.said());
    };
    assert_ne!(first, second);
    assert!(
        place.said().contains("ended\n"),
        "in order: {}",
        place.said()
    );
    lab.signal("TERM");
    assert_eq!(lab.wait().code, Some(0));
}

#[test]
fn one_that_cannot_be_started_is_tried_again() {
    let place = Place::new(ORDERLY);
    let jmp = place.dir.path().join("bin/jmp");
    fs::write(&jmp, "#!/nowhere/python\n").unwrap();
    let mut lab = place.start();
    lab.says("exporter mock cannot be started: ");
    fs::write(&jmp, format!("{CALLED}{ORDERLY}")).unwrap();
    place.started(1);
    lab.signal("TERM");
    assert_eq!(lab.wait().code, Some(0));
}

/// Neither a process of its group nor one that has left it goes on.
#[test]
fn they_end_with_the_lab_however_it_ends() {
    let ends_with = |name: &str| {
        let place = Place::new(&format!("{WITH_CHILDREN}{ORDERLY}"));
        let lab = place.start();
        let mut all = place.started(1);
        all.extend(place.processes(" is a child", 2));
        assert!(all.iter().all(|pid| runs(*pid)), "{name}");
        lab.signal(name);
        let code = lab.wait().code;
        let in_order = matches!(name, "TERM" | "INT" | "HUP");
        assert_eq!(code, in_order.then_some(0), "{name}");
        gone(&all);
        assert!(
            place.said().contains("ended\n"),
            "{name}: it could say goodbye"
        );
    };
    std::thread::scope(|scope| {
        for name in ["TERM", "INT", "ABRT", "KILL"] {
            scope.spawn(move || ends_with(name));
        }
        // Who runs these tests without a terminal may have it ignored, and so would the lab.
        if !is_ignored(1) {
            scope.spawn(move || ends_with("HUP"));
        }
    });
}

/// Whether this process, and so what it starts, ignores a signal.
fn is_ignored(signal: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
    mask >> (signal - 1) & 1 == 1
}

/// The lab and the process that would end its exporters are killed at once, as a service manager does it.
#[test]
fn what_an_earlier_lab_has_left_is_ended_by_the_next() {
    let place = Place::new(&format!("{WITH_CHILDREN}{ORDERLY}"));
    let lab = place.start();
    let mut all = place.started(1);
    all.extend(place.processes(" is a child", 2));
    // It is marked, but it is another lab's.
    let mark = format!("{}:/another/lab/exporters/mock.yaml", uuid::Uuid::new_v4());
    let mut foreign = Command::new("/bin/sleep");
    let mut foreign = foreign
        .arg("1000")
        .env("JUMPSTARTER_LAB_EXPORTER", mark)
        .spawn()
        .unwrap();
    let keeper = keeper_of(lab.pid());
    for pid in [keeper, lab.pid()] {
        signal(pid, "KILL");
    }
    lab.wait();
    assert!(all.iter().all(|pid| runs(*pid)));

    let mut lab = place.start();
    lab.says("exporter mock of an earlier lab still runs, and is ended");
    gone(&all);
    let second = place.started(2)[1];
    assert!(runs(second));
    assert_eq!(foreign.try_wait().unwrap(), None);
    lab.signal("TERM");
    assert_eq!(lab.wait().code, Some(0));
    gone(&[second]);
    assert_eq!(foreign.try_wait().unwrap(), None);
    foreign.kill().unwrap();
    foreign.wait().unwrap();
}

/// The child of this process that is the keeper.
fn keeper_of(lab: u32) -> u32 {
    let output = Command::new("ps")
        .args(["--ppid", &lab.to_string(), "-o", "pid=,args="])
        .output();
    let output = String::from_utf8(output.unwrap().stdout).unwrap();
    let line = output.lines().find(|line| line.contains("lab --keeper="));
    let pid = line.unwrap().split_whitespace().next().unwrap();
    pid.parse().unwrap()
}

#[test]
fn the_process_that_ends_them_is_started_again_if_it_is_killed() {
    let place = Place::new(ORDERLY);
    let mut lab = place.start();
    let exporter = place.started(1)[0];
    signal(keeper_of(lab.pid()), "KILL");
    lab.says("it is started again");
    let start = Instant::now();
    while Command::new("pgrep")
        .args(["-P", &lab.pid().to_string(), "-f", "keeper="])
        .output()
        .unwrap()
        .stdout
        .is_empty()
    {
        assert!(start.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(50));
    }
    lab.signal("KILL");
    lab.wait();
    gone(&[exporter]);
}

#[test]
fn whoever_asks_twice_need_not_wait() {
    let place = Place::new("trap '' TERM\nwhile :; do sleep 0.05; done\n");
    let mut lab = place.start();
    let deaf = place.started(1)[0];
    lab.signal("INT");
    lab.says("the lab stops");
    let asked = Instant::now();
    lab.signal("INT");
    assert_eq!(lab.wait().code, Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "{:?}",
        asked.elapsed()
    );
    gone(&[deaf]);
}

#[test]
fn a_lab_that_was_told_to_outlive_its_terminal_does() {
    let place = Place::new(ORDERLY);
    let lab = place.command();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    shell.arg(lab.get_program()).args(lab.get_args());
    shell.env("PATH", place.dir.path().join("bin"));
    let mut lab = Program::start(shell);
    let exporter = place.started(1)[0];
    lab.signal("HUP");
    std::thread::sleep(Duration::from_millis(300));
    assert!(runs(lab.pid()) && runs(exporter));
    lab.signal("TERM");
    assert!(lab.says("the lab stops").contains("SIGTERM"));
    assert_eq!(lab.wait().code, Some(0));
}

/// gRPC in stock peers reads the lower case.
#[test]
fn a_proxy_is_passed_by() {
    let place = Place::new(&format!("echo \"but for $no_proxy, $NO_PROXY\"\n{ORDERLY}"));
    let mut command = place.command();
    command
        .env("https_proxy", "http://proxy.example:3128")
        .env("no_proxy", "intranet");
    let mut lab = Program::start(command);
    let mut told = String::new();
    while !told.contains("Ctrl-C") {
        told.push_str(&lab.read_line());
    }
    let home = place.folder().canonicalize().unwrap();
    let home = home.display();
    for command in ["jmp shell -l board=mock", "jmp get exporters"] {
        let line = format!(
            "  no_proxy=intranet,127.0.0.1 NO_PROXY=intranet,127.0.0.1 JMP_CLIENT_CONFIG_HOME={home} {command}\n"
        );
        assert!(told.contains(&line), "{line}: {told}");
    }
    place.started(1);
    let said = place.said();
    assert!(
        said.contains("but for intranet,127.0.0.1, intranet,127.0.0.1\n"),
        "{said}"
    );
    lab.signal("TERM");
    assert_eq!(lab.wait().code, Some(0));
}
