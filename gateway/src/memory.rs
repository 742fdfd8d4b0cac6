//! How much memory this process may take: what its cgroups allow, else what the machine has.

use std::fs;
use std::path::Path;

/// The limit in bytes; `None` where it can't be found out.
pub fn limit() -> Option<u64> {
    limit_under(Path::new("/"))
}

/// As [`limit`], with `/proc` and `/sys` in another place.
fn limit_under(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    groups
        .lines()
        .filter_map(|line| cgroup_limit(root, line))
        .chain(machine_memory(root))
        .min()
}

/// The smallest limit on the way from a cgroup up. A line is `<hierarchy>:<controllers>:<path>`; version 2 has no controllers there
/// (cgroups(7), "/proc files").
fn cgroup_limit(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    // Inside a container the path may be one of the host, of which only the root is mounted.
    Path::new(path)
        .ancestors()
        .filter_map(|group| {
            let group = group.strip_prefix("/").unwrap_or(group);
            let text = fs::read_to_string(root.join(mount).join(group).join(file)).ok()?;
            // `max` is no number, and no limit.
            text.trim().parse().ok()
        })
        .min()
}

fn machine_memory(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_of(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        limit_under(root.path())
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
}
