//! What a cluster leaves its marks on: taken before `up` and after `down`, the two must be the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    cgroups,
    command::{command, output},
    layout::Layout,
    processes,
};

/// Folders outside the state folder where components of Kubernetes and containerd put things.
const FOLDERS: [&str; 10] = [
    "/etc/cni",
    "/etc/kubernetes",
    "/run/containerd",
    "/run/netns",
    "/run/runc",
    "/var/lib/cni",
    "/var/lib/containers",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/log/containers",
];

/// By kind of thing, every thing of the machine that a cluster could have changed.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot(BTreeMap<String, BTreeSet<String>>);

impl Snapshot {
    /// The machine as it is now.
    pub(crate) async fn take(layout: &Layout) -> Result<Self> {
        let mut things = BTreeMap::new();
        for save in ["iptables-save", "ip6tables-save"] {
            let saved = output(&mut command(save, [""; 0]))
                .await
                .unwrap_or_default();
            things.insert(save.to_owned(), rules(&saved));
        }
        let links = output(&mut command("ip", ["-oneline", "link"])).await?;
        things.insert(
            "links".to_owned(),
            links.lines().filter_map(link_name).collect(),
        );
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        things.insert(
            "mounts".to_owned(),
            mounts.lines().filter_map(mount_point).collect(),
        );
        let own = processes::ours()
            .into_iter()
            .map(|process| format!("{} ({})", process.name, process.pid));
        things.insert("processes".to_owned(), own.collect());
        let cgroups = cgroups::existing()
            .into_iter()
            .map(|folder| folder.display().to_string());
        things.insert("cgroups".to_owned(), cgroups.collect());
        let mut files = BTreeSet::new();
        for folder in FOLDERS {
            list(Path::new(folder), 2, &mut files);
        }
        if layout.kubeconfig().exists() {
            files.insert(layout.state().display().to_string());
        }
        things.insert("files".to_owned(), files);
        things.insert("settings".to_owned(), super::network::settings());
        Ok(Self(things))
    }

    /// One line for each thing that came or went since `before`.
    pub(crate) fn differences(&self, before: &Self) -> Vec<String> {
        let nothing = BTreeSet::new();
        let mut lines = Vec::new();
        for (kind, now) in &self.0 {
            let then = before.0.get(kind).unwrap_or(&nothing);
            lines.extend(
                now.difference(then)
                    .map(|thing| format!("{kind}: left behind: {thing}")),
            );
            lines.extend(
                then.difference(now)
                    .map(|thing| format!("{kind}: gone: {thing}")),
            );
        }
        lines
    }
}

/// Rules and chains, without counters, and without the built-in chains that appear on first use.
fn rules(saved: &str) -> BTreeSet<String> {
    let mut table = "";
    let mut rules = BTreeSet::new();
    for line in saved.lines() {
        if line.starts_with('*') {
            table = line;
        } else if line.starts_with("-A ") {
            rules.insert(format!("{table} {line}"));
        } else if let Some((chain, _)) = line
            .strip_prefix(':')
            .and_then(|line| line.split_once(" - "))
        {
            rules.insert(format!("{table} {chain}"));
        }
    }
    rules
}

fn link_name(line: &str) -> Option<String> {
    Some(line.split(": ").nth(1)?.split('@').next()?.to_owned())
}

fn mount_point(line: &str) -> Option<String> {
    line.split(' ').nth(4).map(str::to_owned)
}

fn list(folder: &Path, depth: usize, files: &mut BTreeSet<String>) {
    if folder.exists() {
        files.insert(folder.display().to_string());
    }
    if depth > 0 {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            list(&entry.path(), depth - 1, files);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_built_in_chains_are_no_difference() {
        let before =
            rules("*nat\n:POSTROUTING ACCEPT [5:300]\n:MINE - [0:0]\n-A MINE -j ACCEPT\nCOMMIT\n");
        let after = rules(
            "*nat\n:INPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [9:999]\n:MINE - [1:1]\n-A MINE -j ACCEPT\n",
        );
        assert_eq!(before, after);
    }

    #[test]
    fn what_came_and_what_went_are_both_told() {
        let snapshot = |links: [&str; 2]| {
            Snapshot(BTreeMap::from([(
                "links".into(),
                links.into_iter().map(str::to_owned).collect(),
            )]))
        };
        let differences = snapshot(["lo", "left"]).differences(&snapshot(["lo", "eth0"]));
        assert_eq!(
            differences,
            ["links: left behind: left", "links: gone: eth0"]
        );
    }
}
