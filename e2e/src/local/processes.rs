//! The processes of the cluster, found by their cgroup: containers, their shims and the components
//! can't leave it, so that nothing depends on pid files or on parents that still live.

use std::{fs, path::Path, time::Duration};

use anyhow::{Result, bail};

use super::{
    command::{command, succeeds},
    layout::CGROUP,
};

/// A process as `/proc` shows it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) name: String,
    cgroups: String,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        Some(Self {
            pid,
            name: fs::read_to_string(folder.join("comm"))
                .ok()?
                .trim_end()
                .to_owned(),
            cgroups: fs::read_to_string(folder.join("cgroup")).ok()?,
        })
    }

    /// Whether it belongs to the local cluster.
    pub(crate) fn is_ours(&self) -> bool {
        in_our_cgroup(&self.cgroups)
    }

    /// A variable of its environment.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let environment = fs::read_to_string(format!("/proc/{}/environ", self.pid)).ok()?;
        let mut pairs = environment
            .split('\0')
            .filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    }

    pub(crate) fn shares_our_network(&self) -> bool {
        let network = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        network(&self.pid.to_string()) == network("self")
    }
}

/// Every process there is.
pub(crate) fn all() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Process::read(entry.file_name().to_str()?.parse().ok()?))
}

/// Every process of the local cluster. Zombies don't count: they hold nothing.
pub(crate) fn ours() -> Vec<Process> {
    let lives = |process: &Process| !is_zombie(process.pid);
    all().filter(Process::is_ours).filter(lives).collect()
}

/// Kills them all, the supervisor first, since it would start its components again.
pub(crate) async fn kill_ours() -> Result<()> {
    const ROUNDS: usize = 100;
    let mut left = ours();
    left.sort_by_key(|process| process.name != super::supervisor::PROCESS_NAME);
    for _ in 0..ROUNDS {
        if left.is_empty() {
            return Ok(());
        }
        let pids = left.iter().map(|process| process.pid.to_string());
        // One that has just ended makes `kill` fail; the next round sees what is left.
        succeeds(&mut command(
            "kill",
            ["-KILL".to_owned()].into_iter().chain(pids),
        ))
        .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        left = ours();
    }
    let names: Vec<_> = left
        .iter()
        .map(|process| format!("{} ({})", process.name, process.pid))
        .collect();
    bail!("these processes don't end: {}", names.join(", "));
}

fn in_our_cgroup(cgroups: &str) -> bool {
    // Each line is `id:controllers:/path`.
    let paths = cgroups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2));
    paths
        .filter_map(|path| path.split('/').nth(1))
        .any(|first| first == CGROUP)
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; the state follows the last of them.
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ours_when_one_of_its_cgroups_is() {
        assert!(in_our_cgroup(
            "5:pids:/rotunda-local/system\n4:memory:/user\n0::/\n"
        ));
        assert!(in_our_cgroup(
            "0::/rotunda-local/kubepods/burstable/pod1/abc\n"
        ));
        assert!(!in_our_cgroup("0::/user.slice/rotunda-local\n"));
        assert!(!in_our_cgroup("0::/rotunda-local-probe\n"));
        assert!(!in_our_cgroup("0::/\n"));
    }
}
