//! `spec.service` and `spec.tls`: the endpoint that clients connect to.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::non_empty;

/// The public Service.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Type of the Service: `LoadBalancer`, `ClusterIP` or `NodePort`. Default: `LoadBalancer`.
    #[serde(rename = "type")]
    pub type_: Option<ServiceType>,
    /// Port of the Service. Default: 80, or 443 with `tls`.
    pub port: Option<i32>,
    /// Host name that the status shows in place of the address. DNS has to point it there. Default: none.
    pub hostname: Option<String>,
    /// Scheme that the status shows: `ws` or `wss`. Write `wss` where TLS ends before the gateways. Default: `wss` with
    /// `tls`, else `ws`.
    pub scheme: Option<Scheme>,
    /// Annotations of the Service, which tell a cloud how to make the load balancer. Default: none.
    pub annotations: BTreeMap<String, String>,
    /// Implementation of the load balancer (`spec.loadBalancerClass` of the Service). Default: the cluster's own.
    pub load_balancer_class: Option<String>,
    /// `Local` keeps the client's address and saves a hop, `Cluster` spreads over all nodes. Default: `Local`.
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
    /// Address ranges (CIDR) of clients that the load balancer lets through. Default: none, everyone.
    pub load_balancer_source_ranges: Vec<String>,
    /// IPv4 and IPv6: `SingleStack`, `PreferDualStack` or `RequireDualStack`. Default: the cluster's own choice.
    pub ip_family_policy: Option<IpFamilyPolicy>,
}

/// Type of the public Service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// Reachable from outside through a load balancer.
    #[default]
    LoadBalancer,
    /// Reachable inside the Kubernetes cluster only.
    ClusterIP,
    /// Reachable on a port of each node.
    NodePort,
}

impl ServiceType {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoadBalancer => "LoadBalancer",
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
        }
    }
}

/// Scheme of the WebSocket endpoint.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain.
    #[default]
    Ws,
    /// TLS.
    Wss,
}

impl Scheme {
    /// Scheme of the WebSocket URL.
    pub fn websocket(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// Scheme of the SSE and polling URLs.
    pub fn http(self) -> &'static str {
        match self {
            Self::Ws => "http",
            Self::Wss => "https",
        }
    }
}

/// Which nodes take traffic from outside.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExternalTrafficPolicy {
    /// Only nodes that run a gateway; the client's address is kept.
    #[default]
    Local,
    /// Every node; the client's address is lost.
    Cluster,
}

impl ExternalTrafficPolicy {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "Local",
            Self::Cluster => "Cluster",
        }
    }
}

/// Address families of the Service. The empty text stands for the cluster's own choice.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpFamilyPolicy {
    /// The cluster's own choice.
    #[default]
    #[serde(rename = "")]
    Unset,
    /// One family.
    SingleStack,
    /// Both, where the cluster has both.
    PreferDualStack,
    /// Both, or the Service is refused.
    RequireDualStack,
}

impl Service {
    /// Type of the Service.
    pub fn type_(&self) -> ServiceType {
        self.type_.unwrap_or_default()
    }

    /// Host name for the status, where one is written.
    pub fn hostname(&self) -> Option<&str> {
        non_empty(self.hostname.as_ref())
    }

    /// Class of the load balancer, where one is written.
    pub fn load_balancer_class(&self) -> Option<&str> {
        non_empty(self.load_balancer_class.as_ref())
    }

    /// Which nodes take traffic from outside.
    pub fn external_traffic_policy(&self) -> ExternalTrafficPolicy {
        self.external_traffic_policy.unwrap_or_default()
    }

    /// Address families as Kubernetes writes them, where a choice is written.
    pub fn ip_family_policy(&self) -> Option<&'static str> {
        match self.ip_family_policy.unwrap_or_default() {
            IpFamilyPolicy::Unset => None,
            IpFamilyPolicy::SingleStack => Some("SingleStack"),
            IpFamilyPolicy::PreferDualStack => Some("PreferDualStack"),
            IpFamilyPolicy::RequireDualStack => Some("RequireDualStack"),
        }
    }
}

/// TLS at the gateways.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Tls {
    /// Secret of type `kubernetes.io/tls` with `tls.crt` and `tls.key`; a change is picked up without a restart.
    /// Default: none, no TLS.
    pub secret_name: Option<String>,
}
