//! Takes the cluster away: processes, network, rules, cgroups, files. Each part can be missing, so
//! that the same code clears what a killed run left.

use std::fs;

use anyhow::{Context, Result, bail};

use super::{
    cgroups, claim, firewall,
    layout::Layout,
    network, processes,
    snapshot::Snapshot,
    step::{note, step},
    supervisor,
};

/// Removes everything; with `verify`, an error tells what `up` had not found and is still there.
pub async fn down(layout: &Layout, verify: bool) -> Result<()> {
    claim::check_no_other(layout)?;
    if !has_remains(layout) {
        note("no local cluster is running");
        return Ok(());
    }
    let before = load_snapshot(layout);
    step("taking the local cluster down", clear(layout)).await?;
    if verify {
        let before = before
            .context("there is nothing to compare with: `up` did not get far enough to note it")?;
        step(
            "comparing the machine with how it was before",
            compare(layout, &before),
        )
        .await?;
    }
    Ok(())
}

/// Whether there is anything to take down.
pub(crate) fn has_remains(layout: &Layout) -> bool {
    claim::is_used(layout) || !cgroups::existing().is_empty()
}

/// Removes everything, quietly.
pub(crate) async fn clear(layout: &Layout) -> Result<()> {
    processes::kill_ours().await?;
    network::remove(layout).await?;
    firewall::clear().await?;
    cgroups::remove().await?;
    supervisor::remove_cover_points(layout);
    claim::remove_state_folder(layout)
}

async fn compare(layout: &Layout, before: &Snapshot) -> Result<()> {
    let differences = Snapshot::take(layout).await?.differences(before);
    if differences.is_empty() {
        return Ok(());
    }
    bail!("the machine is not as it was:\n{}", differences.join("\n"))
}

/// Keeps how the machine was, for [`down`] to compare.
pub(crate) fn save_snapshot(layout: &Layout, snapshot: &Snapshot) -> Result<()> {
    fs::write(layout.at("before.json"), serde_json::to_vec(snapshot)?)
        .context("noting how the machine is")
}

fn load_snapshot(layout: &Layout) -> Option<Snapshot> {
    serde_json::from_slice(&fs::read(layout.at("before.json")).ok()?).ok()
}
