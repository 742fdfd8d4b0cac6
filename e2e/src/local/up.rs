//! Brings the cluster up: from a bare machine, or from whatever an earlier run left.

use std::{fs, time::Duration};

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

use super::{
    addons, certificates, cgroups, claim,
    command::{last_lines, output, succeeds},
    components::{self, Sign},
    down,
    images::{self, Images},
    layout::{API_SERVER, Layout, NODE_NAME},
    network, packages, preflight,
    snapshot::Snapshot,
    step::{note, step},
    supervisor, tools,
};

/// How long a small busy machine may take for one of the steps.
const PATIENCE: Duration = Duration::from_mins(3);

/// Returns once the node is ready and names are answered.
pub async fn up(layout: &Layout) -> Result<()> {
    if is_up(layout).await {
        note(format!(
            "the local cluster is running already ({})",
            layout.kubeconfig().display()
        ));
        return Ok(());
    }
    claim::check_no_other(layout)?;
    if let Err(error) = preflight::check_kernel(layout).await {
        if !claim::is_used(layout) {
            claim::remove_state_folder(layout)?;
        }
        return Err(error);
    }
    packages::install_missing().await?;
    tools::build(layout).await?;
    let images = images::build_for_cluster(layout).await?;
    if down::has_remains(layout) {
        step("clearing what an earlier run left", down::clear(layout)).await?;
    }
    preflight::check_network().await?;
    claim::state_folder(layout)?;
    down::save_snapshot(layout, &Snapshot::take(layout).await?)?;

    step("preparing certificates, network and cgroups", async {
        certificates::create(layout)?;
        network::create(layout).await?;
        cgroups::create()?;
        components::write_configs(layout, &images).await
    })
    .await?;
    step(
        "starting etcd, the API server and containerd",
        start(layout),
    )
    .await?;
    images::import(layout, &images).await?;
    step(
        "installing DNS, metrics-server and storage",
        apply_addons(layout, &images),
    )
    .await?;
    step("waiting for the node", wait_for_node(layout)).await?;
    step("waiting for DNS", addons::wait_for_dns(layout)).await?;
    note(format!(
        "the local cluster is up: export KUBECONFIG={}",
        layout.kubeconfig().display()
    ));
    Ok(())
}

/// Whether a cluster runs and answers.
pub async fn is_up(layout: &Layout) -> bool {
    supervisor::is_running(layout)
        && succeeds(&mut addons::kubectl(layout, &["get", "--raw=/readyz"])).await
}

async fn start(layout: &Layout) -> Result<()> {
    supervisor::start(layout).await?;
    let signs = [
        Sign::Listens(API_SERVER.into()),
        Sign::Socket(layout.containerd_socket()),
    ];
    for sign in signs {
        until(layout, async || sign.is_there().await).await?;
    }
    until(layout, async || {
        succeeds(&mut addons::kubectl(layout, &["get", "--raw=/readyz"])).await
    })
    .await
}

/// The API server can say "ready" a moment before the first write succeeds.
async fn apply_addons(layout: &Layout, images: &Images) -> Result<()> {
    const ATTEMPTS: usize = 10;
    for _ in 1..ATTEMPTS {
        if addons::apply(layout, images).await.is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(500)).await;
    }
    addons::apply(layout, images).await
}

async fn wait_for_node(layout: &Layout) -> Result<()> {
    let node = format!("node/{NODE_NAME}");
    until(layout, async || {
        succeeds(&mut addons::kubectl(layout, &["get", &node])).await
    })
    .await?;
    let arguments = ["wait", "--for=condition=Ready", "--timeout=180s", &node];
    output(&mut addons::kubectl(layout, &arguments)).await?;
    Ok(())
}

async fn until(layout: &Layout, mut condition: impl AsyncFnMut() -> bool) -> Result<()> {
    const PERIOD: Duration = Duration::from_millis(200);
    let end = Instant::now() + PATIENCE;
    while !condition().await {
        if Instant::now() > end || !supervisor::is_running_or_starting(layout) {
            let log = fs::read_to_string(layout.log("supervisor")).unwrap_or_default();
            bail!(
                "it doesn't come up; logs are in {}:\n{}",
                layout.at("logs").display(),
                last_lines(&log)
            );
        }
        sleep(PERIOD).await;
    }
    Ok(())
}
