//! What a user may add to the pods of a cluster: labels, placement, pull secrets.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, Toleration, TopologySpreadConstraint,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::non_empty;

/// Additions to the pods that the operator makes.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// Labels added to the pods. The operator's own labels can't be replaced. Default: none.
    pub labels: BTreeMap<String, String>,
    /// Annotations added to the pods. Default: none.
    pub annotations: BTreeMap<String, String>,
    /// Labels that a node must have to run the pods. Default: none, any node.
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the pods tolerate. Default: none.
    pub tolerations: Vec<Toleration>,
    /// Rules for placing the pods. Default: none.
    pub affinity: Option<Affinity>,
    /// How the pods spread over nodes and zones. Default: evenly over zones and nodes, as far as possible.
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Name of a PriorityClass. Default: none.
    pub priority_class_name: Option<String>,
    /// Secrets to pull the image with, in the same namespace. Default: none.
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

impl Pod {
    /// Name of the PriorityClass, where one is written.
    pub fn priority_class_name(&self) -> Option<&str> {
        non_empty(self.priority_class_name.as_ref())
    }
}
