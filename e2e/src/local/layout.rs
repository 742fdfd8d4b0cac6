//! Where everything of the local cluster is: its folders, names and addresses.
//!
//! All state is in one folder, all that is expensive to build in another. The addresses are fixed:
//! one machine runs one local cluster.

use std::{
    env,
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
};

/// The environment variable that names the state folder.
pub const STATE_VARIABLE: &str = "ROTUNDA_LOCAL_STATE";
/// The node's name in Kubernetes.
pub const NODE_NAME: &str = "rotunda-local";
/// The cgroup that holds every process of the cluster; how a killed run's processes are found.
pub const CGROUP: &str = "rotunda-local";
/// The bridge that carries the node's address and those of LoadBalancer Services.
pub const NODE_BRIDGE: &str = "rotunda-node";
/// The bridge that the pods are on.
pub const POD_BRIDGE: &str = "rotunda-pods";
/// The network that the cluster takes of the machine's address space.
pub const NETWORK: Network = Network::new(Ipv4Addr::new(10, 203, 0, 0), 16);
/// The node's own network, a part of [`NETWORK`].
pub const NODE_NETWORK: Network = Network::new(Ipv4Addr::new(10, 203, 0, 0), 24);
/// Where Services have their cluster addresses.
pub const SERVICE_NETWORK: Network = Network::new(Ipv4Addr::new(10, 203, 64, 0), 18);
/// Where pods have their addresses.
pub const POD_NETWORK: Network = Network::new(Ipv4Addr::new(10, 203, 128, 0), 18);
/// The node's address, on which every component listens.
pub const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 203, 0, 1);
/// The `kubernetes` Service: the first address of [`SERVICE_NETWORK`], as Kubernetes wants it.
pub const API_SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 203, 64, 1);
/// The cluster DNS.
pub const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 203, 64, 10);
/// The API server on the node's address.
pub const API_SERVER: SocketAddrV4 = SocketAddrV4::new(NODE_ADDRESS, 6443);
/// etcd on the node's address.
pub const ETCD: SocketAddrV4 = SocketAddrV4::new(NODE_ADDRESS, 2379);

/// An IPv4 network, written `address/length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: Ipv4Addr,
    length: u8,
}

impl Network {
    const fn new(address: Ipv4Addr, length: u8) -> Self {
        Self { address, length }
    }

    /// Reads `address/length`, or an address alone as a network of one.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/').unwrap_or((text, "32"));
        let length = length.parse().ok().filter(|length| *length <= 32)?;
        Some(Self::new(address.parse().ok()?, length))
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Self) -> bool {
        let shift = 32 - u32::from(self.length.min(other.length));
        let prefix = |address: Ipv4Addr| u32::from(address).checked_shr(shift).unwrap_or(0);
        prefix(self.address) == prefix(other.address)
    }

    /// Bits of the prefix.
    pub fn length(self) -> u8 {
        self.length
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.address, self.length)
    }
}

/// The folders of the cluster and of what is built for it.
#[derive(Debug, Clone)]
pub struct Layout {
    state: PathBuf,
    cache: PathBuf,
}

impl Layout {
    /// From `ROTUNDA_LOCAL_STATE`, `XDG_CACHE_HOME` and `HOME`, or their defaults.
    pub fn from_env() -> Self {
        let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let state = folder(STATE_VARIABLE).map_or("/var/lib/rotunda-local".into(), PathBuf::from);
        let cache = folder("XDG_CACHE_HOME").map_or_else(
            || PathBuf::from(folder("HOME").unwrap_or("/root".into())).join(".cache"),
            PathBuf::from,
        );
        Self {
            state,
            cache: cache.join("rotunda"),
        }
    }

    /// In folders of the caller's choice.
    pub fn at_folders(state: &Path, cache: &Path) -> Self {
        Self {
            state: state.to_owned(),
            cache: cache.to_owned(),
        }
    }

    /// The state folder; nothing of it outlives the cluster.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// What is worth keeping from one cluster to the next.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// A place in the state folder.
    pub fn at(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.state.join(relative)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.at("kubeconfig")
    }

    /// A kubeconfig of one of the components.
    pub fn component_kubeconfig(&self, component: &str) -> PathBuf {
        self.at("kubeconfigs").join(component)
    }

    /// A certificate (`<name>.crt`) or key (`<name>.key`, `<name>.pub`).
    pub fn pki(&self, file: &str) -> PathBuf {
        self.at("pki").join(file)
    }

    /// The log of a component.
    pub fn log(&self, component: &str) -> PathBuf {
        self.at("logs").join(format!("{component}.log"))
    }

    /// containerd's socket.
    pub fn containerd_socket(&self) -> PathBuf {
        self.at("containerd.sock")
    }

    /// Names and references of the images that were built and imported.
    pub fn images(&self) -> PathBuf {
        self.at("images.json")
    }

    /// A tool that was built here: `kubectl`, `helm`, `etcd`, …
    pub fn tool(&self, name: &str) -> PathBuf {
        self.cache.join("bin").join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_overlap_when_one_contains_the_other() {
        let network = |text| Network::parse(text).expect("a network of the test");
        assert!(NETWORK.overlaps(network("10.203.7.0/24")));
        assert!(NETWORK.overlaps(network("10.0.0.0/8")));
        assert!(NETWORK.overlaps(network("0.0.0.0/0")));
        assert!(!NETWORK.overlaps(network("10.204.0.0/16")));
        assert!(!NETWORK.overlaps(network("192.0.2.1")));
        assert_eq!(Network::parse("10.0.0.0/33"), None);
        assert_eq!(Network::parse("default"), None);
    }
}
