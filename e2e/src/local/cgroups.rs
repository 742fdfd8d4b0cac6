//! The cluster's cgroup: one folder in each hierarchy (v1, also hybrid) or in the one there is (v2).
//! The supervisor and its components live in `system`, the pods beside it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep};

use super::layout::CGROUP;

const ROOT: &str = "/sys/fs/cgroup";
const SYSTEM: &str = "system";

/// The folders under which a cgroup can be made.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    if is_v2() {
        return vec![ROOT.into()];
    }
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    let is_folder = |path: &PathBuf| path.is_dir() && !path.is_symlink();
    entries
        .map(|entry| entry.path())
        .filter(is_folder)
        .collect()
}

/// Makes the cgroup in every hierarchy, ready for the kubelet to make its own inside.
pub(crate) fn create() -> Result<()> {
    for hierarchy in hierarchies() {
        let ours = hierarchy.join(CGROUP);
        let system = ours.join(SYSTEM);
        create_folder(&system)?;
        // A new v1 cpuset is empty and takes no process until it is filled.
        for file in ["cpuset.cpus", "cpuset.mems"]
            .into_iter()
            .filter(|_| !is_v2())
        {
            inherit(&hierarchy, &ours, file)?;
            inherit(&ours, &system, file)?;
        }
    }
    Ok(())
}

/// Moves this process into it. One hierarchy is enough to be found by, and `pids` weighs nothing.
pub(crate) fn enter() -> Result<()> {
    let hierarchy = if is_v2() {
        PathBuf::from(ROOT)
    } else {
        Path::new(ROOT).join("pids")
    };
    let file = hierarchy.join(CGROUP).join(SYSTEM).join("cgroup.procs");
    fs::write(&file, std::process::id().to_string())
        .with_context(|| format!("writing {}", file.display()))
}

/// Removes it, once no process is left in it.
pub(crate) async fn remove() -> Result<()> {
    const PERIOD: Duration = Duration::from_millis(50);
    const PATIENCE: Duration = Duration::from_secs(10);
    let end = Instant::now() + PATIENCE;
    for folder in existing() {
        // What has been killed stays in it until the kernel is through with it.
        while let Err(error) = remove_tree(&folder) {
            if Instant::now() > end {
                return Err(error).with_context(|| format!("removing {}", folder.display()));
            }
            sleep(PERIOD).await;
        }
    }
    Ok(())
}

/// Where it exists, for a check that nothing was left.
pub(crate) fn existing() -> Vec<PathBuf> {
    let folders = hierarchies()
        .into_iter()
        .map(|hierarchy| hierarchy.join(CGROUP));
    folders.filter(|folder| folder.exists()).collect()
}

fn is_v2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

fn inherit(parent: &Path, child: &Path, file: &str) -> Result<()> {
    let Ok(value) = fs::read_to_string(parent.join(file)) else {
        return Ok(());
    };
    if fs::read_to_string(child.join(file)).is_ok_and(|own| own.trim().is_empty()) {
        fs::write(child.join(file), value)
            .with_context(|| format!("writing {}", child.join(file).display()))?;
    }
    Ok(())
}

// Only the folders of a cgroup can be removed; its files go with them.
fn remove_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_tree(&path)?;
        }
    }
    fs::remove_dir(folder)
}
