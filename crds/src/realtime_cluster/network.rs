//! `spec.networkPolicy`: who may reach which port of the pods.

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Who may reach which port of the pods. The public port is open to everyone.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicy {
    /// Whether to make NetworkPolicies for the gateways and the managed Redis. Default: true.
    pub enabled: Option<bool>,
    /// Who may reach the server API (port 8081). Default: the pods of the same namespace.
    pub api_from: Vec<NetworkPolicyPeer>,
    /// Who may reach the metrics (port 9090), besides the operator. Default: nobody else.
    pub metrics_from: Vec<NetworkPolicyPeer>,
}

impl NetworkPolicy {
    /// Whether to make NetworkPolicies.
    pub fn enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }
}
