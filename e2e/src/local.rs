//! A single-node Kubernetes on this machine, without a registry and without a container engine that
//! was there before.
//!
//! ```text
//! up:    preflight → packages → tools → images → certificates, network, cgroups → supervisor → addons
//! runs:  supervisor → components (etcd … kube-proxy), load_balancer, volumes
//! down:  processes → network → firewall → cgroups → files     (also what `up` does to a killed run's remains)
//! ```
//!
//! Its processes share one cgroup, by which they are found again; its mounts live in a mount namespace
//! that ends with them; its files are in one folder ([`layout::Layout`]).

use anyhow::{Context, Result};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

mod addons;
mod certificates;
mod cgroups;
pub mod claim;
pub(crate) mod command;
mod components;
mod digest;
pub mod down;
mod firewall;
pub mod images;
pub mod layout;
mod load_balancer;
mod network;
mod packages;
pub mod preflight;
mod processes;
mod snapshot;
pub mod step;
pub mod supervisor;
pub mod tools;
pub mod up;
mod volumes;

use layout::Layout;

/// A client for the local cluster's API, as its administrator.
pub async fn client(layout: &Layout) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(layout.kubeconfig())
        .context("reading the local cluster's kubeconfig")?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
