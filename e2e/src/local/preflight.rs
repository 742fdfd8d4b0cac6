//! Whether this machine can run containers at all, asked by trying: each probe does in a throwaway
//! namespace what the cluster will do for real.

use std::{fs, io::IsTerminal, os::unix::fs::MetadataExt};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::process::Command;

use super::{
    claim,
    command::{command, output, succeeds},
    layout::{CGROUP, Layout, NETWORK, NODE_BRIDGE, Network, POD_BRIDGE},
    processes,
};

/// The machine lacks what containers need; nothing the cluster's user did wrong.
#[derive(Debug, thiserror::Error)]
#[error("this machine can't run containers: {0}")]
pub struct CannotRunContainers(pub String);

/// The exit code for [`CannotRunContainers`], as test harnesses use it for "skipped".
pub const CANNOT_RUN_EXIT_CODE: u8 = 77;

/// Whether this process may do everything.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Whether sudo works here, asking for a password only where somebody can type it.
pub(crate) async fn has_sudo() -> bool {
    if succeeds(&mut command("sudo", ["--non-interactive", "true"])).await {
        return true;
    }
    std::io::stdin().is_terminal() && succeeds(&mut command("sudo", ["--version"])).await
}

/// What can be asked before any package is installed.
pub(crate) async fn check_kernel(layout: &Layout) -> Result<()> {
    if !is_root() {
        return cannot("it takes root, or `sudo` that works without asking");
    }
    if !unshared(&["--mount", "--net", "--pid", "--fork"], &["true"]).await {
        return cannot("new namespaces are refused here (`unshare --mount --net --pid` fails)");
    }
    claim::state_folder(layout)?;
    let state = layout.state().to_string_lossy();
    if !unshared(&["--mount"], &["mount", "-t", "tmpfs", "tmpfs", &state]).await {
        return cannot("mounts are refused here, even in a mount namespace of one's own");
    }
    let hierarchies = super::cgroups::hierarchies();
    let writable = |hierarchy: &std::path::PathBuf| {
        let probe = hierarchy.join(format!("{CGROUP}-probe"));
        fs::create_dir(&probe)
            .and_then(|()| fs::remove_dir(&probe))
            .is_ok()
    };
    if hierarchies.is_empty() || !hierarchies.iter().all(writable) {
        return cannot("cgroups can't be made here (/sys/fs/cgroup is missing or read-only)");
    }
    Ok(())
}

/// What takes the tools of the packages to ask.
pub(crate) async fn check_network() -> Result<()> {
    // Loads what a kernel has as modules; one with everything built in may lack modprobe.
    let modules = [
        "overlay",
        "br_netfilter",
        "nf_conntrack",
        "xt_comment",
        "xt_statistic",
    ];
    succeeds(&mut command("modprobe", ["-a"].into_iter().chain(modules))).await;

    if !unshared(
        &["--net"],
        &["ip", "link", "add", "probe", "type", "bridge"],
    )
    .await
    {
        return cannot("the kernel has no network bridges");
    }
    let rule = "iptables -t nat -A POSTROUTING -m comment --comment probe -m statistic --mode random \
                --probability 0.5 -m addrtype --dst-type LOCAL -j MASQUERADE";
    let words: Vec<_> = rule.split_whitespace().collect();
    if !unshared(&["--net"], &words).await {
        return cannot(
            "the kernel lacks what kube-proxy needs of iptables (nat, comment, statistic, addrtype)",
        );
    }
    check_addresses().await?;
    check_other_clusters()
}

/// Whether containerd can stack filesystems where the state is.
pub(crate) async fn has_overlay(layout: &Layout) -> bool {
    let script = "cd \"$1\" && mkdir -p probe/lower probe/upper probe/work probe/merged && \
        mount -t overlay overlay -o lowerdir=probe/lower,upperdir=probe/upper,workdir=probe/work probe/merged";
    let state = layout.state().to_string_lossy();
    let works = unshared(&["--mount"], &["sh", "-c", script, "sh", &state]).await;
    drop(fs::remove_dir_all(layout.at("probe")));
    works
}

/// Whether processes here may lower their out-of-memory score (`CAP_SYS_RESOURCE`); without it
/// runc refuses pods, which always ask for that.
pub(crate) fn may_lower_oom_score() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    bits.is_some_and(|bits| bits & (1 << CAP_SYS_RESOURCE) != 0)
}

#[derive(Deserialize)]
struct Route {
    dst: String,
    #[serde(default)]
    dev: String,
}

async fn check_addresses() -> Result<()> {
    let routes = output(&mut command("ip", ["-json", "-4", "route", "show"])).await?;
    let routes: Vec<Route> = serde_json::from_str(&routes).context("reading the routes")?;
    for route in routes {
        let own = [NODE_BRIDGE, POD_BRIDGE].contains(&route.dev.as_str());
        if !own && Network::parse(&route.dst).is_some_and(|network| network.overlaps(NETWORK)) {
            bail!(
                "this machine already routes {} through {}, which the local cluster needs for itself ({NETWORK}): \
                 set KUBECONFIG to use another cluster",
                route.dst,
                route.dev
            );
        }
    }
    Ok(())
}

fn check_other_clusters() -> Result<()> {
    let other = processes::all().find(|process| {
        let node =
            ["kubelet", "kube-proxy", "k3s", "k3s-server", "rke2"].contains(&process.name.as_str());
        // Inside a container (kind, minikube) it has a network of its own and is in nobody's way.
        node && !process.is_ours() && process.shares_our_network()
    });
    match other {
        Some(process) => bail!(
            "this machine is a Kubernetes node already ({}, pid {}), and one machine has room for one kube-proxy: \
             set KUBECONFIG to use that cluster",
            process.name,
            process.pid
        ),
        None => Ok(()),
    }
}

async fn unshared(namespaces: &[&str], words: &[&str]) -> bool {
    let mut unshare: Command = command("unshare", namespaces.iter().chain(&["--"]).chain(words));
    succeeds(&mut unshare).await
}

fn cannot<T>(why: &str) -> Result<T> {
    Err(CannotRunContainers(why.into()).into())
}
