//! How much memory this process may take, and how much of that is used: by its cgroups of either version, else by the machine.

use std::fs;
use std::path::{Path, PathBuf};

/// The limit in bytes; `None` where it can't be found out.
pub fn limit() -> Option<u64> {
    let usages = usages_under(Path::new("/"));
    usages.iter().map(|usage| usage.limit).min()
}

/// What is used of the limit that is nearest; `None` where it can't be found out.
pub fn usage() -> Option<Usage> {
    fullest(usages_under(Path::new("/")))
}

/// A limit, and what is used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that can't be had back without ending something: caches of files aside, as the kubelet counts.
    pub used: u64,
    pub limit: u64,
}

impl Usage {
    /// Whether so many percent are used, or more.
    pub fn is_past(&self, percent: u64) -> bool {
        u128::from(self.used) * 100 >= u128::from(self.limit) * u128::from(percent)
    }
}

fn fullest(usages: Vec<Usage>) -> Option<Usage> {
    let share = |usage: &Usage| u128::from(usage.used) * 1_000_000 / u128::from(usage.limit.max(1));
    usages.into_iter().max_by_key(share)
}

/// All limits that hold for this process, with `/proc` and `/sys` under `root`.
fn usages_under(root: &Path) -> Vec<Usage> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut usages: Vec<_> = groups
        .lines()
        .flat_map(|line| of_groups(root, line))
        .collect();
    usages.extend(of_machine(root));
    usages
}

/// The files of one version of cgroups.
struct Files {
    mount: &'static str,
    limit: &'static str,
    used: &'static str,
    /// In `memory.stat`: caches that go when memory is needed.
    inactive: &'static str,
}

const VERSION_1: Files = Files {
    mount: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    inactive: "total_inactive_file",
};

const VERSION_2: Files = Files {
    mount: "sys/fs/cgroup",
    limit: "memory.max",
    used: "memory.current",
    inactive: "inactive_file",
};

/// The limits on the way from a cgroup up. A line is `<hierarchy>:<controllers>:<path>`; version 2 has no controllers there
/// (cgroups(7), "/proc files").
fn of_groups(root: &Path, line: &str) -> Vec<Usage> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
        return Vec::new();
    };
    let files = match controllers {
        "" => VERSION_2,
        _ if controllers.split(',').any(|name| name == "memory") => VERSION_1,
        _ => return Vec::new(),
    };
    // Inside a container the path may be one of the host, of which only the root is mounted.
    Path::new(path)
        .ancestors()
        .filter_map(|group| {
            let group = group.strip_prefix("/").unwrap_or(group);
            of_group(&root.join(files.mount).join(group), &files)
        })
        .collect()
}

fn of_group(group: &Path, files: &Files) -> Option<Usage> {
    // `max` is no number, and no limit.
    let limit = number(&group.join(files.limit))?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let inactive = stat
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find_map(|(name, value)| (name == files.inactive).then(|| value.trim().parse().ok())?)
        .unwrap_or(0);
    // Without it a limit is still known.
    let used = number(&group.join(files.used)).unwrap_or(0);
    Some(Usage {
        used: used.saturating_sub(inactive),
        limit,
    })
}

/// What the process itself takes of the machine.
fn of_machine(root: &Path) -> Option<Usage> {
    Some(Usage {
        used: kibibytes(&root.join("proc/self/status"), "VmRSS:").unwrap_or(0),
        limit: kibibytes(&root.join("proc/meminfo"), "MemTotal:")?,
    })
}

fn number(path: &PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A line `<name> <number> kB`, in bytes.
fn kibibytes(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usages_of(files: &[(&str, &str)]) -> Vec<Usage> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        usages_under(root.path())
    }

    fn limit_of(files: &[(&str, &str)]) -> Option<u64> {
        usages_of(files).iter().map(|usage| usage.limit).min()
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:       16 kB\nMemFree: 1 kB\n");

    #[test]
    fn the_smallest_limit_of_all_groups_counts() {
        let own = ("proc/self/cgroup", "0::/kubepods/pod1/app\n");
        let pod = ("sys/fs/cgroup/kubepods/pod1/memory.max", "8192\n");
        let app = ("sys/fs/cgroup/kubepods/pod1/app/memory.max", "max\n");
        assert_eq!(limit_of(&[MEMINFO, own, pod, app]), Some(8192));
    }

    #[test]
    fn a_container_sees_its_limit_at_the_root() {
        let own = ("proc/self/cgroup", "0::/\n");
        assert_eq!(
            limit_of(&[MEMINFO, own, ("sys/fs/cgroup/memory.max", "4096\n")]),
            Some(4096)
        );
        let version_1 = ("proc/self/cgroup", "5:cpu,memory:/docker/x\n1:cpuset:/\n");
        let limit = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2048\n");
        assert_eq!(limit_of(&[MEMINFO, version_1, limit]), Some(2048));
    }

    #[test]
    fn without_a_limit_the_machine_is_one() {
        let unlimited = ("sys/fs/cgroup/memory.max", "max\n");
        assert_eq!(
            limit_of(&[MEMINFO, ("proc/self/cgroup", "0::/\n"), unlimited]),
            Some(16 * 1024)
        );
        assert_eq!(limit_of(&[]), None);
        assert!(limit().is_some());
    }

    #[test]
    fn what_is_used_is_counted_as_the_kubelet_does_in_both_versions() {
        let own = ("proc/self/cgroup", "0::/kubepods/pod1/app\n");
        let version_2 = usages_of(&[
            own,
            ("sys/fs/cgroup/kubepods/pod1/app/memory.max", "1000\n"),
            ("sys/fs/cgroup/kubepods/pod1/app/memory.current", "700\n"),
            (
                "sys/fs/cgroup/kubepods/pod1/app/memory.stat",
                "anon 500\ninactive_file 150\nactive_file 50\n",
            ),
        ]);
        let expected = Usage {
            used: 550,
            limit: 1000,
        };
        assert_eq!(version_2, [expected]);
        let version_1 = usages_of(&[
            ("proc/self/cgroup", "5:memory:/x\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "700\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "inactive_file 1\ntotal_inactive_file 150\n",
            ),
        ]);
        assert_eq!(version_1, [expected]);
        assert!(expected.is_past(55) && !expected.is_past(56));
    }

    #[test]
    fn of_several_limits_the_one_that_is_nearest_counts() {
        let own = ("proc/self/cgroup", "0::/pod/app\n");
        let usages = usages_of(&[
            MEMINFO,
            ("proc/self/status", "Name: x\nVmRSS:\t       4 kB\n"),
            own,
            ("sys/fs/cgroup/pod/memory.max", "10000\n"),
            ("sys/fs/cgroup/pod/memory.current", "9000\n"),
            ("sys/fs/cgroup/pod/app/memory.max", "8000\n"),
            ("sys/fs/cgroup/pod/app/memory.current", "4000\n"),
        ]);
        let nearest = Usage {
            used: 9000,
            limit: 10_000,
        };
        assert_eq!((usages.len(), fullest(usages)), (3, Some(nearest)));
        assert!(usage().is_some_and(|usage| usage.used > 0));
    }
}
