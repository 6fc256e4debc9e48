//! The memory limit that the process's control group sets.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::common::procfs::figure;

/// The lowest limit of the process's control group and of those above it, bytes: version 2, then 1.
pub(crate) fn memory_limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limit(Path::new("/sys/fs/cgroup"), &own)
}

/// What the process's control group is charged for.
#[derive(Debug)]
pub(crate) struct Group {
    charged: PathBuf,
    /// Version 1 counts sockets apart, if anybody has set a limit for them.
    sockets: PathBuf,
    stat: PathBuf,
}

impl Group {
    /// The group that the process is in: version 2, then 1.
    pub(crate) fn own() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::find(Path::new("/sys/fs/cgroup"), &own)
    }

    fn find(mount: &Path, own: &str) -> Option<Self> {
        hierarchies(mount, own).find_map(
            |Hierarchy {
                 groups, charged, ..
             }| {
                let group = groups.iter().find(|group| group.join(charged).is_file())?;
                Some(Self {
                    charged: group.join(charged),
                    sockets: group.join("memory.kmem.tcp.usage_in_bytes"),
                    stat: group.join("memory.stat"),
                })
            },
        )
    }

    /// All that the group is charged for, bytes.
    pub(crate) fn charged(&self) -> Option<u64> {
        Some(number(&self.charged)? + number(&self.sockets).unwrap_or(0))
    }

    /// What the kernel can take back at any time of it, as it lies in files, too, bytes.
    pub(crate) fn cache(&self) -> Option<u64> {
        let stat = fs::read_to_string(&self.stat).ok()?;
        Some(cache(&stat))
    }
}

/// Of `memory.stat`. Version 1 counts the group alone, and with `total_` the groups below it, too, as its charge does.
fn cache(stat: &str) -> u64 {
    let value = |name: &str| figure(stat, &format!("{name} "));
    let file = |name: &str| value(&format!("total_{name}")).or_else(|| value(name));
    file("active_file").unwrap_or(0) + file("inactive_file").unwrap_or(0)
}

/// A hierarchy that controls memory.
struct Hierarchy {
    /// The process's group and those above it. Their path is that of the host if the mount is not: then only the top is
    /// there.
    groups: Vec<PathBuf>,
    /// The file that holds a group's limit.
    limit: &'static str,
    /// The file that holds what a group is charged for.
    charged: &'static str,
}

fn hierarchies(mount: &Path, own: &str) -> impl Iterator<Item = Hierarchy> {
    own.lines().filter_map(move |line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (top, limit, charged) = if controllers.is_empty() {
            (mount.to_owned(), "memory.max", "memory.current")
        } else if controllers.split(',').any(|name| name == "memory") {
            let (limit, charged) = ("memory.limit_in_bytes", "memory.usage_in_bytes");
            (mount.join("memory"), limit, charged)
        } else {
            return None;
        };
        let group = top.join(path.trim_start_matches('/'));
        let groups = group
            .ancestors()
            .take_while(|group| group.starts_with(&top));
        Some(Hierarchy {
            groups: groups.map(Path::to_owned).collect(),
            limit,
            charged,
        })
    })
}

/// `own`: the process's groups, as in `/proc/self/cgroup`. In a container the path there is mostly `/`, as the mount
/// shows only what is the container's.
fn limit(mount: &Path, own: &str) -> Option<u64> {
    let files = hierarchies(mount, own).flat_map(|Hierarchy { groups, limit, .. }| {
        groups.into_iter().map(move |group| group.join(limit))
    });
    // Version 1 says "no limit" with a huge number, version 2 with "max".
    let limits = files.filter_map(|file| number(&file).filter(|bytes| *bytes < 1 << 60));
    limits.min()
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
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

    #[test]
    fn what_a_group_is_charged_for_less_what_can_be_taken_back() {
        let two = mount(&[
            ("pod/memory.current", "1000\n"),
            (
                "pod/memory.stat",
                "anon 5\nactive_file 100\ninactive_file 20\n",
            ),
        ]);
        let group = Group::find(two.path(), "0::/pod\n").unwrap();
        assert_eq!((group.charged(), group.cache()), (Some(1000), Some(120)));
        let one = mount(&[
            ("memory/memory.usage_in_bytes", "900\n"),
            ("memory/memory.kmem.tcp.usage_in_bytes", "7\n"),
            (
                "memory/memory.stat",
                "active_file 1\ntotal_active_file 30\n",
            ),
        ]);
        let group = Group::find(one.path(), "9:memory:/host/path\n0::/\n").unwrap();
        assert_eq!((group.charged(), group.cache()), (Some(907), Some(30)));
        assert!(Group::find(one.path(), "0::/\n").is_none());
    }
}
