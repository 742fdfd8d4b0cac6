//! The process that keeps the cluster running: starts its components, starts them again when one
//! ends, and stands in for a cloud with the loops for LoadBalancer addresses and volumes.
//!
//! It lives in a mount namespace of its own, made by the command that starts it, so that whatever is
//! mounted for pods vanishes with the last process, even after a kill.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use kube::Client;
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use super::{
    cgroups, client,
    command::{command, output},
    components::{self, Component},
    layout::{Layout, STATE_VARIABLE},
    load_balancer, processes, volumes,
};

/// What the kernel calls it: the name of this crate's binary.
pub(crate) const PROCESS_NAME: &str = "rotunda-local";
/// Folders that some component insists on; each is covered by one in the state folder.
const COVERED: [&str; 4] = [
    "/run/containerd",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
];

/// Starts it in the background.
pub(crate) async fn start(layout: &Layout) -> Result<()> {
    fs::create_dir_all(layout.at("logs"))?;
    cover_points(layout)?;
    let log = File::create(layout.log("supervisor"))?;
    let this = std::env::current_exe().context("finding this program")?;
    let unshare = [
        "--fork",
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "--",
    ];
    let status = Command::new("setsid")
        .args(unshare)
        .arg(this)
        .arg("supervise")
        .current_dir("/")
        .env(STATE_VARIABLE, layout.state())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .await?;
    if !status.success() {
        bail!("the supervisor could not be started ({status})");
    }
    Ok(())
}

/// Whether one holds the state folder.
pub(crate) fn is_running(layout: &Layout) -> bool {
    let Ok(lock) = File::open(lock_file(layout)) else {
        return false;
    };
    matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
}

/// The state folder of a cluster that runs with another one than `layout`'s.
pub(crate) fn other_state(layout: &Layout) -> Option<PathBuf> {
    let own = layout.state().to_string_lossy();
    processes::ours()
        .into_iter()
        .filter(|process| process.name == PROCESS_NAME)
        .filter_map(|process| process.variable(STATE_VARIABLE))
        .find(|state| *state != own)
        .map(PathBuf::from)
}

/// As [`is_running`], but true also in the moment before it takes hold.
pub(crate) fn is_running_or_starting(layout: &Layout) -> bool {
    !lock_file(layout).exists() || is_running(layout)
}

/// Runs until it is told to stop; what ends it otherwise is an error.
pub async fn supervise(layout: &Layout) -> Result<()> {
    if is_running(layout) {
        bail!("another supervisor holds the state folder");
    }
    // Renamed once locked, so that a lock file that nobody holds always means one that has ended.
    let fresh = layout.at("supervisor.lock.new");
    let lock = File::create(&fresh)?;
    lock.try_lock().context("another supervisor is starting")?;
    fs::rename(&fresh, lock_file(layout))?;
    cgroups::enter()?;
    cover_folders(layout).await?;

    let mut tasks = JoinSet::new();
    for component in components::all(layout) {
        let log = layout.log(component.name);
        tasks.spawn(async move { keep_running(component, log).await });
    }
    let (balancer, volume_folder) = (layout.clone(), layout.at("volumes"));
    tasks.spawn(async move { load_balancer::run(connected(&balancer).await?).await });
    let layout = layout.clone();
    tasks.spawn(async move { volumes::run(connected(&layout).await?, &volume_folder).await });

    let mut stop = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = stop.recv() => Ok(()),
        ended = tasks.join_next() => match ended {
            Some(Ok(Err(error))) => Err(error),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(Ok(()))) | None => bail!("a task that should never end has ended"),
        },
    }
}

async fn connected(layout: &Layout) -> Result<Client> {
    let api = components::Sign::Listens(super::layout::API_SERVER.into());
    wait_for(&api).await;
    client(layout).await
}

async fn wait_for(sign: &components::Sign) {
    const PERIOD: Duration = Duration::from_millis(100);
    while !sign.is_there().await {
        tokio::time::sleep(PERIOD).await;
    }
}

async fn keep_running(component: Component, log: PathBuf) -> Result<()> {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        if let Some(sign) = &component.after {
            wait_for(sign).await;
        }
        let output = File::options().create(true).append(true).open(&log)?;
        let mut child = command(&component.program, &component.arguments)
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {}", component.program.display()))?;
        tracing::info!(component = component.name, pid = child.id(), "started");
        let status = child.wait().await?;
        tracing::warn!(component = component.name, %status, "ended, starting again");
        tokio::time::sleep(PAUSE).await;
    }
}

fn lock_file(layout: &Layout) -> PathBuf {
    layout.at("supervisor.lock")
}

fn created_folders(layout: &Layout) -> PathBuf {
    layout.at("created-folders")
}

/// Makes the folders to cover and notes those that were not there before.
fn cover_points(layout: &Layout) -> Result<()> {
    let mut created = String::new();
    for target in COVERED {
        let missing = Path::new(target)
            .ancestors()
            .take_while(|folder| !folder.exists());
        for folder in missing {
            created.push_str(&folder.to_string_lossy());
            created.push('\n');
        }
        fs::create_dir_all(target).with_context(|| format!("creating {target}"))?;
    }
    fs::write(created_folders(layout), created)?;
    Ok(())
}

/// Removes the folders that [`start`] made, unless something else has come to use them.
pub(crate) fn remove_cover_points(layout: &Layout) {
    let created = fs::read_to_string(created_folders(layout)).unwrap_or_default();
    for folder in created.lines() {
        drop(fs::remove_dir(folder));
    }
}

async fn cover_folders(layout: &Layout) -> Result<()> {
    for target in COVERED {
        let source = layout.at("covers").join(target.trim_start_matches('/'));
        fs::create_dir_all(&source)?;
        output(command("mount", ["--bind"]).arg(&source).arg(target)).await?;
    }
    // Within the namespace mounts must reach the pods' own.
    output(&mut command("mount", ["--make-rshared", "/"])).await?;
    Ok(())
}
