//! Installs the operator with the project's own Helm chart, with the images built here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{
    local::{command::output, images::Images, layout::Layout, step::step},
    target::Target,
};

/// Where the operator lives.
pub const NAMESPACE: &str = "rotunda-system";
/// The Helm release, and part of the operator's names.
pub const RELEASE: &str = "rotunda";

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Installs, or upgrades what is installed, and waits until it is ready.
pub async fn install(layout: &Layout, target: &Target, images: &Images) -> Result<()> {
    step(
        "installing the operator with Helm",
        install_with(layout, target, images, &[]),
    )
    .await
}

/// The same with further values of the chart, as `name=value`.
pub(crate) async fn install_with(
    layout: &Layout,
    target: &Target,
    images: &Images,
    further: &[&str],
) -> Result<()> {
    let chart = repository().join("charts/rotunda");
    let chart = chart.to_str().context("a repository whose path is text")?;
    let (operator, operator_tag) = images.repository_and_tag("rotunda-operator")?;
    let (gateway, gateway_tag) = images.repository_and_tag("rotunda-gateway")?;
    let values = [
        format!("image.repository={operator}"),
        format!("image.tag={operator_tag}"),
        format!("gatewayImage.repository={gateway}"),
        format!("gatewayImage.tag={gateway_tag}"),
        format!("redisImage={}", images.reference("rotunda-redis")?),
    ];
    let mut arguments = vec![
        "upgrade",
        "--install",
        RELEASE,
        chart,
        "--namespace",
        NAMESPACE,
    ];
    arguments.extend(["--create-namespace", "--wait", "--timeout=3m"]);
    // As text: a tag of digits alone would be read as a number.
    arguments.extend(values.iter().flat_map(|value| ["--set-string", value]));
    arguments.extend(further.iter().flat_map(|value| ["--set", value]));
    let Err(error) = output(&mut target.tool(layout, "helm", &arguments)).await else {
        return Ok(());
    };
    bail!("{error:#}\n{}", why_not_ready(layout, target).await);
}

/// The pods and what they said last, for an error that explains itself.
async fn why_not_ready(layout: &Layout, target: &Target) -> String {
    let pods = ["get", "pods", "--namespace", NAMESPACE, "--output=wide"];
    let logs = [
        "logs",
        "--namespace",
        NAMESPACE,
        "--selector=app.kubernetes.io/instance=rotunda",
        "--tail=10",
    ];
    let mut said = String::new();
    for arguments in [&pods[..], &logs] {
        said += &output(&mut target.tool(layout, "kubectl", arguments))
            .await
            .unwrap_or_default();
    }
    said
}
