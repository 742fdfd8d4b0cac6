//! What runs in the cluster besides pods: each component's command line, configuration and sign of
//! being up. Everything listens on the node's address alone.

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::{
    images::Images,
    layout::{
        API_SERVER, CGROUP, DNS_ADDRESS, ETCD, Layout, NODE_ADDRESS, NODE_NAME, NODE_NETWORK,
        POD_NETWORK, SERVICE_NETWORK,
    },
    preflight,
};

/// A process of the control plane or of the node.
#[derive(Debug, Clone)]
pub(crate) struct Component {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// It starts once this is there.
    pub(crate) after: Option<Sign>,
}

/// A sign that a component is up.
#[derive(Debug, Clone)]
pub(crate) enum Sign {
    Listens(SocketAddr),
    Socket(PathBuf),
}

impl Sign {
    pub(crate) async fn is_there(&self) -> bool {
        match self {
            Self::Listens(address) => tokio::net::TcpStream::connect(address).await.is_ok(),
            Self::Socket(path) => tokio::net::UnixStream::connect(path).await.is_ok(),
        }
    }
}

/// All of them.
pub(crate) fn all(layout: &Layout) -> Vec<Component> {
    let etcd = Sign::Listens(ETCD.into());
    let api = Sign::Listens(API_SERVER.into());
    let containerd = Sign::Socket(layout.containerd_socket());
    vec![
        component(layout, "etcd", None, etcd_arguments(layout)),
        component(
            layout,
            "kube-apiserver",
            Some(etcd),
            api_server_arguments(layout),
        ),
        component(
            layout,
            "kube-controller-manager",
            Some(api.clone()),
            controller_manager_arguments(layout),
        ),
        component(
            layout,
            "kube-scheduler",
            Some(api.clone()),
            scheduler_arguments(layout),
        ),
        Component {
            program: "/usr/bin/containerd".into(),
            ..component(
                layout,
                "containerd",
                None,
                vec![flag("config", layout.at("containerd.toml").display())],
            )
        },
        component(
            layout,
            "kubelet",
            Some(containerd),
            kubelet_arguments(layout),
        ),
        component(
            layout,
            "kube-proxy",
            Some(api),
            vec![flag("config", layout.at("kube-proxy.json").display())],
        ),
    ]
}

/// Writes the configuration files that the command lines name.
pub(crate) async fn write_configs(layout: &Layout, images: &Images) -> Result<()> {
    let overlay = preflight::has_overlay(layout).await;
    let files = [
        (
            "containerd.toml",
            containerd_config(layout, images.reference("pause")?, overlay),
        ),
        ("kubelet.json", kubelet_config(layout).to_string()),
        ("kube-proxy.json", kube_proxy_config(layout).to_string()),
    ];
    for (file, content) in files {
        fs::write(layout.at(file), content).with_context(|| format!("writing {file}"))?;
    }
    Ok(())
}

fn component(
    layout: &Layout,
    name: &'static str,
    after: Option<Sign>,
    arguments: Vec<String>,
) -> Component {
    Component {
        name,
        program: layout.tool(name),
        arguments,
        after,
    }
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn etcd_arguments(layout: &Layout) -> Vec<String> {
    let pki = |file: &str| layout.pki(file).display().to_string();
    let peer = format!("https://{NODE_ADDRESS}:2380");
    vec![
        flag("data-dir", layout.at("etcd").display()),
        flag("listen-client-urls", format!("https://{ETCD}")),
        flag("advertise-client-urls", format!("https://{ETCD}")),
        flag("listen-peer-urls", &peer),
        flag("initial-advertise-peer-urls", &peer),
        flag("initial-cluster", format!("default={peer}")),
        flag("cert-file", pki("etcd.crt")),
        flag("key-file", pki("etcd.key")),
        flag("trusted-ca-file", pki("ca.crt")),
        flag("client-cert-auth", true),
        flag("peer-cert-file", pki("etcd.crt")),
        flag("peer-key-file", pki("etcd.key")),
        flag("peer-trusted-ca-file", pki("ca.crt")),
        flag("peer-client-cert-auth", true),
        // A cluster that lives for a test needs no disk that survives a power cut.
        flag("unsafe-no-fsync", true),
        flag("log-level", "warn"),
    ]
}

fn api_server_arguments(layout: &Layout) -> Vec<String> {
    let pki = |file: &str| layout.pki(file).display().to_string();
    vec![
        flag("advertise-address", NODE_ADDRESS),
        flag("bind-address", NODE_ADDRESS),
        flag("secure-port", API_SERVER.port()),
        flag("allow-privileged", true),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("client-ca-file", pki("ca.crt")),
        flag("tls-cert-file", pki("apiserver.crt")),
        flag("tls-private-key-file", pki("apiserver.key")),
        flag("etcd-servers", format!("https://{ETCD}")),
        flag("etcd-cafile", pki("ca.crt")),
        flag("etcd-certfile", pki("apiserver-client.crt")),
        flag("etcd-keyfile", pki("apiserver-client.key")),
        flag("kubelet-certificate-authority", pki("ca.crt")),
        flag("kubelet-client-certificate", pki("apiserver-client.crt")),
        flag("kubelet-client-key", pki("apiserver-client.key")),
        flag("kubelet-preferred-address-types", "InternalIP"),
        flag("service-cluster-ip-range", SERVICE_NETWORK),
        flag(
            "service-account-issuer",
            "https://kubernetes.default.svc.cluster.local",
        ),
        flag("service-account-key-file", pki("service-accounts.pub")),
        flag(
            "service-account-signing-key-file",
            pki("service-accounts.key"),
        ),
        flag("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
        flag("requestheader-allowed-names", "front-proxy-client"),
        flag("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        flag("requestheader-group-headers", "X-Remote-Group"),
        flag("requestheader-username-headers", "X-Remote-User"),
        flag("proxy-client-cert-file", pki("front-proxy-client.crt")),
        flag("proxy-client-key-file", pki("front-proxy-client.key")),
        flag("enable-aggregator-routing", true),
        flag("profiling", false),
    ]
}

fn controller_manager_arguments(layout: &Layout) -> Vec<String> {
    let pki = |file: &str| layout.pki(file).display().to_string();
    let kubeconfig = layout.component_kubeconfig("kube-controller-manager");
    vec![
        flag("kubeconfig", kubeconfig.display()),
        flag("secure-port", 0),
        flag("leader-elect", false),
        flag("use-service-account-credentials", true),
        flag("root-ca-file", pki("ca.crt")),
        flag(
            "service-account-private-key-file",
            pki("service-accounts.key"),
        ),
        flag("cluster-signing-cert-file", pki("ca.crt")),
        flag("cluster-signing-key-file", pki("ca.key")),
        flag("kube-api-qps", 100),
        flag("kube-api-burst", 200),
        // Autoscaling as users know it, only without the minutes of waiting.
        flag("horizontal-pod-autoscaler-sync-period", "5s"),
        flag("horizontal-pod-autoscaler-cpu-initialization-period", "10s"),
        flag("horizontal-pod-autoscaler-initial-readiness-delay", "5s"),
        flag("profiling", false),
    ]
}

fn scheduler_arguments(layout: &Layout) -> Vec<String> {
    let kubeconfig = layout.component_kubeconfig("kube-scheduler");
    vec![
        flag("kubeconfig", kubeconfig.display()),
        flag("secure-port", 0),
        flag("leader-elect", false),
        flag("profiling", false),
    ]
}

fn kubelet_arguments(layout: &Layout) -> Vec<String> {
    vec![
        flag("config", layout.at("kubelet.json").display()),
        flag(
            "kubeconfig",
            layout.component_kubeconfig("kubelet").display(),
        ),
        flag("root-dir", layout.at("kubelet").display()),
        flag("cert-dir", layout.at("kubelet/pki").display()),
        flag("hostname-override", NODE_NAME),
        flag("node-ip", NODE_ADDRESS),
    ]
}

fn containerd_config(layout: &Layout, pause: &str, overlay: bool) -> String {
    let at = |path: &str| layout.at(path).display().to_string();
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = {restrict_oom_score}
netns_mounts_under_state_dir = true
# As newer versions have them by default: ports below 1024 take no capability.
enable_unprivileged_ports = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{cni}"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{runc}"
"#,
        root = at("containerd"),
        state = at("containerd-run"),
        socket = layout.containerd_socket().display(),
        restrict_oom_score = !preflight::may_lower_oom_score(),
        cni = at("cni"),
        snapshotter = if overlay { "overlayfs" } else { "native" },
        runc = at("runc"),
    )
}

fn kubelet_config(layout: &Layout) -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": layout.pki("ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": layout.pki("kubelet-server.crt"),
        "tlsPrivateKeyFile": layout.pki("kubelet-server.key"),
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket().display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{CGROUP}"),
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_ADDRESS],
        "resolvConf": layout.at("resolv.conf"),
        "podLogsDir": layout.at("pod-logs"),
        "volumePluginDir": layout.at("kubelet/volume-plugins"),
        "healthzPort": 0,
        "maxPods": 250,
        "serializeImagePulls": false,
        "makeIPTablesUtilChains": false,
        // The images are imported once and can't be pulled again; the disk is the machine's, not the cluster's.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": { "memory.available": "100Mi", "nodefs.available": "0%", "imagefs.available": "0%" },
        "volumeStatsAggPeriod": "-1s",
    })
}

fn kube_proxy_config(layout: &Layout) -> serde_json::Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": { "kubeconfig": layout.component_kubeconfig("kube-proxy") },
        "clusterCIDR": POD_NETWORK.to_string(),
        "hostnameOverride": NODE_NAME,
        "mode": "iptables",
        "iptables": { "minSyncPeriod": "200ms", "localhostNodePorts": false },
        "nodePortAddresses": [NODE_NETWORK.to_string()],
        "healthzBindAddress": format!("{NODE_ADDRESS}:10256"),
        "metricsBindAddress": format!("{NODE_ADDRESS}:10249"),
        // Zero leaves the machine's connection tracking as it is.
        "conntrack": { "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
    })
}
