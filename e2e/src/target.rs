//! Which cluster the product goes to: the local one, or the one that `KUBECONFIG` names.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::local::{
    command::{command, output},
    images::{self, Images, buildah},
    layout::Layout,
    step::step,
};

/// A cluster to install into.
#[derive(Debug, Clone)]
pub enum Target {
    /// The one on this machine.
    Local,
    /// The current context of the user's own kubeconfig.
    Given {
        /// What `KUBECONFIG` says.
        kubeconfig: OsString,
    },
}

impl Target {
    /// Given, where `KUBECONFIG` names something else than the local cluster.
    pub fn from_env(layout: &Layout) -> Self {
        match env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
            Some(kubeconfig) if Path::new(&kubeconfig) != layout.kubeconfig() => {
                Self::Given { kubeconfig }
            }
            _ => Self::Local,
        }
    }

    /// The kubeconfig to use.
    pub fn kubeconfig(&self, layout: &Layout) -> OsString {
        match self {
            Self::Local => layout.kubeconfig().into_os_string(),
            Self::Given { kubeconfig } => kubeconfig.clone(),
        }
    }

    /// kubectl or helm, talking to it.
    pub(crate) fn tool(&self, layout: &Layout, name: &str, arguments: &[&str]) -> Command {
        let mut tool = command(layout.tool(name), arguments);
        tool.env("KUBECONFIG", self.kubeconfig(layout));
        tool
    }

    /// Makes built images available to its nodes; returns the references by which pods name them there.
    pub async fn deliver(&self, layout: &Layout, built: &Images) -> Result<Images> {
        if let Self::Local = self {
            images::import(layout, built).await?;
            return Ok(built.clone());
        }
        if let Some(registry) = env::var("ROTUNDA_REGISTRY")
            .ok()
            .filter(|registry| !registry.is_empty())
        {
            return step(
                format!("pushing the images to {registry}"),
                push(layout, built, &registry),
            )
            .await;
        }
        let context =
            output(&mut self.tool(layout, "kubectl", &["config", "current-context"])).await?;
        let context = context.trim();
        let Some(cluster) = context.strip_prefix("kind-") else {
            bail!(
                "the cluster of the context {context} has to get the images from somewhere: let ROTUNDA_REGISTRY name a \
                 registry that this machine can push to and the cluster can pull from, as in \
                 ROTUNDA_REGISTRY=registry.example.com/rotunda"
            );
        };
        step(
            format!("loading the images into the kind cluster {cluster}"),
            load_into_kind(layout, built, cluster),
        )
        .await
    }
}

async fn push(layout: &Layout, built: &Images, registry: &str) -> Result<Images> {
    let mut pushed = Images::default();
    for (name, reference) in built.iter() {
        let (_, tag) = built.repository_and_tag(name)?;
        let target = format!("{}/{name}:{tag}", registry.trim_end_matches('/'));
        buildah::push(layout, &images::archive(layout, reference), &target).await?;
        pushed.insert(name, target);
    }
    Ok(pushed)
}

async fn load_into_kind(layout: &Layout, built: &Images, cluster: &str) -> Result<Images> {
    for (_, reference) in built.iter() {
        let archive: PathBuf = images::archive(layout, reference);
        let mut load = command("kind", ["load", "image-archive", "--name", cluster]);
        output(load.arg(archive))
            .await
            .context("giving an image to kind")?;
    }
    Ok(built.clone())
}
