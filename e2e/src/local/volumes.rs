//! Stands in for a cloud's disks: a folder of the node for each claim of the class `local`, removed
//! with its volume where the reclaim policy says so, and grown when the claim grows.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;

/// The StorageClass, and its provisioner as Kubernetes notes it on volumes; a volume without that
/// note would be reclaimed by the controller manager, which can't.
const CLASS: &str = "local";
const PROVISIONER: &str = "rotunda.dev/local";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// Runs for as long as the cluster does; the volumes' folders go under `folder`.
pub(crate) async fn run(client: Client, folder: &Path) -> Result<()> {
    const RETRY: Duration = Duration::from_secs(1);
    let claims: Api<PersistentVolumeClaim> = Api::all(client.clone());
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let config = watcher::Config::default;
    let claim_changes = watcher(claims.clone(), config())
        .default_backoff()
        .map(|change| change.map(|_| ()));
    let volume_changes = watcher(volumes.clone(), config())
        .default_backoff()
        .map(|change| change.map(|_| ()));
    let mut changes = pin!(stream::select(claim_changes, volume_changes));
    while let Some(change) = changes.next().await {
        if let Err(error) = change {
            tracing::warn!(%error, "watching volumes");
            continue;
        }
        // What has come in the meantime is in the lists that follow.
        while changes.next().now_or_never().flatten().is_some() {}
        while let Err(error) = provide(&client, &claims, &volumes, folder).await {
            tracing::warn!(error = format!("{error:#}"), "providing volumes");
            tokio::time::sleep(RETRY).await;
        }
    }
    bail!("the watch of volumes has ended")
}

async fn provide(
    client: &Client,
    claims: &Api<PersistentVolumeClaim>,
    volumes: &Api<PersistentVolume>,
    folder: &Path,
) -> Result<()> {
    let claims = claims.list(&ListParams::default()).await?.items;
    let existing = volumes.list(&ListParams::default()).await?.items;
    for action in plan(&claims, &existing) {
        match action {
            Action::Provision(claim) => provision(volumes, claim, folder).await?,
            Action::Reclaim { volume, path } => reclaim(volumes, &volume, &path).await?,
            Action::Grow {
                claim,
                volume,
                size,
            } => {
                let patch = Patch::Merge(json!({ "spec": { "capacity": { "storage": size } } }));
                volumes
                    .patch(&volume, &PatchParams::default(), &patch)
                    .await?;
                let namespace = claim.namespace().unwrap_or_default();
                let claims: Api<PersistentVolumeClaim> =
                    Api::namespaced(client.clone(), &namespace);
                let patch = Patch::Merge(
                    json!({ "status": { "capacity": { "storage": size }, "conditions": null } }),
                );
                claims
                    .patch_status(&claim.name_any(), &PatchParams::default(), &patch)
                    .await?;
            }
        }
    }
    Ok(())
}

async fn provision(
    volumes: &Api<PersistentVolume>,
    claim: &PersistentVolumeClaim,
    folder: &Path,
) -> Result<()> {
    let name = volume_name(claim);
    let path = folder.join(&name);
    fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
    // A hostPath volume knows no fsGroup: whoever the pod runs as must be able to write.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    let volume = serde_json::from_value(json!({
        "metadata": { "name": name, "annotations": { PROVISIONED_BY: PROVISIONER } },
        "spec": {
            "storageClassName": CLASS,
            "capacity": { "storage": requested(claim).context("a claim without a size")? },
            "accessModes": claim.spec.as_ref().and_then(|spec| spec.access_modes.clone()),
            "persistentVolumeReclaimPolicy": "Delete",
            "hostPath": { "path": path, "type": "Directory" },
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": claim.namespace(),
                "name": claim.name_any(),
                "uid": claim.uid(),
            },
        },
    }))?;
    volumes.create(&PostParams::default(), &volume).await?;
    tracing::info!(
        volume = name,
        namespace = claim.namespace(),
        claim = claim.name_any(),
        "provisioned"
    );
    Ok(())
}

async fn reclaim(volumes: &Api<PersistentVolume>, name: &str, path: &Path) -> Result<()> {
    tracing::info!(volume = name, "reclaiming");
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display()))?;
    }
    match volumes.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        deleted => Ok(deleted.map(drop)?),
    }
}

#[derive(Debug)]
enum Action<'a> {
    Provision(&'a PersistentVolumeClaim),
    Reclaim {
        volume: String,
        path: PathBuf,
    },
    Grow {
        claim: &'a PersistentVolumeClaim,
        volume: String,
        size: Quantity,
    },
}

fn plan<'a>(claims: &'a [PersistentVolumeClaim], volumes: &[PersistentVolume]) -> Vec<Action<'a>> {
    let mut actions = Vec::new();
    for claim in claims
        .iter()
        .filter(|claim| is_local(claim) && claim.metadata.deletion_timestamp.is_none())
    {
        let volume = volumes
            .iter()
            .find(|volume| volume.name_any() == volume_name(claim));
        match volume {
            None if phase_of_claim(claim) == "Pending" => actions.push(Action::Provision(claim)),
            Some(volume) if phase_of_claim(claim) == "Bound" => {
                let wanted = requested(claim);
                let capacity = volume
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.capacity.as_ref()?.get("storage").cloned());
                // The API server lets a claim only grow, so that another size is a larger one.
                if let Some(size) = wanted.filter(|wanted| Some(wanted) != capacity.as_ref()) {
                    let volume = volume.name_any();
                    actions.push(Action::Grow {
                        claim,
                        volume,
                        size,
                    });
                }
            }
            _ => {}
        }
    }
    for volume in volumes
        .iter()
        .filter(|volume| volume.metadata.deletion_timestamp.is_none())
    {
        let ours = volume
            .annotations()
            .get(PROVISIONED_BY)
            .is_some_and(|by| by == PROVISIONER);
        let released = volume
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            == Some("Released");
        let spec = volume.spec.as_ref();
        let policy = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
        let path = spec
            .and_then(|spec| spec.host_path.as_ref())
            .map(|source| PathBuf::from(&source.path));
        if let (true, true, Some("Delete"), Some(path)) = (ours, released, policy, path) {
            let volume = volume.name_any();
            actions.push(Action::Reclaim { volume, path });
        }
    }
    actions
}

fn volume_name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.uid().unwrap_or_default())
}

fn is_local(claim: &PersistentVolumeClaim) -> bool {
    let spec = claim.spec.as_ref();
    spec.is_some_and(|spec| spec.storage_class_name.as_deref() == Some(CLASS))
}

fn phase_of_claim(claim: &PersistentVolumeClaim) -> &str {
    claim
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

fn requested(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    claim
        .spec
        .as_ref()?
        .resources
        .as_ref()?
        .requests
        .as_ref()?
        .get("storage")
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(phase: &str, size: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "metadata": { "name": "data", "namespace": "test", "uid": "1" },
            "spec": { "storageClassName": "local", "resources": { "requests": { "storage": size } } },
            "status": { "phase": phase },
        }))
        .expect("a claim of the test")
    }

    fn volume(phase: &str, policy: &str) -> PersistentVolume {
        serde_json::from_value(json!({
            "metadata": { "name": "pvc-1", "annotations": { PROVISIONED_BY: PROVISIONER } },
            "spec": {
                "capacity": { "storage": "1Gi" },
                "persistentVolumeReclaimPolicy": policy,
                "hostPath": { "path": "/volumes/pvc-1" },
            },
            "status": { "phase": phase },
        }))
        .expect("a volume of the test")
    }

    #[test]
    fn a_pending_claim_gets_one_volume() {
        assert!(matches!(
            plan(&[claim("Pending", "1Gi")], &[])[..],
            [Action::Provision(_)]
        ));
        assert!(plan(&[claim("Pending", "1Gi")], &[volume("Available", "Delete")]).is_empty());
    }

    #[test]
    fn a_claim_of_another_class_is_left_alone() {
        let mut other = claim("Pending", "1Gi");
        other.spec.as_mut().expect("set above").storage_class_name = Some("fast".into());
        assert!(plan(&[other], &[]).is_empty());
    }

    #[test]
    fn a_released_volume_goes_only_where_its_policy_says_delete() {
        assert!(matches!(
            &plan(&[], &[volume("Released", "Delete")])[..],
            [Action::Reclaim { .. }]
        ));
        assert!(plan(&[], &[volume("Released", "Retain")]).is_empty());
        assert!(plan(&[], &[volume("Bound", "Delete")]).is_empty());
    }

    #[test]
    fn a_bound_claim_that_grew_grows_its_volume() {
        let grown = [claim("Bound", "2Gi")];
        let volumes = [volume("Bound", "Delete")];
        assert!(
            matches!(&plan(&grown, &volumes)[..], [Action::Grow { size, .. }] if size.0 == "2Gi")
        );
        assert!(plan(&[claim("Bound", "1Gi")], &volumes).is_empty());
    }
}
