//! What a cluster needs beyond its components: DNS, metrics, storage.

use anyhow::Result;
use tokio::process::Command;

use super::{
    command::{command, output, output_with_input},
    images::Images,
    layout::{DNS_ADDRESS, Layout},
};

/// Applies them all.
pub(crate) async fn apply(layout: &Layout, images: &Images) -> Result<()> {
    let coredns = include_str!("../../manifests/coredns.yaml")
        .replace("${IMAGE}", images.reference("coredns")?)
        .replace("${DNS_ADDRESS}", &DNS_ADDRESS.to_string());
    let metrics_server = include_str!("../../manifests/metrics-server.yaml")
        .replace("${IMAGE}", images.reference("metrics-server")?);
    let storage = include_str!("../../manifests/storage.yaml");
    let all = [coredns.as_str(), &metrics_server, storage].join("\n---\n");
    let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    output_with_input(&mut kubectl(layout, &arguments), &all).await?;
    Ok(())
}

/// Waits until names are answered.
pub(crate) async fn wait_for_dns(layout: &Layout) -> Result<()> {
    let arguments = [
        "rollout",
        "status",
        "deployment/coredns",
        "--namespace=kube-system",
        "--timeout=120s",
    ];
    output(&mut kubectl(layout, &arguments)).await?;
    Ok(())
}

/// kubectl as the cluster's administrator.
pub(crate) fn kubectl(layout: &Layout, arguments: &[&str]) -> Command {
    let mut kubectl = command(layout.tool("kubectl"), arguments);
    kubectl.env("KUBECONFIG", layout.kubeconfig());
    kubectl
}
