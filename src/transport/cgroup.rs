//! The memory limit that the process's control group sets.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The lowest limit of the process's control group and of those above it, bytes: version 2, then 1.
pub fn memory_limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limit(Path::new("/sys/fs/cgroup"), &own)
}

/// `own`: the process's groups, as in `/proc/self/cgroup`. In a container the path there is mostly `/`, as the mount
/// shows only what is the container's.
fn limit(mount: &Path, own: &str) -> Option<u64> {
    let files = own.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (top, file) = if controllers.is_empty() {
            (mount.to_owned(), "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            (mount.join("memory"), "memory.limit_in_bytes")
        } else {
            return None;
        };
        lowest(&top, path.trim_start_matches('/'), file)
    });
    files.min()
}

fn lowest(top: &Path, path: &str, file: &str) -> Option<u64> {
    let mut group: PathBuf = top.join(path);
    let mut least = None;
    // The path is that of the host if the mount is not: then only the top is there.
    loop {
        if let Ok(text) = fs::read_to_string(group.join(file))
            && let Ok(bytes) = text.trim().parse::<u64>()
            // Version 1 says "no limit" with a huge number, version 2 with "max".
            && bytes < 1 << 60
        {
            least = Some(least.map_or(bytes, |least: u64| least.min(bytes)));
        }
        if group == top || !group.pop() {
            return least;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mount(files: &[(&str, &str)]) -> tempfile::TempDir {
        let mount = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = mount.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        mount
    }

    #[test]
    fn a_service_under_version_2() {
        let mount = mount(&[
            ("system.slice/memory.max", "900\n"),
            ("system.slice/router.service/memory.max", "1000\n"),
            ("memory.max", "max\n"),
        ]);
        let own = "0::/system.slice/router.service\n";
        assert_eq!(limit(mount.path(), own), Some(900), "the lowest counts");
        assert_eq!(limit(mount.path(), "0::/\n"), None);
    }

    #[test]
    fn a_container_that_sees_only_its_own_group() {
        let two = mount(&[("memory.max", "512\n")]);
        assert_eq!(limit(two.path(), "0::/\n"), Some(512));
        let one = mount(&[("memory/memory.limit_in_bytes", "512\n")]);
        let own = "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/docker/1\n";
        assert_eq!(limit(one.path(), own), Some(512));
    }

    #[test]
    fn version_1_and_no_limit() {
        let mount = mount(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/jobs/memory.limit_in_bytes", "77\n"),
        ]);
        assert_eq!(limit(mount.path(), "9:memory:/jobs\n"), Some(77));
        assert_eq!(limit(mount.path(), "9:memory:/\n"), None);
        assert_eq!(limit(mount.path(), "nonsense"), None);
    }
}
