//! The installed operator: its pods, which of them leads, and what it has done.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::api::ListParams;

use crate::{
    cluster::Cluster, eventually::eventually, http, install::NAMESPACE, namespace::RunningPod,
};

/// Selects the operator's pods.
const PODS: &str = "app.kubernetes.io/name=rotunda-operator";
/// The lease that its replicas compete for.
const LEASE: &str = "rotunda-operator";
/// Longer than the lease of a killed leader, and an image's start.
const LIMIT: Duration = Duration::from_mins(1);

/// Its pods, without those that are going away.
pub async fn pods(cluster: &Cluster) -> Result<Vec<RunningPod>> {
    let list = cluster
        .namespaced::<Pod>(NAMESPACE)
        .list(&ListParams::default().labels(PODS))
        .await?;
    Ok(list.items.iter().filter_map(RunningPod::read).collect())
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The pod.
    pub pod: RunningPod,
    /// What it calls itself: the pod's name, and something that tells its restarts apart.
    identity: String,
}

/// Who leads, once it is ready and has reconciled each kind at least once; not `before`, who is going.
pub async fn leader(cluster: &Cluster, before: Option<&Leader>) -> Result<Leader> {
    eventually("an operator leads and has reconciled", LIMIT, async || {
        let identity = holder(cluster).await?;
        ensure!(
            before.is_none_or(|before| before.identity != identity),
            "the lease is still held by {identity}"
        );
        let name = identity.rsplit_once('_').map_or("", |(name, _)| name);
        let pod = pods(cluster)
            .await?
            .into_iter()
            .find(|pod| pod.name == name);
        let pod = pod.with_context(|| format!("the lease is held by {identity}, which is gone"))?;
        ensure!(pod.ready, "{name} is not ready");
        let metrics = metrics(&pod).await?;
        for needed in [
            "rotunda_leader",
            "rotunda_reconcile_seconds_count{kind=\"RealtimeCluster\"}",
            "rotunda_reconcile_seconds_count{kind=\"Room\"}",
        ] {
            ensure!(value(&metrics, needed) > 0.0, "{name}: {needed} is 0");
        }
        Ok(Leader { pod, identity })
    })
    .await
}

/// Whether a pod says that it leads.
pub async fn says_it_leads(pod: &RunningPod) -> Result<bool> {
    Ok(value(&metrics(pod).await?, "rotunda_leader") > 0.0)
}

/// Deletes a pod, as a drain of its node does; doesn't wait until it is gone.
pub async fn evict(cluster: &Cluster, pod: &RunningPod) -> Result<()> {
    cluster
        .kubectl(&[
            "delete",
            "pod",
            &pod.name,
            "--namespace",
            NAMESPACE,
            "--wait=false",
        ])
        .await
        .map(drop)
}

async fn holder(cluster: &Cluster) -> Result<String> {
    let lease: Lease = cluster.namespaced(NAMESPACE).get(LEASE).await?;
    lease
        .spec
        .and_then(|spec| spec.holder_identity)
        .filter(|holder| !holder.is_empty())
        .context("nobody leads")
}

async fn metrics(pod: &RunningPod) -> Result<String> {
    Ok(http::get(&format!("http://{}:9090/metrics", pod.ip))
        .await?
        .body)
}

/// Of a metric by its name and labels; 0 where there is none.
fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let metrics = "# TYPE a counter\na_total{kind=\"Room\"} 3\na 1\n";
        assert!((value(metrics, "a_total{kind=\"Room\"}") - 3.0).abs() < f64::EPSILON);
        assert!((value(metrics, "a") - 1.0).abs() < f64::EPSILON);
        assert!(value(metrics, "a_total").abs() < f64::EPSILON);
    }
}
