//! The cluster that end-to-end tests run in: its API, kubectl, and namespaces to work in.

use std::fmt::Debug;

use anyhow::{Context, Result, bail};
use kube::{
    Api, Client, Config, Resource,
    config::{KubeConfigOptions, Kubeconfig},
    core::{ClusterResourceScope, NamespaceResourceScope},
};

use crate::{
    install::install_with,
    local::{
        command::{last_lines, output_with_input},
        images::Images,
        layout::Layout,
    },
    target::Target,
};

/// A cluster with the operator in it.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    layout: Layout,
    target: Target,
}

impl Cluster {
    /// The local cluster, or the one that `KUBECONFIG` names.
    pub async fn connect() -> Result<Self> {
        let layout = Layout::from_env();
        let target = Target::from_env(&layout);
        let kubeconfig = match &target {
            Target::Local => Kubeconfig::read_from(layout.kubeconfig())
                .context("no local cluster is running; `rotunda-local up` brings one up")?,
            Target::Given { .. } => Kubeconfig::read()?,
        };
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        Ok(Self {
            client,
            layout,
            target,
        })
    }

    /// A client with the administrator's rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Objects of a kind that has no namespace.
    pub fn all<K>(&self) -> Api<K>
    where
        K: Resource<Scope = ClusterResourceScope>,
        K::DynamicType: Default,
    {
        Api::all(self.client())
    }

    /// Objects of a kind in one namespace.
    pub fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client(), namespace)
    }

    /// What `kubectl` prints; an error is what it complains about.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with_input(arguments, "").await
    }

    /// The same, with text for its standard input.
    pub async fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        output_with_input(
            &mut self.target.tool(&self.layout, "kubectl", arguments),
            input,
        )
        .await
    }

    /// What `kubectl` says when it is refused; an error if it is not.
    pub async fn kubectl_refused(&self, arguments: &[&str], input: &str) -> Result<String> {
        match self.kubectl_with_input(arguments, input).await {
            Ok(printed) => bail!(
                "`kubectl {}` was not refused:\n{}",
                arguments.join(" "),
                last_lines(&printed)
            ),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// What `helm` prints.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        output_with_input(&mut self.target.tool(&self.layout, "helm", arguments), "").await
    }

    /// Installs the operator as `rotunda-local install` does, with further values of the chart, as `name=value`.
    pub async fn install_operator(&self, values: &[&str]) -> Result<()> {
        let images = Images::load(&self.layout)?;
        install_with(&self.layout, &self.target, &images, values).await
    }

    /// One of the images built for this cluster: `rotunda-operator`, `rotunda-gateway` or `rotunda-redis`.
    pub fn image(&self, name: &str) -> Result<String> {
        Ok(Images::load(&self.layout)?.reference(name)?.to_owned())
    }
}

impl Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cluster")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
